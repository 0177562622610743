//! The server: one task owns the hub, feeds it what the edges bring, and carries out what it wants.
//!
//! Inputs come through one bounded queue, so a busy hub slows the readers of sockets down and nothing else.
//! Outputs never wait: a client that does not read is cut off ([`crate::ws`]), a relay that does not read
//! answers nothing and the streams concerned end by their timers.
//!
//! A panic over what one client said ends that client. Any other ends the server, and one such that comes
//! again and again as well: whoever supervises the process starts it again, and it takes over what the relay
//! runs.

use crate::auth::AccessControl;
use crate::config::Config;
use crate::edge::{Health, Input};
use crate::hub::{Awaited, CloseCode, HttpReply, HttpRequest, Hub, MediaState, Output};
use crate::id::{ConnectionId, HttpRequestId, RelayId, StreamKey};
use crate::recorder::{ORDERS_MAX, RecorderCommand, RecorderEvent, RecorderHandle};
use crate::refusal::Refusal;
use crate::relay::{LinkCommand, LinkEvent};
use crate::send_queue::SendQueue;
use crate::timer::Time;
use recorder_control::Order;
use std::collections::{HashMap, HashSet, VecDeque};
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::Arc;
use std::time::{Duration, SystemTime};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::Instant;

/// Inputs that wait for the hub; the readers of sockets wait behind them.
pub const INPUTS_MAX: usize = 4_096;
/// Commands that wait for the link.
pub const COMMANDS_MAX: usize = 65_536;
/// Panics over what clients said within a minute; after one more the hub is not trusted any longer.
const PANICS_MAX: u32 = 8;
/// Events that wait for the hub.
pub const EVENTS_MAX: usize = 4_096;

/// Relay events handled in a row while clients wait: a relay with much to report must not delay an order to
/// shut down.
const EVENTS_IN_A_ROW_MAX: u32 = 64;
/// How often it is looked whether those that read slowly have caught up, while there are any.
const RELIEVE_PAUSE: Duration = Duration::from_millis(20);
/// Time for the relay to end, beyond what the link gives it.
const END_LIMIT: Duration = Duration::from_secs(10);

/// Why the server ended.
#[derive(Debug, PartialEq, Eq)]
pub enum Ended {
    /// It was asked to.
    Shutdown,
    /// A newer signaling commands the relay now.
    Superseded,
    /// A fault of its own: start it again.
    Panicked,
}

/// What the relay did first.
#[derive(Debug, PartialEq, Eq)]
pub enum RelayStart {
    Up {
        /// By this one or one before it.
        started_by_signaling: bool,
    },
    /// It was started and ended at once.
    Failed(String),
}

/// The task that owns the hub.
pub struct Server {
    hub: Hub,
    access: Arc<AccessControl>,
    started: Instant,
    config: Arc<Config>,
    inputs: mpsc::Receiver<Input>,
    events: mpsc::Receiver<LinkEvent>,
    commands: mpsc::Sender<LinkCommand>,
    send_queues: HashMap<ConnectionId, SendQueue>,
    /// Connections that the hub was told to spare.
    slow: HashSet<ConnectionId>,
    /// When to look which of them read again; `None`: there are none.
    relieve_at: Option<Instant>,
    http_requests: HashMap<HttpRequestId, oneshot::Sender<HttpReply>>,
    last_http_request: u64,
    /// Who listens to the media of sessions over HTTP.
    watchers: HashMap<StreamKey, watch::Sender<MediaState>>,
    relay_start: Option<oneshot::Sender<RelayStart>>,
    recorder: RecorderHandle,
    /// Orders for it that its link has no room for now.
    orders: VecDeque<Order>,
    /// `None`: nothing is recorded.
    recorder_events: Option<mpsc::Receiver<RecorderEvent>>,
    /// Who started the relay; before it is known, what the settings say.
    relay_is_ours: bool,
    /// Panics, and since when: a minute at most.
    panics: (u32, Time),
}

