//! Settings: the `[relay]` table of `ringvox.toml`, then the command line on top of it. Read once, checked
//! once.

use relay_control::default_control_socket;
use relay_settings::{control_socket, list, log_level, number, one_of, parsed, settings, single};
use std::net::IpAddr;
use std::path::PathBuf;
use tracing::level_filters::LevelFilter;

pub use relay_settings::{Error as ConfigError, Settings};

/// Flags of the command line.
pub type Flags = relay_settings::Flags<Config>;

/// As many addresses as are useful in one answer.
pub const PUBLIC_IPS_MAX: usize = 8;

/// Which back end moves the datagrams.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IoChoice {
    /// io_uring if the kernel allows it, else the other.
    Auto,
    /// io_uring, or refuse to start.
    Uring,
    /// recvmmsg, sendmmsg and epoll.
    Mmsg,
}

/// Whether loopback addresses are candidates.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Loopback {
    /// Yes, as the last ones, unless `public_ip` says what to advertise.
    Auto,
    /// Always, as the last ones.
    Yes,
    /// Only if the machine has no other address.
    No,
}

settings! {
    /// The settings of a relay.
    pub struct Config in "relay" {
        /// How datagrams are moved. "mmsg" is recvmmsg, sendmmsg and epoll; "auto" is uring where the kernel
        /// allows it.
        io: IoChoice = "auto",
            one_of(&[("auto", IoChoice::Auto), ("uring", IoChoice::Uring), ("mmsg", IoChoice::Mmsg)]);
        /// Number of shards, each with a core and a UDP port of its own.
        shards: Option<u32> = "auto",
            number("a number", 1..=256).map(Some).or("auto", "\"auto\" (one per core)", None);
        /// UDP port of the first shard; the others follow. These ports must be reachable for clients.
        base_port: u16 = 10_000, number("a port", 1..=65_535);
        /// Address to bind the UDP ports to.
        bind: IpAddr = "::", parsed("an IP address; \"::\" means all addresses of IPv4 and IPv6", "IP");
        /// Addresses under which a 1:1 NAT (most clouds) makes this machine reachable. The flag may be
        /// repeated.
        public_ip: Vec<IpAddr> = [], public_ips();
        /// Whether loopback addresses are told to clients. "auto": as the last ones, unless public_ip is set.
        advertise_loopback: Loopback = "auto", one_of(&[
            ("auto", Loopback::Auto),
            ("yes", Loopback::Yes),
            ("true", Loopback::Yes),
            ("no", Loopback::No),
            ("false", Loopback::No),
        ]);
        /// Log level on standard error.
        log: LevelFilter = "info", log_level();
        /// What a publisher may send if media.max_publish_bitrate_bps says nothing, and what each track of a
        /// local process may have. Publishers are told so; what is over one and a half times as much is
        /// discarded, counted and reported.
        max_receive_bitrate_bps: u64 = 20_000_000, number("a number of bit/s", 64_000..=1_000_000_000);
        /// How long a busy shard may gather datagrams before it handles them together. More streams per core
        /// for so much delay; an idle shard adds none. 0: never.
        max_hold_us: u32 = 500, number("a number of microseconds", 0..=5_000);
        // A keyframe of 100 packets to 64 subscribers keeps a core busy for about 5 ms, which is as long as
        // one room should hold up the others on its core.
        /// Transports of one room on one shard before its next ones go to another shard. One stream published
        /// or played is one transport. Each further shard gets a copy of every packet that is played there,
        /// and so one room can use all cores.
        room_transports_per_shard: usize = 64, number("a number of transports", 1..=1_000_000);
        /// Seal for four subscribers in one pass, on processors with AVX-512 and VAES. "off" uses the library
        /// alone.
        four_key_cipher: bool = "auto", one_of(&[("auto", true), ("off", false)]);
        with control_socket: PathBuf = default_control_socket(), control_socket;
    }
}

fn public_ips() -> relay_settings::Accepts<Vec<IpAddr>> {
    let address = single("", "IP", |text| text.parse().ok().filter(|ip: &IpAddr| !ip.is_unspecified()));
    let words =
        format!("an IP address that clients can reach, or a list of at most {PUBLIC_IPS_MAX} of them");
    list(&words, 0..=PUBLIC_IPS_MAX, address)
}

impl Config {
    /// The defaults, the file, then the flags.
    ///
    /// # Errors
    /// The first thing that is wrong, with the key's name and what it accepts.
    pub fn load(flags: &Flags) -> Result<Self, ConfigError> {
        let (config, _) = relay_settings::load::<Self>(flags)?;
        config.check_ports(config.shards.unwrap_or(1))?;
        Ok(config)
    }

