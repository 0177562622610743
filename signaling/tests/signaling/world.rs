//! The hub with a fake clock, a relay model behind it, and clients that say JSON and remember what they
//! heard.

use crate::relay_model::RelayModel;
use recorder_control::{Order, Recording, State, TapLabel, Wanted};
use relay_control::{
    Command, EventBody, FailReason, Inventory, PortChanged, ReplyBody, TransportState, TransportStateChanged,
    UpTrackActivity, UpTrackPoliced,
};
use serde_json::{Value, json};
use signaling::address::Subnet;
use signaling::auth::Verdict;
use signaling::config::Config;
use signaling::hub::{CloseCode, HttpReply, HttpRequest, Hub, MediaState, Output, Waiter};
use signaling::id::{ConnectionId, HttpRequestId, RelayId};
use signaling::message::ClientMessage;
use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

pub(crate) const PUBLISH: &str = include_str!("../../src/sdp/fixtures/chromium-publish.sdp");
pub(crate) const PUBLISH_AUDIO: &str = include_str!("../../src/sdp/fixtures/chromium-publish-audio.sdp");
pub(crate) const PLAY: &str = include_str!("../../src/sdp/fixtures/chromium-play.sdp");

/// When a world begins: 2025-11-28T12:32:42Z.
pub(crate) const EPOCH_MS: u64 = 1_764_333_162_000;

pub(crate) struct World {
    pub(crate) hub: Hub,
    pub(crate) now: Duration,
    pub(crate) relay: RelayModel,
    /// Nothing is answered by the relay while this is set.
    pub(crate) relay_mute: bool,
    /// What it was asked meanwhile.
    unheard: Vec<(u64, Command)>,
    pub(crate) heard: HashMap<ConnectionId, VecDeque<Value>>,
    pub(crate) closed: Vec<(ConnectionId, CloseCode)>,
    /// What those hear who listen to the media of a session over HTTP, by its transport.
    pub(crate) media: HashMap<u64, Option<MediaState>>,
    /// WebSockets that were asked for a sign of life.
    pub(crate) pinged: Vec<ConnectionId>,
    /// They stand behind what is not read yet.
    pub(crate) pings_wait: bool,
    /// What the access hook was told.
    pub(crate) notes: Vec<(&'static str, Value)>,
    pub(crate) http: HashMap<u64, HttpReply>,
    /// What the recorder has told, by id.
    pub(crate) recordings: BTreeMap<String, Recording>,
    /// What the recorder was told.
    pub(crate) orders: Vec<Order>,
    /// Those who wait for the answers to their requests.
    waiters: Vec<Waiter>,
    /// Where connections and requests come from, as it is counted.
    pub(crate) from: Option<Subnet>,
    pub(crate) next: u64,
}

impl World {
    pub(crate) fn new() -> Self {
        Self::with(|_| {})
    }

    pub(crate) fn with(change: impl FnOnce(&mut Config)) -> Self {
        let mut world = Self::without_relay(change, RelayModel::new(1));
        world.relay_up();
        world
    }