/// The queues between the server and its edges.
pub struct Wiring {
    /// From the sockets.
    pub inputs: mpsc::Receiver<Input>,
    /// From the link.
    pub events: mpsc::Receiver<LinkEvent>,
    /// To the link.
    pub commands: mpsc::Sender<LinkCommand>,
    /// Tells the access hook.
    pub access: Arc<AccessControl>,
    /// Told once how the relay came up.
    pub relay_start: oneshot::Sender<RelayStart>,
    pub recorder: RecorderHandle,
    /// From the recorder; `None`: nothing is recorded.
    pub recorder_events: Option<mpsc::Receiver<RecorderEvent>>,
}

impl Server {
    /// With an empty hub.
    pub fn new(config: Arc<Config>, wiring: Wiring) -> Self {
        let mut hub = Hub::new(Arc::clone(&config), Box::new(random));
        let unix = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        hub.handle_clock(Time::ZERO, u64::try_from(unix.as_millis()).unwrap_or(u64::MAX));
        Self::with_hub(hub, config, wiring)
    }

    fn with_hub(hub: Hub, config: Arc<Config>, wiring: Wiring) -> Self {
        Self {
            hub,
            access: wiring.access,
            relay_is_ours: config.signaling.start_relay,
            started: Instant::now(),
            config,
            inputs: wiring.inputs,
            events: wiring.events,
            commands: wiring.commands,
            send_queues: HashMap::new(),
            slow: HashSet::new(),
            relieve_at: None,
            http_requests: HashMap::new(),
            last_http_request: 0,
            watchers: HashMap::new(),
            relay_start: Some(wiring.relay_start),
            recorder: wiring.recorder,
            orders: VecDeque::new(),
            recorder_events: wiring.recorder_events,
            panics: (0, Time::ZERO),
        }
    }

    /// Runs until it is asked to end, or must.
    pub async fn run(mut self) -> Ended {
        let mut in_a_row = 0;
        loop {
            let wake = self.hub.poll_timeout().map_or_else(far_away, |at| self.started + at);
            let relieve_at = self.relieve_at.unwrap_or_else(far_away);
            let edge_waits = in_a_row >= EVENTS_IN_A_ROW_MAX && !self.inputs.is_empty();
            in_a_row += 1;
            let ended = tokio::select! {
                // The relay first: what it tells decides how the rest is answered.
                biased;
                event = self.events.recv(), if !edge_waits => match event {
                    Some(event) => self.handle_event(event),
                    None => Some(Ended::Shutdown),
                },
                Some(event) = next(&mut self.recorder_events), if !edge_waits => {
                    self.handle_recorder_event(&event);
                    None
                }
                Ok(permit) = self.recorder.commands.clone().reserve_owned(), if !self.orders.is_empty() => {
                    if let Some(order) = self.orders.pop_front() {
                        permit.send(RecorderCommand::Order(order));
                    }
                    None
                }
                () = tokio::time::sleep_until(wake) => None,
                () = tokio::time::sleep_until(relieve_at) => {
                    self.relieve();
                    None
                }
                input = self.inputs.recv() => match input {
                    Some(Input::Shutdown { alone: true }) => {
                        self.shut_down(true).await;
                        Some(Ended::Shutdown)
                    }
                    Some(Input::Shutdown { alone: false }) | None => {
                        self.shut_down(false).await;
                        Some(Ended::Shutdown)
                    }
                    Some(input) => {
                        in_a_row = 0;
                        self.handle_input(input);
                        None
                    }
                },
            };
            let now = self.now();
            self.hub.handle_timeout(now);
            self.carry_out();
            if let Some(ended) = ended {
                return ended;
            }
        }
    }

    fn now(&self) -> Time {
        self.started.elapsed()
    }

