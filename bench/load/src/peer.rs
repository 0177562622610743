//! Which server is measured, and the way into it.

use crate::args::ServerArgs;
use crate::door::{ControlDoor, Door, JanusDoor, WhipDoor};
use crate::target::{JanusSpec, SignalingSpec, Target, own_address};
use clap::ValueEnum;
use serde_json::{Value, json};
use std::net::IpAddr;
use std::path::PathBuf;

/// A stream's upper bound where bursts are measured: the most that signaling takes.
const PUBLISH_BITRATE_BPS_MAX: u64 = 1_000_000_000;

/// A server.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Peer {
    Ringvox,
    Janus,
}

/// How clients get into Ringvox.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum DoorKind {
    /// The relay's control socket
    Control,
    /// Signaling's WHIP and WHEP
    Whip,
}

/// A server that can be measured.
pub(crate) struct Opened {
    pub(crate) target: Target,
    pub(crate) door: Box<dyn Door>,
    /// What a report says of it.
    pub(crate) facts: Vec<(&'static str, Value)>,
}

/// Starts or finds it, and connects.
pub(crate) fn open(peer: Peer, server: &ServerArgs) -> Result<Opened, String> {
    match (peer, server.door) {
        (Peer::Ringvox, DoorKind::Control) => by_control(server),
        (Peer::Ringvox, DoorKind::Whip) => by_whip(server),
        (Peer::Janus, _) => janus(server),
    }
}

fn by_control(server: &ServerArgs) -> Result<Opened, String> {
    let (mut target, socket) = match (&server.relay_binary, &server.control_socket, server.server_pid) {
        (Some(relay), ..) => Target::start_relay(relay, server)?,
        (None, Some(socket), Some(pid)) => (Target::existing(pid, None), socket.clone()),
        _ => return Err("give --relay-binary, or --control-socket and --server-pid".to_owned()),
    };
    let door = ControlDoor::connect(&socket, &mut target).map_err(|why| hint(why, server))?;
    let facts =
        vec![("peer", json!("ringvox")), ("door", json!("control")), ("back_end", json!(door.back_end()))];
    Ok(Opened { target, door: Box::new(door), facts })
}

fn by_whip(server: &ServerArgs) -> Result<Opened, String> {
    let (mut target, socket, url) = match (&server.relay_binary, &server.url, server.server_pid) {
        (Some(relay), None, _) => {
            let beside = |name: &str| -> PathBuf { relay.with_file_name(name) };
            let binary = server.signaling_binary.clone().unwrap_or_else(|| beside("ringvox-signaling"));
            let signaling = SignalingSpec { binary, max_publish_bitrate_bps: PUBLISH_BITRATE_BPS_MAX };
            let (target, socket, url) = Target::start_both(relay, server, &signaling)?;
            (target, Some(socket), url)
        }
        (None, Some(url), Some(pid)) => {
            (Target::existing(pid, server.signaling_pid), server.control_socket.clone(), url.clone())
        }
        _ => return Err("give --relay-binary, or --url and --server-pid".to_owned()),
    };
    let relay = socket.map(|socket| ControlDoor::watch(&socket, &mut target)).transpose();
    let relay = relay.map_err(|why| hint(why, server))?;
    let back_end = relay.as_ref().map(|relay| relay.back_end().to_owned());
    let facts = vec![("peer", json!("ringvox")), ("door", json!("whip")), ("back_end", json!(back_end))];
    let door = WhipDoor::new(&url, relay)?;
    Ok(Opened { target, door: Box::new(door), facts })
}

fn janus(server: &ServerArgs) -> Result<Opened, String> {
    let address = if server.relay_netns.is_some() { None } else { Some(own_address()?) };
    let spec = JanusSpec {
        binary: server.janus_binary.clone(),
        cores: server.relay_cores.clone(),
        netns: server.relay_netns.clone(),
        address,
        args: server.janus_arg.clone(),
    };
    let version = spec.version()?;
    let (mut target, socket) = Target::start_janus(&spec)?;
    let door = JanusDoor::connect(&socket, &mut target, address.map(IpAddr::V4))?;
    let facts =
        vec![("peer", json!("janus")), ("door", json!("videoroom")), ("server_version", json!(version))];
    Ok(Opened { target, door: Box::new(door), facts })
}

/// A relay that ends at its start mostly misses its UDP ports.
fn hint(why: String, server: &ServerArgs) -> String {
    if server.relay_binary.is_none() || !why.contains("ended with") {
        return why;
    }
    let port = server.first_port();
    format!("{why}\nIf UDP port {port} or one behind it is taken, choose another with --base-port")
}

/// Several servers' figures beside each other, one row for each figure.
pub(crate) fn side_by_side(values: &[Value]) -> String {
    let rows: [(&str, &str, f64); 7] = [
        ("us of CPU per packet, median", "cpu_ns_per_packet_median", 1e3),
        ("us of CPU per packet, least", "cpu_ns_per_packet_min", 1e3),
        ("packets per second", "packets_per_second_median", 1.0),
        ("latency p50, ms", "latency_p50_ns", 1e6),
        ("latency p99, ms", "latency_p99_ns", 1e6),
        ("lost", "lost", 1.0),
        ("duplicates, foreign and corrupt", "", 1.0),
    ];
    let name = |value: &Value| {
        let detail = value["server_version"].as_str().or(value["door"].as_str()).unwrap_or_default();
        format!("{} {detail}", value["peer"].as_str().unwrap_or_default())
    };
    let mut out = format!("{:32}", "");
    values.iter().for_each(|value| out.push_str(&format!("{:>20}", name(value))));
    for (title, key, unit) in rows {
        out.push_str(&format!("\n{title:32}"));
        for value in values {
            let summary = &value["summary"];
            let number = |key: &str| summary[key].as_f64().unwrap_or_default();
            let figure = match key {
                "" => ["duplicates", "foreign", "corrupt"].into_iter().map(number).sum(),
                key => number(key) / unit,
            };
            let digits = if unit > 1.0 { 3 } else { 0 };
            out.push_str(&format!("{figure:>20.digits$}"));
        }
    }
    let profiles: Vec<&str> =
        values.iter().map(|value| value["srtp_profile"].as_str().unwrap_or("-")).collect();
    out.push_str(&format!("\n{:32}", "SRTP profile"));
    profiles.iter().for_each(|profile| out.push_str(&format!("{profile:>20}")));
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_stand_side_by_side() {
        let value = |peer: &str, version: Value, ns: f64| {
            json!({"peer": peer, "door": "control", "server_version": version, "srtp_profile": "GCM",
                "summary": {"cpu_ns_per_packet_median": ns, "lost": 3, "duplicates": 1, "corrupt": 1}})
        };
        let table =
            side_by_side(&[value("ringvox", Value::Null, 3612.0), value("janus", json!("1.1.2"), 18_000.0)]);
        let rows: Vec<Vec<&str>> = table.lines().map(|line| line.split_whitespace().collect()).collect();
        assert_eq!(rows[0], ["ringvox", "control", "janus", "1.1.2"]);
        assert_eq!(rows[1][6..], ["3.612", "18.000"]);
        assert_eq!(rows[6], ["lost", "3", "3"]);
        assert_eq!(rows[7][4..], ["2", "2"]);
        assert_eq!(rows[8], ["SRTP", "profile", "GCM", "GCM"]);
        assert!(table.lines().all(|line| line.len() == 72), "{table}");
    }
}