    pub(crate) fn without_relay(change: impl FnOnce(&mut Config), relay: RelayModel) -> Self {
        let mut config = Config::default();
        change(&mut config);
        // Deterministic, and different for each world: two signalings on one relay must not choose the same
        // ids.
        let mut seed = relay.asked.len() as u64 * 0x1_0000_0001;
        let random = move || {
            seed = seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
            (seed ^ (seed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9)
        };
        Self {
            hub: {
                let mut hub = Hub::new(Arc::new(config), Box::new(random));
                hub.handle_clock(Duration::ZERO, EPOCH_MS);
                hub
            },
            now: Duration::ZERO,
            relay,
            relay_mute: false,
            unheard: Vec::new(),
            heard: HashMap::new(),
            closed: Vec::new(),
            pinged: Vec::new(),
            pings_wait: false,
            media: HashMap::new(),
            notes: Vec::new(),
            http: HashMap::new(),
            recordings: BTreeMap::new(),
            orders: Vec::new(),
            waiters: Vec::new(),
            from: None,
            next: 0,
        }
    }

    pub(crate) fn relay_up(&mut self) {
        self.relay_up_with(self.relay.inventory());
    }

    pub(crate) fn relay_up_with(&mut self, inventory: Inventory) {
        self.hub.handle_relay_up(self.now, RelayId::FIRST, self.relay.welcome(), inventory);
        self.pump();
    }

    /// The signaling is killed and started again; the relay lives on.
    pub(crate) fn restart(self, change: impl FnOnce(&mut Config)) -> Self {
        let mut world = Self::without_relay(change, self.relay);
        world.next = self.next;
        world.recordings = self.recordings;
        world.relay_up();
        world
    }

    // ---- clients ----

    pub(crate) fn open(&mut self) -> ConnectionId {
        self.next += 1;
        let id = ConnectionId(self.next);
        self.hub.handle_connected(self.now, id, self.from);
        id
    }

    /// A session with this login; what `getUserData` said is thrown away.
    pub(crate) fn connect(&mut self, login: &str) -> ConnectionId {
        self.connect_with(json!({"login": login})).0
    }

    /// A session; also gives the `authToken`.
    pub(crate) fn connect_with(&mut self, custom: Value) -> (ConnectionId, String) {
        let id = self.open();
        self.say(id, "connection", json!({"appKey": "roomApp", "custom": custom}));
        let user = self.only(id, "getUserData");
        (id, user["authToken"].as_str().expect("token").to_owned())
    }

    pub(crate) fn say(&mut self, id: ConnectionId, message: &str, data: Value) {
        self.say_text(id, &json!({"message": message, "data": [data]}).to_string());
    }

    pub(crate) fn say_text(&mut self, id: ConnectionId, text: &str) {
        self.say_authorized(id, text, Ok(None));
    }

    /// What the operator's rules say to it as well.
    pub(crate) fn say_authorized(&mut self, id: ConnectionId, text: &str, verdict: Verdict) {
        let parsed = ClientMessage::parse(text).map(|message| (message, verdict));
        self.hub.handle_message(self.now, id, parsed);
        self.pump();
    }

    pub(crate) fn close(&mut self, id: ConnectionId, clean: bool) {
        self.hub.handle_closed(self.now, id, clean);
        self.pump();
    }

    pub(crate) fn command(&mut self, id: ConnectionId, command: &str, options: Value) {
        let payload = json!({"command": command, "options": options});
        self.say(id, "sendData", json!({"operationId": format!("op-{command}"), "payload": payload}));
    }

    /// Joins and forgets what was heard about it.
    pub(crate) fn join(&mut self, id: ConnectionId, room: &str) {
        self.command(id, "join", json!({"name": room}));
        let heard = self.names(id);
        assert!(heard.ends_with(&["ACCEPTED".to_owned(), "STATE".to_owned()]), "{heard:?}");
    }

    /// The same of a room that is, or may be, recorded.
    pub(crate) fn join_recorded(&mut self, id: ConnectionId, room: &str) {
        self.command(id, "join", json!({"name": room}));
        assert!(self.names(id).contains(&"STATE".to_owned()));
    }

    pub(crate) fn enter_recorded(&mut self, login: &str, room: &str) -> ConnectionId {
        let id = self.connect(login);
        self.join_recorded(id, room);
        id
    }

    /// A new session that is in the room.
    pub(crate) fn enter(&mut self, login: &str, room: &str) -> ConnectionId {
        let id = self.connect(login);
        self.join(id, room);
        id
    }

    pub(crate) fn publish(&mut self, id: ConnectionId, room: &str, session: &str, name: &str) {
        self.say(
            id,
            "publishStream",
            json!({"mediaSessionId": session, "name": name, "sdp": PUBLISH, "custom": {"name": room}}),
        );
    }

    pub(crate) fn play(&mut self, id: ConnectionId, room: &str, session: &str, name: &str) {
        self.say(
            id,
            "playStream",
            json!({"mediaSessionId": session, "name": name, "sdp": PLAY, "custom": {"name": room}}),
        );
    }

    /// A stream on the air, and everybody's ears emptied.
    pub(crate) fn published(&mut self, id: ConnectionId, room: &str, session: &str, name: &str) -> u64 {
        self.publish(id, room, session, name);
        let transport = self.transport_of(session);
        self.media_up(transport);
        self.forget();
        transport
    }

    /// The same for a player.
    pub(crate) fn playing(&mut self, id: ConnectionId, room: &str, session: &str, name: &str) -> u64 {
        self.play(id, room, session, name);
        let transport = self.transport_of(session);
        self.media_up(transport);
        self.forget();
        transport
    }

    // ---- the relay ----

    /// The transport whose label names this session.
    pub(crate) fn transport_of(&self, session: &str) -> u64 {
        // Of a session over HTTP the label has a digest.
        let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, session.as_bytes());
        let digest: String = digest.as_ref()[..24].iter().map(|octet| format!("{octet:02x}")).collect();
        let names = |label: &[u8]| {
            serde_json::from_slice::<Value>(label)
                .is_ok_and(|l| l["session"] == session || l["session"] == digest.as_str())
        };
        let found = self.relay.transports.values().find(|info| names(&info.label));
        found.unwrap_or_else(|| panic!("no transport for {session}")).transport_id
    }

