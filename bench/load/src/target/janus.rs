//! Janus with its VideoRoom plugin, started for one run with settings of our own.
//!
//! All is as its package brings it, but for what a measurement needs: no other plugin, nothing reachable from outside
//! but its UDP ports, no log lines per packet, and one address to gather candidates on. Janus never gathers on loopback,
//! and ties its sockets to the interface of their address. So that address is one of a real interface, and clients have
//! the same one: packets between a machine's own addresses go over loopback whatever interface they belong to.

use super::process::{Launch, Output, Process, Scratch};
use nix::ifaddrs::{InterfaceAddress, getifaddrs};
use nix::net::if_::InterfaceFlags;
use std::io;
use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::process::Command;

/// UDP ports of its clients: below those that the kernel gives to ours.
const RTP_PORTS: &str = "20000-32000";

/// What is not loaded.
const PLUGINS: &str =
    "audiobridge duktape echotest lua nosip recordplay sip streaming textroom videocall voicemail";
const TRANSPORTS: &str = "http mqtt nanomsg pfunix rabbitmq";

/// How to start it.
#[derive(Clone, Debug)]
pub(crate) struct JanusSpec {
    /// A path, or a name to be found in `PATH`.
    pub(crate) binary: PathBuf,
    /// Cores it may use, as `taskset` takes them.
    pub(crate) cores: Option<String>,
    /// Network namespace to start it in.
    pub(crate) netns: Option<String>,
    /// The only address to gather on; `None`: all of its namespace.
    pub(crate) address: Option<Ipv4Addr>,
    /// More flags.
    pub(crate) args: Vec<String>,
}

impl JanusSpec {
    /// Its version, such as `1.1.2`.
    pub(crate) fn version(&self) -> Result<String, String> {
        let name = self.binary.display();
        let output =
            Command::new(&self.binary).arg("--version").output().map_err(|why| match why.kind() {
                io::ErrorKind::NotFound => format!(
                    "{name} is not installed: `make setup-bench` installs it, --janus-binary names another"
                ),
                _ => format!("{name} does not run: {why}"),
            })?;
        let text = [output.stdout, output.stderr].concat();
        version_in(&String::from_utf8_lossy(&text)).ok_or_else(|| format!("{name} --version says no version"))
    }

    /// The socket of its WebSocket server comes back with it.
    pub(super) fn start(&self, scratch: &Scratch) -> Result<(Process, PathBuf), String> {
        let socket = scratch.path().join("janus.sock");
        let dir = scratch.path().display().to_string();
        let config = scratch.write("janus.jcfg", &main_config(&dir, self.address))?;
        let websockets = format!(
            "general: {{\n json = \"compact\"\n ws = true\n ws_unix = \"{}\"\n wss = false\n ws_logging = \"err\"\n}}\n\
             admin: {{\n admin_ws = false\n admin_wss = false\n}}\n",
            socket.display()
        );
        scratch.write("janus.transport.websockets.jcfg", &websockets)?;
        scratch.write("janus.plugin.videoroom.jcfg", "general: {\n}\n")?;
        let mut args = vec!["-C".to_owned(), config.display().to_string(), "-F".to_owned(), dir];
        args.extend(self.args.iter().cloned());
        let log = scratch.path().join("janus.log");
        let process = Process::start(&Launch {
            binary: &self.binary,
            args,
            cores: self.cores.as_deref(),
            netns: self.netns.as_deref(),
            dir: scratch.path(),
            output: Output::File(&log),
        })?;
        Ok((process, socket))
    }
}

/// `address`: the only one to gather on.
fn main_config(dir: &str, address: Option<Ipv4Addr>) -> String {
    let list = |names: &str, prefix: &str| -> String {
        let files: Vec<String> = names.split(' ').map(|name| format!("lib{prefix}{name}.so")).collect();
        files.join(",")
    };
    let only = address.map_or_else(String::new, |ip| format!(" ice_enforce_list = \"{ip}\"\n"));
    format!(
        "general: {{\n configs_folder = \"{dir}\"\n debug_level = 2\n debug_colors = false\n session_timeout = 0\n}}\n\
         media: {{\n rtp_port_range = \"{RTP_PORTS}\"\n slowlink_threshold = 0\n}}\n\
         nat: {{\n nice_debug = false\n full_trickle = false\n ignore_mdns = true\n{only}}}\n\
         plugins: {{\n disable = \"{}\"\n}}\n\
         transports: {{\n disable = \"{}\"\n}}\n\
         loggers: {{\n disable = \"libjanus_jsonlog.so\"\n}}\n\
         events: {{\n broadcast = false\n}}\n",
        list(PLUGINS, "janus_"),
        list(TRANSPORTS, "janus_"),
    )
}

/// The machine's first IPv4 address besides loopback.
pub(crate) fn own_address() -> Result<Ipv4Addr, String> {
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
    }

    #[test]
    fn one_that_is_not_there_is_said_with_what_to_do() {
        let spec = JanusSpec {
            binary: "/no/such/janus".into(),
            cores: None,
            netns: None,
            address: None,
            args: Vec::new(),
        };
        let why = spec.version().expect_err("there is none");
        assert!(why.contains("/no/such/janus is not installed: `make setup-bench` installs it"), "{why}");
    }

    #[test]
    fn the_settings_name_what_is_left_out() {
        let text = main_config("/tmp/x", Some(Ipv4Addr::new(192, 0, 2, 2)));
        assert!(text.contains("ice_enforce_list = \"192.0.2.2\""), "{text}");
        assert!(text.contains("libjanus_echotest.so,libjanus_lua.so"), "{text}");
        assert!(!text.contains("videoroom") && !text.contains("websockets"), "{text}");
        assert!(!main_config("/tmp/x", None).contains("enforce"));
    }
}
