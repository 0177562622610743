//! The machine's addresses change while the relay runs, in a network of the test's own. That takes root or
//! user namespaces; without them nothing is tested here.

mod common;

use common::{Controller, eventually};
use std::path::PathBuf;
use std::process::{Child, ChildStdin, Command, Stdio};

const BINARY: &str = env!("CARGO_BIN_EXE_ringvox-relay");

/// A network with loopback and an interface `v0` without addresses. It lives as long as `cat` does.
struct Network {
    holder: Child,
    _held: ChildStdin,
}

impl Network {
    fn new() -> Option<Self> {
        let mut holder = Command::new("unshare")
            .args(["--net", "--user", "--map-root-user", "sh", "-c"])
            .arg(
                "ip link set lo up && ip link add v0 type veth peer name v1 && ip link set v1 up \
                  && ip link set v0 up && echo ready && exec cat",
            )
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .ok()?;
        let held = holder.stdin.take()?;
        let mut line = String::new();
        let mut out = std::io::BufReader::new(holder.stdout.take()?);
        std::io::BufRead::read_line(&mut out, &mut line).ok()?;
        if line != "ready\n" {
            let _ = holder.wait();
            eprintln!("no network of our own: nothing is tested");
            return None;
        }
        Some(Self { holder, _held: held })
    }

    fn inside(&self, program: &str) -> Command {
        let mut command = Command::new("nsenter");
        let pid = self.holder.id().to_string();
        command.args(["--target", &pid, "--net", "--user", "--preserve-credentials", "--", program]);
        command
    }

    fn ip(&self, arguments: &str) {
        let status = self.inside("ip").args(arguments.split(' ')).status().expect("runs");
        assert!(status.success(), "ip {arguments}");
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        let _ = self.holder.kill();
        let _ = self.holder.wait();
    }
}

struct Relay {
    child: Child,
    controller: Controller,
    next: u64,
    _dir: tempfile::TempDir,
}

impl Relay {
    fn start(network: &Network, arguments: &[&str]) -> Self {
        let dir = tempfile::tempdir().expect("temporary directory");
        let socket: PathBuf = dir.path().join("c/relay.sock");
        let log = std::fs::File::create(dir.path().join("stderr")).expect("a file");
        let child = network
            .inside(BINARY)
            .args(["--io", "mmsg", "--shards", "2", "--base-port", "10000"])
            .args(arguments)
            .arg("--control-socket")
            .arg(&socket)
            .current_dir(dir.path())
            .stderr(log)
            .spawn()
            .expect("starts");
        let mut controller = Controller::connect(&socket);
        controller.welcome(1);
        Self { child, controller, next: 0, _dir: dir }
    }

    /// What the next answer says.
    fn candidates(&mut self) -> Vec<String> {
        self.next += 1;
        let opened = self.controller.open(self.next, self.next);
        let of_shard = 10_000 + opened.shard;
        assert!(opened.candidates.iter().all(|candidate| candidate.port == of_shard), "{opened:?}");
        opened.candidates.into_iter().map(|candidate| candidate.ip).collect()
    }

    #[track_caller]
    fn comes_to_say(&mut self, wanted: &str) {
        let wanted: Vec<&str> = wanted.split_whitespace().collect();
        let mut said = Vec::new();
        let until = std::time::Instant::now() + common::DEADLINE;
        while said != wanted {
            assert!(std::time::Instant::now() < until, "{wanted:?} never came: {said:?}");
            // Few transports, so that none of their limits is met.
            said = self.ask_again();
        }
    }

    /// The same transport is answered as things are now.
    fn ask_again(&mut self) -> Vec<String> {
        let opened = self.controller.open(1, 1);
        opened.candidates.into_iter().map(|candidate| candidate.ip).collect()
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn addresses_that_come_and_go_are_candidates_within_seconds() {
    let Some(network) = Network::new() else { return };
    let mut relay = Relay::start(&network, &[]);
    assert_eq!(relay.candidates(), ["127.0.0.1", "::1"], "no network yet");
    network.ip("address add 192.0.2.7/24 dev v0");
    relay.comes_to_say("192.0.2.7 127.0.0.1 ::1");
    // A fail-over brings one more; link-local ones are none. IPv6 comes once nobody else has it (RFC 4862
    // §5.4).
    network.ip("address add 192.0.2.8/32 dev v0");
    network.ip("address add 2001:db8::7/64 dev v0");
    relay.comes_to_say("2001:db8::7 192.0.2.7 192.0.2.8 127.0.0.1 ::1");
    // Deprecated addresses are for what runs already (RFC 4862 §5.5.4).
    network.ip("address change 2001:db8::7/64 dev v0 preferred_lft 0");
    relay.comes_to_say("192.0.2.7 192.0.2.8 127.0.0.1 ::1");
    network.ip("address del 192.0.2.7/24 dev v0");
    relay.comes_to_say("192.0.2.8 127.0.0.1 ::1");
    network.ip("link set v0 down");
    relay.comes_to_say("127.0.0.1 ::1");
    network.ip("link set v0 up");
    relay.comes_to_say("192.0.2.8 127.0.0.1 ::1");
    // The other shard was told as well.
    let all: Vec<_> = (0..4).map(|_| relay.candidates()).collect();
    assert!(all.iter().all(|said| said == &["192.0.2.8", "127.0.0.1", "::1"]), "{all:?}");
}

#[test]
fn what_the_settings_say_goes_before_what_the_machine_has() {
    let Some(network) = Network::new() else { return };
    let mut relay = Relay::start(&network, &["--public-ip", "198.51.100.1", "--advertise-loopback", "no"]);
    assert_eq!(relay.candidates(), ["198.51.100.1"]);
    network.ip("address add 192.0.2.7/24 dev v0");
    network.ip("address add 2001:db8::7/64 dev v0");
    // The NAT's address replaces those of its family.
    relay.comes_to_say("198.51.100.1 2001:db8::7");
}

#[test]
fn an_address_to_bind_to_may_come_later() {
    let Some(network) = Network::new() else { return };
    let mut relay = Relay::start(&network, &["--bind", "192.0.2.7"]);
    assert_eq!(relay.candidates(), ["192.0.2.7"]);
    let log = std::fs::read_to_string(relay._dir.path().join("stderr")).expect("a log");
    assert!(log.contains("relay.bind") && log.contains("192.0.2.7"), "{log}");
    network.ip("address add 192.0.2.7/24 dev v0");
    // Anything that is counted shows that it is served.
    eventually("a datagram that arrives", || {
        let mut sender = network.inside("bash");
        sender.args(["-c", "echo hello >/dev/udp/192.0.2.7/10000"]);
        let _ = sender.stdout(Stdio::null()).stderr(Stdio::null()).status();
        let stats = relay.controller.stats();
        let counted = |name: &str| {
            let counters = stats.shards.iter().flat_map(|shard| &shard.counters);
            counters.filter(|counter| counter.name == name).map(|counter| counter.value).sum::<u64>()
        };
        (counted("rx.datagrams") > 0).then_some(())
    });
}