    pub(crate) fn transport_state(&mut self, transport: u64, state: TransportState, reason: FailReason) {
        self.relay.set_state(transport, state);
        let change =
            TransportStateChanged { transport_id: transport, state: state as i32, reason: reason as i32 };
        self.hub.handle_event(self.now, RelayId::FIRST, &EventBody::TransportState(change));
        self.pump();
    }

    /// ICE, DTLS, and the first packets.
    pub(crate) fn media_up(&mut self, transport: u64) {
        self.transport_state(transport, TransportState::IceConnected, FailReason::None);
        self.transport_state(transport, TransportState::Connected, FailReason::None);
        self.first_packets(transport);
    }

    pub(crate) fn first_packets(&mut self, transport: u64) {
        let Some(info) = self.relay.transports.get_mut(&transport) else { return };
        info.up_tracks.iter_mut().for_each(|track| track.active = true);
        for track_id in info.up_tracks.iter().map(|track| track.track_id).collect::<Vec<_>>() {
            let activity = UpTrackActivity { track_id, active: true };
            self.hub.handle_event(self.now, RelayId::FIRST, &EventBody::UpTrackActivity(activity));
        }
        self.pump();
    }

    /// Something authentic of its peer comes all the time from now on, or the last came now.
    pub(crate) fn peer_lives(&mut self, transport: u64, lives: bool) {
        self.relay.peers.insert(transport, if lives { None } else { Some(self.now) });
    }

    /// The relay says that a publisher sends too much.
    pub(crate) fn policed(&mut self, policed: UpTrackPoliced) {
        self.hub.handle_event(self.now, RelayId::FIRST, &EventBody::UpTrackPoliced(policed));
        self.pump();
    }

    /// The same of one kind, by its place among its transport's tracks.
    pub(crate) fn track_flows(&mut self, transport: u64, index: usize, active: bool) {
        let Some(info) = self.relay.transports.get_mut(&transport) else { return };
        let Some(track) = info.up_tracks.get_mut(index) else { return };
        track.active = active;
        let activity = UpTrackActivity { track_id: track.track_id, active };
        self.hub.handle_event(self.now, RelayId::FIRST, &EventBody::UpTrackActivity(activity));
        self.pump();
    }

