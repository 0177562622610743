//! `ringvox.toml.example` says what the keys say.

use clap::{Args, Command};
use relay_settings::Settings;
use std::path::{Path, PathBuf};

const HEADER: &str = "\
# Settings of Ringvox. Copy to ringvox.toml (or name another file with --config) and uncomment what you
# change. All programs read the same file. An unknown key or a bad value is an error that names the key and
# what it accepts. Every key is listed with its default, or with an example where there is none, and with what
# it accepts. Those of [relay] and [signaling] are also flags of these programs, base_port as --base-port: see
# --help.
";

fn written_from_the_keys() -> String {
    let (mut relay, mut signaling) = (relay::config::Config::default(), signaling::config::Config::default());
    let mut recorder = recorder::config::Config::default();
    let mut keys = relay.keys();
    // What several programs read is in the file once.
    for key in signaling.keys().into_iter().chain(recorder.keys()) {
        if keys.iter().all(|known| known.place() != key.place()) {
            keys.push(key);
        }
    }
    format!("{HEADER}{}", relay_settings::example(&keys))
}

#[test]
fn the_example_file_is_what_the_keys_say() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../ringvox.toml.example");
    let written = written_from_the_keys();
    if std::env::var_os("RINGVOX_WRITE_EXAMPLE").is_some() {
        std::fs::write(&path, &written).expect("written");
    }
    let found = std::fs::read_to_string(&path).expect("readable");
    let differing = found.lines().zip(written.lines()).find(|(found, written)| found != written);
    assert!(
        found == written,
        "ringvox.toml.example is not what the keys say: {differing:?}. Write it again with\n\
         RINGVOX_WRITE_EXAMPLE=1 cargo test -p tests --test example"
    );
}

#[test]
fn the_programs_take_the_example() {
    let written = written_from_the_keys();
    let setting = |line: &'_ str| -> Option<String> {
        let line = line.strip_prefix("# ")?;
        let (key, _) = line.split_once(" = ")?;
        key.bytes().all(|b| b.is_ascii_lowercase() || b == b'_').then(|| line.to_owned())
    };
    let lines = written.lines().map(|line| setting(line).unwrap_or(line.to_owned()));
    let text = lines.collect::<Vec<_>>().join("\n");
    assert!(text.contains("\nhook_concurrency = 64 # a number from 1 to 10000\n"), "{text}");
    let path = PathBuf::from("ringvox.toml.example");
    let relay = relay::config::Config::from_text(&path, &text).expect("good for the relay");
    let signaling = signaling::config::Config::from_text(&path, &text).expect("good for signaling");
    assert_eq!(relay.control_socket, Path::new("/run/ringvox/relay.sock"));
    assert_eq!(signaling.control_socket, relay.control_socket);
    let recorder = recorder::config::Config::from_text(&path, &text).expect("good for the recorder");
    assert_eq!(recorder.relay_socket, relay.control_socket);
    assert_eq!(recorder.recording.directory.as_deref(), Some(Path::new("/var/lib/ringvox/records")));
    let relay = relay::config::Config { control_socket: relay_control::default_control_socket(), ..relay };
    assert_eq!(relay, relay::config::Config::default());
    assert_eq!(signaling.rooms, signaling::config::Rooms::default());
    assert_eq!(signaling.media, signaling::config::Media::default());
}

#[test]
fn the_programs_of_a_table_know_its_keys() {
    let (mut signaling, mut recorder) =
        (signaling::config::Config::default(), recorder::config::Config::default());
    for key in signaling.keys().into_iter().chain(recorder.keys()) {
        let (table, name) = key.place();
        assert!(table != "recording" || relay_settings::RECORDING_KEYS.contains(&name), "{name}");
    }
}

#[test]
fn no_flag_is_there_twice() {
    relay::config::Flags::augment_args(Command::new("relay")).debug_assert();
    signaling::config::Flags::augment_args(Command::new("signaling")).debug_assert();
}