    fn handle_input(&mut self, input: Input) {
        let now = self.now();
        match input {
            Input::Connected(id, send_queue, from) => {
                self.send_queues.insert(id, send_queue);
                self.obey(id, |hub| hub.handle_connected(now, id, from));
            }
            Input::Message(id, message) => self.obey(id, |hub| hub.handle_message(now, id, message)),
            Input::Heard(id) => self.hub.handle_heard(now, id),
            Input::Pinged(id) => self.hub.handle_pinged(now, id),
            Input::Listens(id, listens) => self.hub.handle_listens(now, id, listens),
            Input::Closed(id, clean) => {
                self.send_queues.remove(&id);
                self.hub.handle_closed(now, id, clean);
            }
            Input::Http((from, awaited), request, reply) => {
                self.last_http_request += 1;
                let http_request = HttpRequestId(self.last_http_request);
                self.http_requests.insert(http_request, reply);
                if !self.holds(|hub| hub.handle_http(now, http_request, (from, awaited), request)) {
                    let answer = HttpReply::Refused(Refusal::ServerError);
                    self.http_requests.remove(&http_request).map(|waiting| waiting.send(answer));
                }
            }
            Input::Watch(secret, published, reply) => {
                let _ = reply.send(self.watch(&secret, published));
            }
            Input::Health(reply) => {
                let _ = reply.send(Health { relay: self.hub.relays_are_up(), census: self.hub.census() });
            }
            Input::Shutdown { .. } => {}
        }
    }

    /// Lets the hub handle what a client said; if it panics, the client is gone.
    fn obey(&mut self, id: ConnectionId, handle: impl FnOnce(&mut Hub)) {
        if self.holds(handle) {
            return;
        }
        tracing::error!(connection = id.0, "closed: what it said led to a panic");
        if let Some(send_queue) = self.send_queues.remove(&id) {
            send_queue.close(1011, "Internal error");
        }
        let now = self.now();
        self.hub.handle_closed(now, id, false);
    }

    /// Whether the hub handled it without a panic.
    fn holds(&mut self, handle: impl FnOnce(&mut Hub)) -> bool {
        let hub = &mut self.hub;
        let Err(panic) = catch_unwind(AssertUnwindSafe(|| handle(hub))) else { return true };
        let now = self.now();
        if now.saturating_sub(self.panics.1) >= Time::from_secs(60) {
            self.panics = (0, now);
        }
        self.panics.0 += 1;
        if self.panics.0 > PANICS_MAX {
            resume_unwind(panic);
        }
        false
    }

    fn handle_event(&mut self, event: LinkEvent) -> Option<Ended> {
        let now = self.now();
        match event {
            LinkEvent::Up(welcome, inventory) => {
                tracing::info!(shards = welcome.shards, io = welcome.io_backend, "connected to the relay");
                let started_by_signaling = welcome.started_by_signaling;
                self.relay_is_ours = started_by_signaling;
                self.hub.handle_relay_up(now, RelayId::FIRST, welcome, inventory);
                self.relay_started(RelayStart::Up { started_by_signaling });
            }
            LinkEvent::Down => {
                tracing::warn!("the connection to the relay broke");
                self.hub.handle_relay_down(now, RelayId::FIRST);
            }
            LinkEvent::Reply(id, reply) => self.hub.handle_reply(now, id, reply),
            LinkEvent::Event(event) => self.hub.handle_event(now, RelayId::FIRST, &event),
            LinkEvent::NotStarted(why) => self.relay_started(RelayStart::Failed(why)),
            LinkEvent::Superseded => {
                tracing::error!(
                    "a newer signaling commands this relay now, so this one ends. Calls go on, and clients \
                     have to connect to the newer one. If both are meant to run, give each a relay of its \
                     own (relay.control_socket)"
                );
                self.hub.handle_shutdown(CloseCode::GoingAway);
                return Some(Ended::Superseded);
            }
        }
        None
    }