    /// Nothing of it came for a while.
    pub(crate) fn media_stops(&mut self, transport: u64) {
        let Some(info) = self.relay.transports.get_mut(&transport) else { return };
        info.up_tracks.iter_mut().for_each(|track| track.active = false);
        for track_id in info.up_tracks.iter().map(|track| track.track_id).collect::<Vec<_>>() {
            let activity = UpTrackActivity { track_id, active: false };
            self.hub.handle_event(self.now, RelayId::FIRST, &EventBody::UpTrackActivity(activity));
        }
        self.pump();
    }

    // ---- the recorder ----

    /// It comes to the relay's port, or is gone with all its taps.
    pub(crate) fn recorder(&mut self, connected: bool) {
        self.relay.recorder = connected;
        if !connected {
            self.relay.taps.clear();
        }
        let port = recorder_control::PORT_NAME.to_owned();
        let changed = EventBody::Port(PortChanged { port, connected });
        self.hub.handle_event(self.now, RelayId::FIRST, &changed);
        self.pump();
    }

    /// The label of each tapped track of a transport.
    pub(crate) fn taps(&self, transport: u64) -> Vec<TapLabel> {
        let tracks = self.relay.transports.get(&transport).into_iter().flat_map(|info| &info.up_tracks);
        let labels = tracks.filter_map(|track| self.relay.taps.get(&track.track_id));
        labels.map(|label| TapLabel::read(label).expect("a label")).collect()
    }

    /// The recorder tells how a recording is.
    pub(crate) fn recording_is(&mut self, wanted: &Wanted, room: &str, state: State) {
        let recording = json!({"id": wanted.id, "kind": wanted.kind, "state": state, "room": room,
            "file": wanted.file, "startedAtMs": wanted.started_at_ms});
        let recording: Recording = serde_json::from_value(recording).expect("a recording");
        self.hub.handle_recording(self.now, &recording);
        self.recordings.insert(recording.id.clone(), recording);
        self.pump();
    }

    // ---- HTTP ----

    /// The reply, if it is there already.
    pub(crate) fn http(&mut self, request: HttpRequest) -> Option<&HttpReply> {
        self.next += 1;
        let http_request = self.next;
        let waiter = Waiter::default();
        let from = (self.from, waiter.awaited());
        self.waiters.push(waiter);
        self.hub.handle_http(self.now, HttpRequestId(http_request), from, request);
        self.pump();
        self.http.get(&http_request)
    }

    /// All who wait for an answer to their requests hang up.
    pub(crate) fn hang_up(&mut self) {
        self.waiters.clear();
    }

    // ---- time ----

    /// Lets time pass, timer by timer.
    pub(crate) fn wait(&mut self, time: Duration) {
        let end = self.now + time;
        while let Some(at) = self.hub.poll_timeout().filter(|at| *at <= end) {
            self.now = self.now.max(at);
            self.hub.handle_timeout(self.now);
            self.pump();
        }
        self.now = end;
    }

    pub(crate) fn pump(&mut self) {
        while let Some(output) = self.hub.poll_output() {
            match output {
                Output::Send { to, text } | Output::SendState { to, text } => {
                    let message: Value = serde_json::from_str(&text).expect("JSON");
                    assert!(message["data"].is_array(), "{text}");
                    self.heard.entry(to).or_default().push_back(message);
                }
                Output::Recorder(order) => self.orders.push(order),
                Output::TellRecordings => {
                    let hub = &mut self.hub;
                    self.recordings.values().for_each(|recording| hub.handle_recording(self.now, recording));
                }
                Output::Media { stream, state } => {
                    self.media.insert(stream.0, state);
                }
                Output::Ping { to } => {
                    self.pinged.push(to);
                    if !self.pings_wait {
                        self.hub.handle_pinged(self.now, to);
                    }
                }
                Output::Close { to, code, .. } => self.closed.push((to, code)),
                Output::Note { method, object, .. } => self.notes.push((method, Value::Object(object))),
                Output::Http { http_request, reply } => {
                    self.http.insert(http_request.0, reply);
                }
                Output::Relay { request_id, command, .. } => {
                    if self.relay_mute {
                        self.unheard.push((request_id, command));
                    } else {
                        self.ask_relay(request_id, command);
                    }
                }
            }
        }
    }

