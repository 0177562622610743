//! The start-up order: settings, relay, sockets; and the way down.

use crate::auth::AccessControl;
use crate::config::{AuthMode, Config};
use crate::descriptors::Budget;
use crate::edge::{App, FETCHES_MAX, Input, OPERATORS_FETCHES_MAX};
use crate::operators::KEY_BYTES_MIN;
use crate::places::Places;
use crate::recorder::{self, RecorderEvent, RecorderHandle, RecorderProgram, RecorderSettings};
use crate::relay::{self, LinkSettings, RelayProgram};
use crate::renewal::{Renewal, Secret};
use crate::secret_file::SecretFile;
use crate::server::{COMMANDS_MAX, EVENTS_MAX, Ended, INPUTS_MAX, RelayStart, Server, Wiring};
use crate::webhook::Webhook;
use crate::{descriptors, listen, rest, tls};
use futures_util::future::BoxFuture;
use relay_control::{port_socket, recorder_socket};
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;

/// How long listening waits for the relay: members of a running one should be known before their clients
/// come back.
const RELAY_START_LIMIT: Duration = Duration::from_secs(10);

/// How long the closing frames of all clients may take at the end.
const FAREWELL_LIMIT: Duration = Duration::from_secs(2);

/// A running signaling.
pub struct Running {
    /// Where http and ws are served.
    pub http: SocketAddr,
    /// Where https and wss are served.
    pub https: SocketAddr,
    /// The relay that was connected before clients were let in.
    pub relay: Option<RelayFound>,
    inputs: mpsc::Sender<Input>,
    server: JoinHandle<Ended>,
    listeners: Vec<JoinHandle<()>>,
    renewal: Renewal,
    web_sockets: Arc<Places>,
}

/// A relay that is connected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RelayFound {
    /// A stop by a person ends it, too.
    pub ends_with_us: bool,
}

/// Why it did not start.
pub type StartError = Box<dyn std::error::Error + Send + Sync>;

/// Starts everything. Sockets are bound first: a second signaling by mistake must fail before it takes the
/// relay over.
///
/// # Errors
/// For people to read.
pub async fn start(mut config: Config) -> Result<Running, StartError> {
    let budget = budget(&config);
    config.signaling.max_connections = budget.connections;
    let config = Arc::new(config);
    let settings = &config.signaling;
    let http = listen::bind(settings.bind, settings.http_port).await?;
    let https = listen::bind(settings.bind, settings.https_port).await?;
    let certificate = tls::Certificate::new(settings.certificate())?;
    let tls = certificate.in_use();

    let access = Arc::new(AccessControl::new(&config.auth, format!("ringvox-{:08x}", node_id()?))?);
    if let Some(warning) = open_to_others(&config) {
        tracing::warn!("{warning}");
    }
    let mut secrets: Vec<Box<dyn Secret>> = vec![Box::new(certificate)];
    secrets.extend(access.token_key());
    let api_key =
        config.api.key.as_deref().map(|path| SecretFile::visible("the API's key", path, KEY_BYTES_MIN));
    let api_key = api_key.transpose().map_err(|why| format!("api.key: {why}"))?;
    let webhook = Webhook::new(&config)?;
    secrets.extend(api_key.clone().map(|key| Box::new(key) as Box<dyn Secret>));
    secrets.extend(webhook.as_ref().and_then(Webhook::secret).map(|key| Box::new(key) as Box<dyn Secret>));
    let renewal = Renewal::of(secrets);

    let (inputs, hub_inputs) = mpsc::channel(INPUTS_MAX);
    let (commands, link_commands) = mpsc::channel(COMMANDS_MAX);
    let (link_events, events) = mpsc::channel(EVENTS_MAX);
    let (relay_start, relay_started) = oneshot::channel();
    let link =
        LinkSettings { control_socket: config.control_socket.clone(), program: relay_program(&config)? };
    tokio::spawn(relay::run(link, link_commands, link_events));
    let (recorder, recorder_events, recorder_link) = recorder(&config, webhook)?;
    let wiring = Wiring {
        inputs: hub_inputs,
        events,
        commands,
        relay_start,
        access: Arc::clone(&access),
        recorder: recorder.clone(),
        recorder_events,
    };
    let server = tokio::spawn(Server::new(Arc::clone(&config), wiring).run());

    let relay = first_relay(&config, relay_started).await?;
    // Not before the relay: a server that does not start leaves no recorder behind.
    recorder_link.map(tokio::spawn);

    let app = Arc::new(App::new(Arc::clone(&config), access, inputs.clone(), recorder, api_key));
    let web_sockets = Arc::clone(&app.web_sockets);
    let router = rest::router(app);
    let all = Arc::new(listen::Listeners::new(router, &config.signaling, budget));
    let open = |listener: TcpListener, tls| tokio::spawn(listen::serve(listener, Arc::clone(&all), tls));
    let addresses = (http.local_addr()?, https.local_addr()?);
    let listeners = vec![open(http, None), open(https, Some(tls))];
    let (http, https) = addresses;
    Ok(Running { http, https, relay, inputs, server, listeners, renewal, web_sockets })
}