    fn handle_recorder_event(&mut self, event: &RecorderEvent) {
        let RecorderEvent::Recording(recording) = event else { return };
        if let Some(failure) = &recording.failure {
            tracing::warn!(id = recording.id, state = ?recording.state, "recording: {}", failure.info);
        }
        self.hub.handle_recording(self.now(), recording);
    }

    fn relay_started(&mut self, how: RelayStart) {
        if let Some(told) = self.relay_start.take() {
            let _ = told.send(how);
        }
    }

    fn carry_out(&mut self) {
        while let Some(output) = self.hub.poll_output() {
            match output {
                Output::Send { to, text } => self.send(to, text),
                Output::SendState { to, text } => self.send_state(to, text),
                Output::Ping { to } => self.send_queues.get(&to).into_iter().for_each(SendQueue::ping),
                Output::Close { to, code, reason } => {
                    if let Some(send_queue) = self.send_queues.remove(&to) {
                        send_queue.close(code.frame().0, reason);
                    }
                }
                Output::Note { about, method, object } => self.access.note(about, method, object),
                // The link is to the only relay that there is.
                Output::Relay { relay: _, request_id, command } => {
                    if self.commands.try_send(LinkCommand::Ask(request_id, command)).is_err() {
                        let now = self.now();
                        self.hub.handle_reply(now, request_id, Err(()));
                    }
                }
                Output::Recorder(order) => self.order(order),
                Output::TellRecordings => {
                    let all = self.recorder.recordings.read().all();
                    let now = self.now();
                    all.iter().for_each(|recording| self.hub.handle_recording(now, recording));
                }
                Output::Media { stream, state } => self.tell_watchers(stream, state),
                Output::Http { http_request, reply } => {
                    if let Some(waiting) = self.http_requests.remove(&http_request) {
                        self.reply(waiting, reply);
                    }
                }
            }
        }
    }

    /// In their order; those that the link has no room for wait here.
    fn order(&mut self, order: Order) {
        if self.recorder_events.is_none() {
            return;
        }
        if self.orders.len() >= ORDERS_MAX {
            tracing::error!("the recorder does not take orders; {:?} is given up", self.orders.pop_front());
        }
        self.orders.push_back(order);
        while let Ok(permit) = self.recorder.commands.try_reserve() {
            let Some(order) = self.orders.pop_front() else { break };
            permit.send(RecorderCommand::Order(order));
        }
    }

    /// Whoever listens to a session's media hears how it is, or that there is no more to hear.
    fn tell_watchers(&mut self, stream: StreamKey, state: Option<MediaState>) {
        let watchers = self.watchers.get(&stream).filter(|watchers| watchers.receiver_count() > 0);
        match state.zip(watchers) {
            Some((state, watchers)) => {
                watchers.send_if_modified(|told| std::mem::replace(told, state) != state);
            }
            None => {
                self.watchers.remove(&stream);
            }
        }
    }

    fn watch(&mut self, secret: &str, published: bool) -> Option<watch::Receiver<MediaState>> {
        let (stream, state) = self.hub.media_of(secret, published)?;
        Some(self.watchers.entry(stream).or_insert_with(|| watch::channel(state).0).subscribe())
    }

    /// A WHIP or WHEP session whose client has gone before it got the answer is deleted: nobody else knows
    /// its URL.
    fn reply(&mut self, waiting: oneshot::Sender<HttpReply>, reply: HttpReply) {
        if let Err(HttpReply::Created { secret, .. }) = waiting.send(reply) {
            let now = self.now();
            self.last_http_request += 1;
            for published in [true, false] {
                let secret = secret.clone();
                self.hub.handle_http(
                    now,
                    HttpRequestId(self.last_http_request),
                    (None, Awaited::by_nobody()),
                    HttpRequest::Delete { secret, published },
                );
            }
        }
    }

