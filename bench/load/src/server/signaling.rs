//! Signaling for one run, beside a relay that runs already: its settings, and the port that it took.
//!
//! It stays on the generator's cores: what it costs is reported, and is no part of the relay's figure.

use super::process::Process;
use super::write;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};

/// A stream's upper bound where bursts are measured: the most that signaling takes.
const PUBLISH_BITRATE_BPS_MAX: u64 = 1_000_000_000;

/// Its URL comes back with it.
pub(super) fn start(binary: &Path, control_socket: &Path, dir: &Path) -> Result<(Process, String), String> {
    let config = write(dir, "ringvox.toml", &config(dir, control_socket))?;
    let mut command = Command::new(binary);
    command.arg("--config").arg(config).stdout(Stdio::piped());
    let mut process = Process::start(binary, command)?;
    // It says where it listens once everything is up; the pipe closes if it ends before.
    let output = process.take_output().map(BufReader::new);
    match output.and_then(|output| output.lines().map_while(Result::ok).find_map(|line| url(&line))) {
        Some(url) => Ok((process, url)),
        None => Err(process.wait_for_end()),
    }
}

/// No limit of rooms and viewers is in the way of a measurement, and nothing is left behind.
fn config(dir: &Path, control_socket: &Path) -> String {
    format!(
        "[relay]\ncontrol_socket = \"{}\"\n\
         [signaling]\nbind = \"127.0.0.1\"\nhttp_port = 0\nhttps_port = 0\ndata_dir = \"{}\"\n\
         start_relay = false\nlog = \"warn\"\n\
         [rooms]\nmax_participants = 1000\nmax_rooms = 1000000\nmax_viewers = 100000\n\
         [media]\nmax_publish_bitrate_bps = {PUBLISH_BITRATE_BPS_MAX}\n",
        control_socket.display(),
        dir.join("data").display(),
    )
}

/// The first line that it says of where it listens; the host is as we bound it.
fn url(line: &str) -> Option<String> {
    let port = line.trim().strip_prefix("http://localhost:")?.strip_suffix('/')?;
    port.bytes().all(|octet| octet.is_ascii_digit()).then(|| format!("http://127.0.0.1:{port}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use signaling::config::{Config, Settings};

    #[test]
    fn the_port_is_read_from_what_it_says() {
        assert_eq!(url("    http://localhost:41234/\n").as_deref(), Some("http://127.0.0.1:41234"));
        for other in ["", "Ringvox is running. Open", "    https://127.0.0.1:1/", "http://localhost:1x/"] {
            assert_eq!(url(other), None, "{other}");
        }
    }

    #[test]
    fn the_settings_are_some_that_signaling_takes() {
        let text = config(Path::new("/tmp/x"), Path::new("/tmp/x/relay.sock"));
        let config = Config::from_text(Path::new("ringvox.toml"), &text).expect("good settings");
        assert_eq!(config.control_socket, Path::new("/tmp/x/relay.sock"));
        assert_eq!(config.media.max_publish_bitrate_bps, 1_000_000_000);
    }
}
