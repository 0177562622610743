//! What a client over HTTP is told of its session's media: server-sent events, as the WHEP draft has them
//! (draft-ietf-wish-whep-02 §4.6.1), or JSON for who asks once. WHIP sessions have the same.
//!
//! - `POST …/{session}/events` with a list such as `["active", "inactive"]`: 201, and its `Location` is what to
//!   `GET`.
//! - `GET …/{session}/events`: `text/event-stream` with `active` or `inactive` now and at each change; it ends
//!   with the session, by an `inactive`. With `Accept: application/json`, how it is now.
//! - `DELETE …/{session}/events`: 200; nothing is kept of a listener but its connection.
//!
//! The data of each event, and the JSON, say it by kind: `{"audio":true,"video":false,"recording":"on"}`,
//! without a kind that the session has not. *Inactive* is a session of which no kind flows.
//!
//! `recording` says whether what flows in the session is recorded, by itself or with its room: `on`, `paused`
//! (it is to be, and nothing of it is written for now) or `off`. An event of that name comes when it changes,
//! and at first if it is not `off`: whoever is recorded is to know, and to show it.

use crate::edge::{App, HttpClient, HttpSession};
use crate::places::Place;
use crate::record::Recorded;
use crate::refusal::Refusal;
use crate::refused::{refuse, refused};
use crate::stream::MediaState;
use axum::body::Bytes;
use axum::extract::{OriginalUri, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use futures_util::stream::{Stream, unfold};
use serde_json::{Value, json};
use std::collections::VecDeque;
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;

const EXTENSION: &str = "urn:ietf:params:whep:ext:core:server-sent-events";
const KINDS_MAX: usize = 16;
/// A comment is sent so often, so that proxies keep the connection, and a dead one is found.
const COMMENT_INTERVAL: Duration = Duration::from_secs(10);

/// Adds to a 201 where its client can listen.
pub(crate) fn offered(mut response: Response) -> Response {
    let location = response.headers().get(header::LOCATION).and_then(|location| location.to_str().ok());
    let link = location.map(|location| {
        format!("<{location}/events>; rel=\"{EXTENSION}\"; events=\"active,inactive,recording\"")
    });
    if let Some(link) = link.and_then(|link| HeaderValue::try_from(link).ok()) {
        response.headers_mut().append(header::LINK, link);
    }
    response
}

pub(crate) async fn leave() -> StatusCode {
    StatusCode::OK
}

/// What a page of another site asks before it subscribes.
pub(crate) async fn preflight() -> Response {
    (StatusCode::NO_CONTENT, [(header::ALLOW, "DELETE, GET, OPTIONS, POST")]).into_response()
}

/// What it names that we do not have is never sent.
pub(crate) async fn subscribe(
    State(app): State<Arc<App>>,
    session: HttpSession,
    OriginalUri(uri): OriginalUri,
    body: Bytes,
) -> Response {
    let named = serde_json::from_slice::<Vec<String>>(&body).map(|named| named.len());
    if !body.is_empty() && !named.is_ok_and(|number| number <= KINDS_MAX) {
        return refuse(StatusCode::BAD_REQUEST, "The body is no list of event names");
    }
    match app.watch(session).await {
        Some(_) => {
            // As a reference without a path, so that whatever stands before it may change on its way here.
            let last = if uri.path().ends_with('/') { "./" } else { "events" };
            (StatusCode::CREATED, [(header::LOCATION, last)]).into_response()
        }
        None => refused(&Refusal::NoSuchSession),
    }
}

pub(crate) async fn follow(
    State(app): State<Arc<App>>,
    session: HttpSession,
    client: HttpClient,
    headers: HeaderMap,
) -> Response {
    let Some(receiver) = app.watch(session).await else {
        return refused(&Refusal::NoSuchSession);
    };
    let accept = headers.get(header::ACCEPT).and_then(|accept| accept.to_str().ok()).unwrap_or_default();
    if accept.contains("application/json") && !accept.contains("text/event-stream") {
        let now = *receiver.borrow();
        let headers = [(header::CONTENT_TYPE, "application/json"), (header::CACHE_CONTROL, "no-store")];
        return (headers, content(now).to_string()).into_response();
    }
    let Ok(place) = app.web_sockets.take(client.address.counted) else {
        return refuse(StatusCode::SERVICE_UNAVAILABLE, "Too many connections");
    };
    let events = Sse::new(events(place, receiver)).keep_alive(KeepAlive::new().interval(COMMENT_INTERVAL));
    // nginx would hold them back until it has a buffer full.
    ([("x-accel-buffering", "no")], events).into_response()
}

/// How it is, and each change; when the server has forgotten the session, that nothing flows, and the end.
fn events(
    place: Place,
    receiver: watch::Receiver<MediaState>,
) -> impl Stream<Item = Result<Event, Infallible>> {
    let told = Told { place, receiver, last: None, waiting: VecDeque::new(), ended: false };
    unfold(told, |mut told| async move {
        while told.waiting.is_empty() && !told.ended {
            told.listen().await;
        }
        let (name, state) = told.waiting.pop_front()?;
        let event = Event::default().event(name).data(content(state).to_string());
        Some((Ok(event), told))
    })
}

/// A listener, and what it has heard.
struct Told {
    /// Held for as long as it listens.
    #[expect(dead_code, reason = "it is given back when this is dropped")]
    place: Place,
    receiver: watch::Receiver<MediaState>,
    last: Option<MediaState>,
    waiting: VecDeque<(&'static str, MediaState)>,
    ended: bool,
}

impl Told {
    /// Until there is something to tell.
    async fn listen(&mut self) {
        self.ended = self.last.is_some() && self.receiver.changed().await.is_err();
        let mut now = *self.receiver.borrow_and_update();
        if self.ended {
            let of = |kind: Option<bool>| kind.map(|_| false);
            now = MediaState { audio: of(now.audio), video: of(now.video), recorded: Recorded::No };
        }
        let recorded_before = self.last.map_or(Recorded::No, |last| last.recorded);
        let flows = |state: MediaState| (state.audio, state.video);
        if self.ended || self.last.map(flows) != Some(flows(now)) {
            let is_active = [now.audio, now.video].contains(&Some(true));
            self.waiting.push_back((if is_active { "active" } else { "inactive" }, now));
        }
        if recorded_before != now.recorded {
            self.waiting.push_back(("recording", now));
        }
        self.last = Some(now);
    }
}

fn content(state: MediaState) -> Value {
    let mut content = json!({});
    for (kind, flows) in [("audio", state.audio), ("video", state.video)] {
        if let Some(flows) = flows {
            content[kind] = flows.into();
        }
    }
    content["recording"] = state.recorded.word().into();
    content
}