    fn ask_relay(&mut self, request_id: u64, command: Command) {
        self.relay.now = self.now;
        let reply: ReplyBody = self.relay.handle(command);
        self.hub.handle_reply(self.now, request_id, Ok(reply));
    }

    /// The relay does what it was asked while it was mute.
    pub(crate) fn answer_unheard(&mut self) {
        for (request_id, command) in std::mem::take(&mut self.unheard) {
            self.ask_relay(request_id, command);
        }
        self.pump();
    }

    /// The connection broke before the relay had done it.
    pub(crate) fn refuse_unheard(&mut self) {
        for (request_id, _) in std::mem::take(&mut self.unheard) {
            self.hub.handle_reply(self.now, request_id, Err(()));
        }
        self.pump();
    }

    // ---- what was heard ----

    pub(crate) fn forget(&mut self) {
        self.heard.clear();
    }

    /// Everything since the last look, pings aside.
    pub(crate) fn listen(&mut self, id: ConnectionId) -> Vec<Value> {
        let heard = self.heard.remove(&id).unwrap_or_default();
        heard.into_iter().filter(|message| message["message"] != "ping").collect()
    }

    /// The content of the only message, which has this name.
    pub(crate) fn only(&mut self, id: ConnectionId, name: &str) -> Value {
        let heard = self.listen(id);
        match heard.as_slice() {
            [message] if message["message"] == name => message["data"][0].clone(),
            other => panic!("expected only {name}, heard {other:#?}"),
        }
    }

    /// In short: statuses and event names, such as `ACCEPTED`, `JOINED bob`, `PUBLISHING s1`.
    pub(crate) fn names(&mut self, id: ConnectionId) -> Vec<String> {
        self.listen(id).iter().map(short).collect()
    }
}

/// A message in a word or two.
pub(crate) fn short(message: &Value) -> String {
    let data = &message["data"][0];
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    match message["message"].as_str().expect("name") {
        "DataStatusEvent" if data["status"] == "FAILED" => format!("FAILED {}", text(&data["info"])),
        "DataStatusEvent" => text(&data["status"]),
        "OnDataEvent" => {
            let (name, info) = (text(&data["payload"]["name"]), &data["payload"]["info"]);
            match info {
                Value::String(login) => format!("{name} {login}"),
                Value::Object(recording) if name == "RECORDING" => recorded(recording),
                Value::Object(stream) if stream.contains_key("login") => {
                    format!("{name} {}/{}", text(&stream["login"]), text(&stream["name"]))
                }
                Value::Object(words) => format!("{name} {}: {}", text(&words["from"]), words["text"]),
                _ => name,
            }
        }
        "setRemoteSDP" => format!("SDP {}", text(data)),
        "notifyStreamStatusEvent" => {
            let info = data["info"].as_str().map(|info| format!(" ({info})")).unwrap_or_default();
            format!("{} {}{info}", text(&data["status"]), text(&data["mediaSessionId"]))
        }
        "notifyStreamEvent" => format!("{} {}", text(&data["type"]), text(&data["mediaSessionId"])),
        other => other.to_owned(),
    }
}

/// What `RECORDING` says, such as `RECORDING room a/n1 paused`.
fn recorded(recording: &serde_json::Map<String, Value>) -> String {
    let streams = recording["streams"].as_array().expect("a list");
    let streams = streams.iter().map(|s| format!("{}/{}", s["login"], s["name"]).replace('"', ""));
    let whole = (recording["room"] == true).then(|| "room".to_owned());
    let paused = (recording["paused"] == true).then(|| "paused".to_owned());
    let words = std::iter::once("RECORDING".to_owned()).chain(whole).chain(streams).chain(paused);
    words.collect::<Vec<_>>().join(" ")
}