    /// Whether every shard gets a port.
    ///
    /// # Errors
    /// Port numbers run out.
    pub fn check_ports(&self, shards: u32) -> Result<(), ConfigError> {
        let base_port = self.base_port;
        if u32::from(base_port) + shards.saturating_sub(1) <= u32::from(u16::MAX) {
            return Ok(());
        }
        Err(ConfigError::Conflict(format!(
            "relay.base_port = {base_port} leaves no room for {shards} shards, one port each, below 65536"
        )))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::{Args, Command, FromArgMatches};
    use std::path::Path;

    fn from_text(text: &str) -> Result<Config, String> {
        Config::from_text(Path::new("ringvox.toml"), text).map_err(|why| why.to_string())
    }

    #[test]
    fn every_key_is_understood() {
        let text = r#"
            [relay]
            io = "mmsg"
            shards = 3
            base_port = 20000
            bind = "0.0.0.0"
            public_ip = ["203.0.113.7", "2001:db8::7"]
            advertise_loopback = "no"
            control_socket = "/run/x/relay.sock"
            log = "debug"
            max_receive_bitrate_bps = 1000000
            max_hold_us = 250
            room_transports_per_shard = 200
            four_key_cipher = "off"
            [signaling]
            whatever = 1
            [rooms]
            [media]
        "#;
        let want = Config {
            io: IoChoice::Mmsg,
            shards: Some(3),
            base_port: 20_000,
            bind: "0.0.0.0".parse().expect("address"),
            public_ip: vec!["203.0.113.7".parse().expect("v4"), "2001:db8::7".parse().expect("v6")],
            advertise_loopback: Loopback::No,
            control_socket: PathBuf::from("/run/x/relay.sock"),
            log: LevelFilter::DEBUG,
            max_receive_bitrate_bps: 1_000_000,
            max_hold_us: 250,
            room_transports_per_shard: 200,
            four_key_cipher: false,
        };
        assert_eq!(from_text(text), Ok(want));
        assert_eq!(from_text(""), Ok(Config::default()));
    }

    #[test]
    fn what_is_wrong_is_named_with_what_would_be_right() {
        for (text, want) in [
            ("[relay]\nsharts = 1", "unknown key relay.sharts; known are io, shards, base_port"),
            ("[relya]", "unknown table [relya]; known are [relay], [signaling], [auth], [rooms], [media]"),
            ("relay = 3", "relay = 3: give a table: [relay]"),
            ("[relay]\nio = \"epoll\"", "relay.io = \"epoll\": give \"auto\", \"uring\" or \"mmsg\""),
            ("[relay]\nshards = 0", "relay.shards = \"0\": give \"auto\" (one per core) or a number from 1"),
            ("[relay]\nshards = -1", "relay.shards = \"-1\""),
            ("[relay]\nshards = 1.5", "relay.shards = 1.5: give"),
            ("[relay]\nshards = [1, 2]", "relay.shards = \"1, 2\": give"),
            ("[relay]\nbase_port = 70000", "relay.base_port = \"70000\": give a port"),
            ("[relay]\nbind = \"localhost\"", "relay.bind = \"localhost\": give an IP address"),
            ("[relay]\npublic_ip = \"::\"", "relay.public_ip = \"::\": give"),
            ("[relay]\npublic_ip = [[1]]", "relay.public_ip = [[1]]: give"),
            ("[relay]\ncontrol_socket = \"x.sock\"", "give an absolute path"),
            ("[relay]\nlog = \"loud\"", "relay.log = \"loud\": give \"off\""),
            ("[relay]\nmax_receive_bitrate_bps = 5", "give a number of bit/s"),
            ("[relay]\nroom_transports_per_shard = 0", "give a number of transports"),
            ("[relay]\nsharts = 1.5", "unknown key relay.sharts"),
            ("[relay", "is not valid TOML"),
        ] {
            let error = from_text(text).expect_err(text);
            assert!(error.contains(want), "{text:?} gave {error:?}");
        }
    }

    #[test]
    fn flags_win_over_the_file_and_errors_name_the_flag() {
        let dir = tempfile::tempdir().expect("temporary directory");
        let path = dir.path().join("r.toml");
        std::fs::write(&path, "[relay]\nshards = 2\nbase_port = 3000").expect("writes");
        let file = path.to_str().expect("UTF-8");
        let load = |arguments: &[&str]| {
            let arguments = ["ringvox-relay"].iter().chain(arguments);
            let command = Flags::augment_args(Command::new("ringvox-relay"));
            let matches = command.get_matches_from(arguments);
            Config::load(&Flags::from_arg_matches(&matches).expect("flags")).map_err(|why| why.to_string())
        };
        let config = load(&["--config", file, "--shards", "4", "--io", "mmsg"]).expect("good");
        assert_eq!((config.shards, config.base_port, config.io), (Some(4), 3000, IoChoice::Mmsg));
        let config = load(&["--config", file, "--public-ip", "192.0.2.1", "--public-ip", "192.0.2.2"]);
        assert_eq!(config.expect("good").public_ip.len(), 2);

        for (arguments, expected) in [
            (["--config", file, "--base-port", "x"], "--base-port = \"x\": give a port from 1 to 65535"),
            (
                ["--config", file, "--base-port", "65535"],
                "relay.base_port = 65535 leaves no room for 2 shards, one port each, below 65536",
            ),
            (["--config", file, "--control-socket", "x"], "--control-socket = \"x\": give an absolute path"),
            (["--io", "mmsg", "--config", "/nonexistent/none.toml"], "cannot read /nonexistent/none.toml"),
        ] {
            let error = load(&arguments).expect_err("refused");
            assert!(error.starts_with(expected), "{arguments:?} gave {error:?}");
        }
    }
}
