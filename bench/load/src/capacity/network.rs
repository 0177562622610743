//! The network that `bench/net.sh` makes: two namespaces, a veth pair, and addresses on both ends.

use std::process::Command;

pub(super) const RELAY_NETNS: &str = "rv-relay";
pub(super) const CLIENTS_NETNS: &str = "rv-load";
/// The relay's end of the pair.
const RELAY_DEVICE: &str = "rv0";
/// Flags of a run whose clients are at the other end.
pub(super) const CLIENT_FLAGS: &str =
    "--relay-netns rv-relay --publisher-ip 10.90.0.2 --subscriber-ip 10.91.0.1 --sink rv1";
/// Flags of a limit.
pub(super) const LIMIT_FLAGS: &str = "--relay-netns rv-relay --subscriber-ip 10.91.0.1 --sink rv1";

/// Whether the namespaces are there.
pub(super) fn check() -> Result<(), String> {
    let exists = |name: &str| std::path::Path::new("/run/netns").join(name).exists();
    if exists(RELAY_NETNS) && exists(CLIENTS_NETNS) {
        return Ok(());
    }
    Err("the network namespaces are missing: run this by `bench/net.sh with`, as `make capacity` does"
        .to_owned())
}

/// Lets the relay's device cut large packets itself, or the kernel before it.
pub(super) fn set_segmentation(on: bool) -> Result<(), String> {
    let on = if on { "on" } else { "off" };
    let words = ["netns", "exec", RELAY_NETNS, "ethtool", "-K", RELAY_DEVICE, "tx-udp-segmentation", on];
    let output = Command::new("ip").args(words).output().map_err(|why| format!("ip: {why}"))?;
    if output.status.success() {
        return Ok(());
    }
    Err(format!("ip {}: {}", words.join(" "), String::from_utf8_lossy(&output.stderr).trim()))
}