    /// Tells the hub of connections whose queue is short again.
    fn relieve(&mut self) {
        let limit = self.pressure_limit();
        let (send_queues, hub) = (&self.send_queues, &mut self.hub);
        self.slow.retain(|id| {
            let slow = send_queues.get(id).is_some_and(|send_queue| send_queue.unread() > limit);
            if !slow {
                hub.handle_pressure(*id, false);
            }
            slow
        });
        self.relieve_at = (!self.slow.is_empty()).then(|| Instant::now() + RELIEVE_PAUSE);
    }

    fn pressure_limit(&self) -> usize {
        self.config.signaling.send_queue_bytes_max / 2
    }

    fn send_state(&mut self, to: ConnectionId, text: String) {
        let Some(send_queue) = self.send_queues.get(&to) else { return };
        send_queue.push_state(text);
        self.note_pressure(to);
    }

    fn note_pressure(&mut self, to: ConnectionId) {
        let unread = self.send_queues.get(&to).map_or(0, SendQueue::unread);
        if unread > self.pressure_limit() && self.slow.insert(to) {
            self.relieve_at.get_or_insert_with(|| Instant::now() + RELIEVE_PAUSE);
            self.hub.handle_pressure(to, true);
        }
    }

    fn send(&mut self, to: ConnectionId, text: String) {
        let Some(send_queue) = self.send_queues.get(&to) else { return };
        let pushed = send_queue.push(text, self.config.send_queue_bytes_max());
        self.note_pressure(to);
        if pushed.is_err() {
            tracing::info!(connection = to.0, "cut off: it does not read");
            if let Some(send_queue) = self.send_queues.remove(&to) {
                send_queue.close(1008, "Does not read");
            }
            let now = self.now();
            self.hub.handle_closed(now, to, false);
        }
    }

    /// Ends the relay. What it still says is passed over: the link would wait for room for that and not hear
    /// the order.
    async fn end_relay(&mut self) {
        let commands = self.commands.clone();
        let order = async move {
            let (done, ended) = oneshot::channel();
            if commands.send(LinkCommand::Shutdown(done)).await.is_ok() {
                // The link drops the sender when the relay is gone.
                let _ = ended.await;
            }
        };
        tokio::pin!(order);
        loop {
            tokio::select! {
                () = &mut order => return,
                event = self.events.recv() => if event.is_none() { return },
            }
        }
    }

    /// Behind the relay, so that it has all that was published. It takes what it tells no more.
    async fn end_recorder(&mut self) {
        self.recorder_events = None;
        let (done, ended) = oneshot::channel();
        if self.recorder.commands.send(RecorderCommand::End(done)).await.is_ok() {
            let _ = ended.await;
        }
    }

    async fn shut_down(&mut self, alone: bool) {
        let ends_relay = self.config.signaling.stop_relay.ends(self.relay_is_ours, alone);
        let close_code = if ends_relay { CloseCode::GoingAway } else { CloseCode::Restarting };
        if !ends_relay {
            tracing::info!("the relay goes on with all calls; the next signaling takes them over");
        }
        self.hub.handle_shutdown(close_code);
        self.carry_out();
        for (_, waiting) in self.http_requests.drain() {
            let _ = waiting.send(HttpReply::Refused(Refusal::ShuttingDown));
        }
        if ends_relay && tokio::time::timeout(END_LIMIT, self.end_relay()).await.is_err() {
            tracing::warn!("the relay does not end");
        }
        let ends_recorder = ends_relay && self.config.recording.start_recorder;
        if ends_recorder && tokio::time::timeout(END_LIMIT, self.end_recorder()).await.is_err() {
            tracing::warn!("the recorder does not end");
        }
        let (code, reason) = close_code.frame();
        self.send_queues.drain().for_each(|(_, send_queue)| send_queue.close(code, reason));
    }
}