/// The relay, if it comes up in time.
async fn first_relay(
    config: &Config,
    relay_started: oneshot::Receiver<RelayStart>,
) -> Result<Option<RelayFound>, StartError> {
    let socket = config.control_socket.display();
    match tokio::time::timeout(RELAY_START_LIMIT, relay_started).await {
        Ok(Ok(RelayStart::Up { started_by_signaling })) => {
            let ends_with_us = config.signaling.stop_relay.ends(started_by_signaling, false);
            Ok(Some(RelayFound { ends_with_us }))
        }
        Ok(Ok(RelayStart::Failed(why))) => Err(format!("the relay does not start: {why}").into()),
        Ok(Err(_)) => Err(format!("the relay at {socket} is commanded by a newer signaling").into()),
        Err(_) => {
            tracing::warn!("no relay at {socket} yet; waiting for it");
            Ok(None)
        }
    }
}

/// How many connections there may be, by the settings and by the limit of file descriptors, which is raised
/// for it.
fn budget(config: &Config) -> Budget {
    let wanted = config.signaling.max_connections;
    let limit = descriptors::raise();
    let hook = if config.auth.mode == AuthMode::Hook { config.auth.hook_concurrency } else { 0 };
    let files = if config.recording.is_on() { FETCHES_MAX + OPERATORS_FETCHES_MAX } else { 0 };
    let budget = Budget::within(limit, wanted, hook + files);
    if let (true, Some(limit)) = (budget.connections < wanted, limit) {
        tracing::warn!(
            "max_connections is {} instead of {wanted}: the hard limit of file descriptors is {limit} \
             (see `ulimit -Hn`, or LimitNOFILE of a systemd unit)",
            budget.connections
        );
    }
    budget
}

/// Tells this server from the others that ask the same access hook.
fn node_id() -> Result<u32, StartError> {
    let mut bytes = [0; 4];
    getrandom::fill(&mut bytes)?;
    Ok(u32::from_ne_bytes(bytes))
}

/// The warning of a server that others reach and that asks nobody.
fn open_to_others(config: &Config) -> Option<String> {
    let open = config.auth.mode == AuthMode::Open && !config.signaling.bind.is_loopback();
    let (recorded, off) = match config.recording.is_on() && config.recording.serve {
        true => {
            (", have rooms recorded, and fetch recordings whose names it knows", ", recording.serve to false")
        }
        false => ("", ""),
    };
    open.then(|| {
        format!(
            "ACCESS IS OPEN: whoever reaches this server may join, publish and watch in any room{recorded}. \
             Set auth.mode to \"token\" or \"hook\", signaling.bind to \"127.0.0.1\"{off} (see ringvox.toml.example)."
        )
    })
}

/// The program to start when no relay listens.
fn relay_program(config: &Config) -> Result<Option<RelayProgram>, StartError> {
    if !config.signaling.start_relay {
        return Ok(None);
    }
    let binary = match &config.signaling.relay_binary {
        Some(binary) => binary.clone(),
        None => beside_us("ringvox-relay")?,
    };
    let control_socket = config.control_socket.clone();
    Ok(Some(RelayProgram { binary, config: config.file.clone(), control_socket }))
}

fn beside_us(name: &str) -> std::io::Result<PathBuf> {
    Ok(std::env::current_exe()?.with_file_name(name))
}

