//! Janus with its VideoRoom plugin, started for one run with settings of our own.
//!
//! All is as its package brings it, but for what a measurement needs: no other plugin, nothing reachable from outside
//! but its UDP ports, no log lines per packet, and one address to gather candidates on. Janus never gathers on loopback,
//! and ties its sockets to the interface of their address. So that address is one of a real interface, and clients have
//! the same one: packets between a machine's own addresses go over loopback whatever interface they belong to.

use super::process::{Process, placed};
use super::write;
use crate::args::ServerArgs;
use nix::ifaddrs::{InterfaceAddress, getifaddrs};
use nix::net::if_::InterfaceFlags;
use std::io;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::process::Command;

/// UDP ports of its clients: below those that the kernel gives to ours.
const RTP_PORTS: &str = "20000-32000";

/// What is not loaded.
const PLUGINS: &str =
    "audiobridge duktape echotest lua nosip recordplay sip streaming textroom videocall voicemail";
const TRANSPORTS: &str = "http mqtt nanomsg pfunix rabbitmq";

/// Its version, such as `1.1.2`.
pub(super) fn version(binary: &Path) -> Result<String, String> {
    let name = binary.display();
    let output = Command::new(binary).arg("--version").output().map_err(|why| match why.kind() {
        io::ErrorKind::NotFound => {
            format!("{name} is not installed: `make setup-bench` installs it, --janus-binary names another")
        }
        _ => format!("{name} does not run: {why}"),
    })?;
    let text = [output.stdout, output.stderr].concat();
    version_in(&String::from_utf8_lossy(&text)).ok_or_else(|| format!("{name} --version says no version"))
}

/// `address`: the only one to gather on; `None`: all of its namespace. The socket of its WebSocket server comes back with it.
pub(super) fn start(
    server: &ServerArgs,
    address: Option<Ipv4Addr>,
    dir: &Path,
) -> Result<(Process, PathBuf), String> {
    let socket = dir.join("janus.sock");
    let config = write(dir, "janus.jcfg", &main_config(dir, address))?;
    let websockets = format!(
        "general: {{\n json = \"compact\"\n ws = true\n ws_unix = \"{}\"\n wss = false\n ws_logging = \"err\"\n}}\n\
         admin: {{\n admin_ws = false\n admin_wss = false\n}}\n",
        socket.display()
    );
    write(dir, "janus.transport.websockets.jcfg", &websockets)?;
    write(dir, "janus.plugin.videoroom.jcfg", "general: {\n}\n")?;
    let binary = &server.janus_binary;
    let mut command = placed(binary, server.relay_cores.as_deref(), server.relay_netns.as_deref());
    command.arg("--disable-colors").arg("-C").arg(config).arg("-F").arg(dir).args(&server.janus_arg);
    Ok((Process::start_logged(binary, command, dir.join("janus.log"))?, socket))
}

fn main_config(dir: &Path, address: Option<Ipv4Addr>) -> String {
    let list = |names: &str, prefix: &str| -> String {
        let files: Vec<String> = names.split(' ').map(|name| format!("lib{prefix}{name}.so")).collect();
        files.join(",")
    };
    let only = address.map_or_else(String::new, |ip| format!("ice_enforce_list = \"{ip}\""));
    include_str!("janus.jcfg")
        .replace("@dir@", &dir.display().to_string())
        .replace("@ports@", RTP_PORTS)
        .replace("@only@", &only)
        .replace("@plugins@", &list(PLUGINS, "janus_"))
        .replace("@transports@", &list(TRANSPORTS, "janus_"))
}

/// The machine's first IPv4 address besides loopback.
pub(super) fn own_address() -> Result<Ipv4Addr, String> {
    let address = |interface: InterfaceAddress| {
        let up = interface.flags.contains(InterfaceFlags::IFF_UP | InterfaceFlags::IFF_RUNNING);
        let ip = interface.address?.as_sockaddr_in()?.ip();
        (up && !ip.is_loopback()).then_some(ip)
    };
    getifaddrs().ok().and_then(|mut interfaces| interfaces.find_map(address)).ok_or_else(|| {
        "Janus gathers nothing on loopback, and this machine has no other IPv4 address: give it one, such as by \
         `ip link add rv0 type dummy && ip address add 10.92.0.1/24 dev rv0 && ip link set rv0 up`"
            .to_owned()
    })
}

/// `Janus version: 1102 (1.1.2)`, or `janus 1.1.2`.
fn version_in(text: &str) -> Option<String> {
    text.split(|c: char| c.is_whitespace() || "()".contains(c))
        .find(|word| word.contains('.') && word.split('.').all(|part| part.parse::<u16>().is_ok()))
        .map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions() {
        for (text, want) in [
            ("Janus version: 1102 (1.1.2)\nJanus commit: not-a-git-repo", Some("1.1.2")),
            ("janus 0.11.2\n", Some("0.11.2")),
            ("usage: janus", None),
        ] {
            assert_eq!(version_in(text).as_deref(), want, "{text}");
        }
        let why = version(Path::new("/no/such/janus")).expect_err("there is none");
        assert!(why.contains("/no/such/janus is not installed: `make setup-bench` installs it"), "{why}");
    }

    #[test]
    fn the_settings_name_what_is_left_out() {
        let text = main_config(Path::new("/tmp/x"), Some(Ipv4Addr::new(192, 0, 2, 2)));
        assert!(text.contains("ice_enforce_list = \"192.0.2.2\""), "{text}");
        assert!(text.contains("libjanus_echotest.so,libjanus_lua.so"), "{text}");
        assert!(!text.contains("videoroom") && !text.contains("websockets"), "{text}");
        assert!(!main_config(Path::new("/tmp/x"), None).contains("enforce"));
    }
}
