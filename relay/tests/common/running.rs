//! A relay that runs in the test's own process.

use super::{Controller, DEADLINE, eventually, free_base_port};
use relay::Relay;
use relay::config::{Config, IoChoice};
use relay::control::Exit;
use relay::ctl::{self, Question};
use relay_control::{Command, ReplyBody, Shutdown, port_socket};
use relay_port::{ClientReader, ClientWriter, connect};
use serde_json::Value;
use std::path::PathBuf;
use std::sync::{Mutex, Once};
use std::thread::JoinHandle;

/// A relay on two shards that ends with the test.
pub struct Running {
    pub socket: PathBuf,
    relay: Option<JoinHandle<Exit>>,
    _dir: tempfile::TempDir,
}

impl Running {
    pub fn start() -> Self {
        Self::start_as(Config::default())
    }

    /// With the settings that a test needs.
    pub fn start_as(config: Config) -> Self {
        hear_panics();
        let dir = tempfile::tempdir().expect("temporary directory");
        let socket = dir.path().join("c/relay.sock");
        let relay = eventually("a relay that starts", || {
            let config = Config {
                io: IoChoice::Mmsg,
                shards: Some(2),
                base_port: free_base_port(2),
                bind: "127.0.0.1".parse().expect("address"),
                control_socket: socket.clone(),
                ..config.clone()
            };
            // Another test may have taken the ports meanwhile.
            Relay::start(&config, None).ok()
        });
        let control = std::thread::Builder::new().name("control".into());
        let relay = control.spawn(move || relay.run().expect("waits")).expect("a thread");
        Self { socket, relay: Some(relay), _dir: dir }
    }

    pub fn connect(&self) -> Controller {
        Controller::connect(&self.socket)
    }

    /// Connects to a local port under this name.
    pub fn port(&self, name: &str) -> (ClientWriter, ClientReader) {
        let (writer, reader) = connect(&port_socket(&self.socket), name).expect("a port");
        reader.set_timeout(Some(DEADLINE)).expect("set");
        (writer, reader)
    }

    pub fn ctl(&self, question: Question) -> Value {
        let text = ctl::ask(&self.socket, question).expect("an answer");
        serde_json::from_str(&text).expect("JSON")
    }

    /// The value of a counter of the process.
    pub fn count(&self, name: &str) -> u64 {
        self.ctl(Question::Stats)["process"][name].as_u64().expect("a counter")
    }

    /// Waits until the connections that were dropped are gone in the relay, too.
    pub fn until_connections(&self, open: u64) {
        eventually("connections are gone", || {
            // While too many are open, a new one is refused.
            let text = ctl::ask(&self.socket, Question::Stats).ok()?;
            let stats: Value = serde_json::from_str(&text).expect("JSON");
            // The one that asks counts.
            (stats["process"]["control.connections_open"] == open + 1).then_some(())
        });
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if let Some(relay) = self.relay.take() {
            let mut controller = self.connect();
            controller.welcome(u64::MAX);
            assert!(matches!(controller.call(Command::Shutdown(Shutdown {})), ReplyBody::Done(_)));
            let exit = relay.join().expect("no panic");
            assert_eq!(exit, Exit::Command);
            assert!(
                !self.socket.exists() && !port_socket(&self.socket).exists(),
                "it takes its sockets away"
            );
        }
        let panics = PANICS.lock().expect("nothing panics with it");
        if !std::thread::panicking() {
            assert!(panics.is_empty(), "{panics:#?}");
        }
    }
}

/// What the relay's threads panicked over. It catches that and goes on, so a test might not see it otherwise.
static PANICS: Mutex<Vec<String>> = Mutex::new(Vec::new());

fn hear_panics() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let told = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |panic| {
            let thread = std::thread::current();
            let name = thread.name().unwrap_or_default();
            if ["control", "ports"].contains(&name) || name.starts_with("shard-") {
                PANICS.lock().expect("nothing panics with it").push(panic.to_string());
            }
            told(panic);
        }));
    });
}