/// The next event, if there are any.
async fn next(events: &mut Option<mpsc::Receiver<RecorderEvent>>) -> Option<RecorderEvent> {
    let event = match events {
        Some(events) => events.recv().await,
        None => std::future::pending().await,
    };
    if event.is_none() {
        *events = None;
    }
    event
}

fn far_away() -> Instant {
    Instant::now() + Time::from_secs(3600)
}

/// From the kernel. Without it there are no secrets, so there is no going on.
fn random() -> u64 {
    let mut bytes = [0; 8];
    getrandom::fill(&mut bytes).expect("the kernel's random numbers");
    u64::from_ne_bytes(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::ClientMessage;
    use serde_json::json;
    use std::sync::atomic::{AtomicU32, Ordering};

    /// A server whose hub panics when it makes up something secret, so often.
    fn server(panics: &Arc<AtomicU32>) -> (Server, mpsc::Sender<Input>, mpsc::Sender<LinkEvent>) {
        let config = Arc::new(Config::default());
        let access = Arc::new(AccessControl::new(&config.auth, "test".to_owned()).expect("open to all"));
        let (inputs, hub_inputs) = mpsc::channel(INPUTS_MAX);
        let (commands, _) = mpsc::channel(COMMANDS_MAX);
        let (link_events, events) = mpsc::channel(EVENTS_MAX);
        let (relay_start, _) = oneshot::channel();
        let left = Arc::clone(panics);
        let random = move || {
            let wanted = left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1));
            assert!(wanted.is_err(), "a panic that the test wanted");
            random()
        };
        let hub = Hub::new(Arc::clone(&config), Box::new(random));
        let (recorder, recorder_events) = (RecorderHandle::of_nobody(), None);
        let wiring =
            Wiring { inputs: hub_inputs, events, commands, access, relay_start, recorder, recorder_events };
        (Server::with_hub(hub, config, wiring), inputs, link_events)
    }

    fn login(id: ConnectionId) -> Input {
        let text = json!({ "message": "connection", "data": [{ "custom": { "login": "anna" } }] });
        Input::Message(id, ClientMessage::parse(&text.to_string()).map(|message| (message, Ok(None))))
    }

    async fn census(inputs: &mpsc::Sender<Input>) -> Option<[usize; 4]> {
        let (reply, answer) = oneshot::channel();
        inputs.send(Input::Health(reply)).await.ok()?;
        answer.await.ok().map(|health| health.census)
    }

    #[tokio::test]
    async fn a_panic_over_a_message_costs_that_client_alone() {
        let panics = Arc::new(AtomicU32::new(0));
        let (server, inputs, _events) = server(&panics);
        let running = tokio::spawn(server.run());
        for id in [1, 2] {
            let id = ConnectionId(id);
            inputs.send(Input::Connected(id, SendQueue::for_test(), None)).await.expect("it runs");
        }
        panics.store(1, Ordering::Relaxed);
        inputs.send(login(ConnectionId(1))).await.expect("it runs");
        inputs.send(login(ConnectionId(2))).await.expect("it runs");
        assert_eq!(census(&inputs).await.map(|census| census[0]), Some(1), "the second is there");
        assert_eq!(panics.load(Ordering::Relaxed), 0, "the first made it panic");
        inputs.send(Input::Shutdown { alone: false }).await.expect("it runs");
        assert_eq!(running.await.expect("no panic"), Ended::Shutdown);
    }

    #[tokio::test]
    async fn a_hub_that_panics_again_and_again_ends_the_server() {
        let panics = Arc::new(AtomicU32::new(PANICS_MAX + 1));
        let (server, inputs, _events) = server(&panics);
        let running = tokio::spawn(server.run());
        for id in 0..=u64::from(PANICS_MAX) {
            let id = ConnectionId(id);
            inputs.send(Input::Connected(id, SendQueue::for_test(), None)).await.expect("it runs");
            inputs.send(login(id)).await.expect("it runs");
        }
        assert!(running.await.expect_err("the last one is not caught").is_panic());
    }
}
