//! Drops the media towards subscribers right behind the wire, so that only the server's own cost is measured.
//!
//! A classic BPF program at the ingress of the veth pair's far end lets everything pass but RTP and RTCP (first octet
//! above 127) to the subscribers' addresses: consent checks and handshakes go on. `tc` loads it: no compiler is needed.
//! Its queueing discipline counts what it drops, each segment of a large packet for one.

use std::net::{IpAddr, Ipv4Addr};
use std::process::Command;

/// The subscribers' addresses share this prefix with the first.
const MASK: u32 = 0xffff_0000;
/// An address that lies so far behind a subscriber's is out of reach.
pub(crate) const BEHIND_SINK: u32 = 1 << 16;
/// `TC_ACT_SHOT` and `TC_ACT_UNSPEC`.
const DROP: u32 = 2;
const PASS: u32 = u32::MAX;

/// See the module. Removed with the value.
pub(crate) struct Sink {
    device: String,
}

impl Sink {
    /// Puts the program on `device` of this network namespace. `subscribers`: the first address.
    pub(crate) fn install(device: &str, subscribers: IpAddr) -> Result<Self, String> {
        let IpAddr::V4(subscribers) = subscribers else { return Err("a sink needs IPv4".to_owned()) };
        tc(&["qdisc", "add", "dev", device, "clsact"])?;
        let sink = Self { device: device.to_owned() };
        let program = program(subscribers);
        tc(&["filter", "add", "dev", device, "ingress", "bpf", "da", "bytecode", &program])?;
        Ok(sink)
    }

    /// Octets and packets that passed or were dropped, and how many of the latter.
    pub(crate) fn packets(&self) -> Result<u64, String> {
        let text = tc(&["-s", "-j", "qdisc", "show", "dev", &self.device])?;
        let list: serde_json::Value = serde_json::from_str(&text).map_err(|why| format!("tc: {why}"))?;
        let qdiscs = list.as_array().into_iter().flatten();
        let clsact = qdiscs.into_iter().find(|qdisc| qdisc["kind"] == "clsact");
        clsact
            .and_then(|qdisc| qdisc["packets"].as_u64())
            .ok_or_else(|| format!("tc says nothing of it: {text}"))
    }
}

impl Drop for Sink {
    fn drop(&mut self) {
        let _ = tc(&["qdisc", "del", "dev", &self.device, "clsact"]);
    }
}

fn tc(args: &[&str]) -> Result<String, String> {
    let output = Command::new("tc").args(args).output().map_err(|why| format!("tc: {why}"))?;
    if output.status.success() {
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    } else {
        Err(format!("tc {}: {}", args.join(" "), String::from_utf8_lossy(&output.stderr).trim()))
    }
}

/// The program as `tc` reads it: its length, then operation, two jumps and an operand each.
fn program(subscribers: Ipv4Addr) -> String {
    const LOAD_WORD: u32 = 0x20;
    const LOAD_HALF: u32 = 0x28;
    const LOAD_OCTET: u32 = 0x30;
    const AND: u32 = 0x54;
    const IF_EQUAL: u32 = 0x15;
    const IF_AT_LEAST: u32 = 0x35;
    const RETURN: u32 = 0x06;
    let steps = [
        (LOAD_HALF, 0, 0, 12), // EtherType
        (IF_EQUAL, 0, 8, 0x0800),
        (LOAD_OCTET, 0, 0, 23), // protocol of IPv4
        (IF_EQUAL, 0, 6, 17),
        (LOAD_WORD, 0, 0, 30), // destination
        (AND, 0, 0, MASK),
        (IF_EQUAL, 0, 3, subscribers.to_bits() & MASK),
        (LOAD_OCTET, 0, 0, 42), // first octet behind an IPv4 header without options
        (IF_AT_LEAST, 0, 1, 128),
        (RETURN, 0, 0, DROP),
        (RETURN, 0, 0, PASS),
    ];
    let words: Vec<String> = steps.iter().map(|(op, yes, no, k)| format!("{op} {yes} {no} {k}")).collect();
    format!("{},{}", steps.len(), words.join(","))
}