/// What everybody has of the recorder, what it tells, and the link to it; without the latter two nothing can
/// be recorded.
type Recorder = (RecorderHandle, Option<mpsc::Receiver<RecorderEvent>>, Option<BoxFuture<'static, ()>>);

fn recorder(config: &Config, webhook: Option<Webhook>) -> Result<Recorder, StartError> {
    let Some(directory) = config.recording.directory.clone() else {
        return Ok((RecorderHandle::of_nobody(), None, None));
    };
    let control_socket = recorder_socket(&config.control_socket);
    let program = if config.recording.start_recorder {
        let binary = match &config.recording.recorder_binary {
            Some(binary) => binary.clone(),
            None => beside_us("ringvox-recorder")?,
        };
        let port_socket = port_socket(&config.control_socket);
        let control_socket = control_socket.clone();
        Some(RecorderProgram { binary, config: config.file.clone(), port_socket, control_socket })
    } else {
        None
    };
    let (handle, commands) = RecorderHandle::new();
    let (events, recorder_events) = mpsc::channel(recorder::EVENTS_MAX);
    let settings = RecorderSettings { control_socket, directory, program };
    let mut listeners = vec![events];
    if let Some(webhook) = webhook {
        let (events, told) = mpsc::channel(recorder::EVENTS_MAX);
        tokio::spawn(webhook.run(told));
        listeners.push(events);
    }
    let link = recorder::run(settings, Arc::clone(&handle.recordings), commands, listeners);
    Ok((handle, Some(recorder_events), Some(Box::pin(link))))
}

impl Running {
    /// Ends it: listeners first, then sessions, then the relay if the settings say so.
    pub async fn stop(self) {
        self.end(false).await;
    }

    /// The same for a service manager, which ends the relay by itself when it wants that.
    pub async fn stop_alone(self) {
        self.end(true).await;
    }

    async fn end(self, alone: bool) {
        self.listeners.iter().for_each(JoinHandle::abort);
        let _ = self.inputs.send(Input::Shutdown { alone }).await;
        let _ = self.server.await;
        Self::farewell(&self.web_sockets).await;
    }

    /// Until all clients have been told why, or do not listen.
    async fn farewell(web_sockets: &Places) {
        let _ = tokio::time::timeout(FAREWELL_LIMIT, web_sockets.all_free()).await;
    }

    /// Takes a renewed certificate and a renewed key of tokens now; it happens by itself a little later. No
    /// other setting is read again.
    pub fn renew(&self) {
        self.renewal.now();
    }

    /// Until it ends on its own account.
    pub async fn ended(&mut self) -> Ended {
        let ended = (&mut self.server).await.unwrap_or(Ended::Panicked);
        Self::farewell(&self.web_sockets).await;
        ended
    }

    /// The addresses that a person on this machine or beside it may open, most useful first.
    pub fn urls(&self) -> Vec<String> {
        let mut urls = vec![format!("http://localhost:{}/", self.http.port())];
        let others = if self.https.ip().is_unspecified() {
            let mut all = tls::interface_addresses();
            all.truncate(4);
            all
        } else {
            vec![self.https.ip()]
        };
        let https = |ip: &IpAddr| format!("https://{}/", SocketAddr::new(*ip, self.https.port()));
        urls.extend(others.iter().map(https));
        if others.is_empty() {
            urls.push(format!("https://localhost:{}/", self.https.port()));
        }
        urls
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_is_open_is_told_of_recordings_too() {
        let mut config = Config::default();
        config.signaling.bind = IpAddr::from([0, 0, 0, 0]);
        let names_recordings =
            |config: &Config| open_to_others(config).expect("open").contains("fetch recordings");
        assert!(!names_recordings(&config));
        config.recording.directory = Some("/records".into());
        assert!(names_recordings(&config));
        config.recording.serve = false;
        assert!(!names_recordings(&config));
        config.signaling.bind = IpAddr::from([127, 0, 0, 1]);
        assert_eq!(open_to_others(&config), None);
    }

    #[tokio::test]
    async fn a_server_that_panicked_is_no_clean_end() {
        let (inputs, _) = mpsc::channel(1);
        let server = tokio::spawn(async { panic!("a panic that the test wanted") });
        let nowhere = SocketAddr::from(([127, 0, 0, 1], 0));
        let renewal = Renewal::of(Vec::new());
        let (http, https, listeners, web_sockets) = (nowhere, nowhere, Vec::new(), Places::new(1, 1));
        let mut running =
            Running { http, https, relay: None, inputs, server, listeners, renewal, web_sockets };
        assert_eq!(running.ended().await, Ended::Panicked);
    }
}
