//! `/api/v1/recordings`.

use super::error::ApiError;
use super::operator::Operator;
use crate::edge::{App, HttpClient};
use crate::hub::{HttpReply, HttpRequest};
use crate::json;
use crate::names::{Name, NameOf};
use crate::operators::now_s;
use crate::recorder::{Changes, Filter, Place, RecorderCommand};
use crate::records;
use crate::refusal::Refusal;
use axum::body::Bytes;
use axum::extract::rejection::{BytesRejection, PathRejection, QueryRejection};
use axum::extract::{FromRequestParts, Path, Query, Request, State};
use axum::http::request::Parts;
use axum::http::{HeaderMap, Method, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use recorder_control::{Order, Recording, State as RecordingState};
use serde::Deserialize;
use serde_json::{Map, Value, json};
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::{Instant, timeout_at};

/// Recordings of a page, unless it is said how many.
const LIMIT: usize = 100;
/// Most of a page.
const LIMIT_MAX: usize = 1_000;
/// How long an answer waits for the recorder to have done what it was told.
const DELETE_LIMIT: Duration = Duration::from_secs(5);
/// How long an answer may wait for changes: less than the time that a request may take.
const WAIT_MAX_S: u64 = 10;

pub(super) fn router() -> Router<Arc<App>> {
    Router::new()
        .route("/", get(list).post(start).options(preflight))
        .route("/changes", get(changes).options(preflight))
        .route("/{id}", get(one).delete(delete).options(preflight))
        .route("/{id}/stop", post(stop).options(preflight))
        .route("/{id}/file", get(file).options(preflight))
}

async fn preflight() -> StatusCode {
    StatusCode::NO_CONTENT
}

#[derive(Deserialize)]
struct Wanted {
    room: Option<String>,
    state: Option<String>,
    after: Option<String>,
    limit: Option<String>,
    from: Option<String>,
    until: Option<String>,
}

/// What was given, if it is not empty.
fn given(text: Option<String>) -> Option<String> {
    text.filter(|text| !text.is_empty())
}

/// A number of the query; `words` says what it is to be.
fn number<T: FromStr>(text: Option<String>, words: &'static str) -> Result<Option<T>, ApiError> {
    given(text).map(|text| text.parse().map_err(|_| ApiError::bad(words))).transpose()
}

fn twice(_: QueryRejection) -> ApiError {
    ApiError::bad("A key of the query stands there twice")
}

async fn list(
    State(app): State<Arc<App>>,
    _: Operator,
    query: Result<Query<Wanted>, QueryRejection>,
) -> Result<Response, ApiError> {
    let Query(wanted) = query.map_err(twice)?;
    let state = given(wanted.state)
        .map(|state| serde_json::from_value(state.into()))
        .transpose()
        .map_err(|_| ApiError::bad("state is recording, paused, finishing, ready or failed"))?;
    let after = given(wanted.after).map(|after| place(&after).ok_or(())).transpose();
    let after = after.map_err(|()| ApiError::bad("after is the next of a page before"))?;
    let limit = limit(wanted.limit)?;
    let moment = |text| number(text, "from and until are milliseconds since 1970");
    let (from_ms, until_ms) = (moment(wanted.from)?, moment(wanted.until)?);
    let filter = Filter { room: given(wanted.room), state, from_ms, until_ms };
    let recordings = &app.recorder.recordings;
    let (page, seen, is_up) = {
        let catalogue = recordings.read();
        (catalogue.page(&filter, after.as_ref(), limit), catalogue.latest(), catalogue.is_up())
    };
    let shown: Vec<Value> = page.recordings.iter().map(|recording| shown(&app, recording)).collect();
    let next = page.next.map(|(at, id)| format!("{at}-{id}"));
    let mark = recordings.mark(seen);
    let content = json!({"recordings": shown, "next": next, "recorder": is_up, "changes": mark});
    Ok(answer(StatusCode::OK, &content))
}

fn limit(text: Option<String>) -> Result<usize, ApiError> {
    let words = "limit is a number from 1 to 1000";
    let limit = number(text, words)?.unwrap_or(LIMIT);
    if (1..=LIMIT_MAX).contains(&limit) { Ok(limit) } else { Err(ApiError::bad(words)) }
}

#[derive(Deserialize)]
struct WantedChanges {
    since: Option<String>,
    room: Option<String>,
    limit: Option<String>,
    wait: Option<String>,
}

/// What has changed since an answer before. If nothing has, it waits for that for as long as it is asked to.
async fn changes(
    State(app): State<Arc<App>>,
    _: Operator,
    query: Result<Query<WantedChanges>, QueryRejection>,
) -> Result<Response, ApiError> {
    let Query(wanted) = query.map_err(twice)?;
    let limit = limit(wanted.limit)?;
    let words = "wait is a number of seconds from 0 to 10";
    let wait = number(wanted.wait, words)?.unwrap_or(0);
    if wait > WAIT_MAX_S {
        return Err(ApiError::bad(words));
    }
    let until = Instant::now() + Duration::from_secs(wait);
    let recordings = &app.recorder.recordings;
    let since =
        given(wanted.since).ok_or_else(|| ApiError::bad("since is the changes of an answer before"))?;
    let room = given(wanted.room);
    let mut changed = recordings.changes();
    loop {
        changed.mark_unchanged();
        let (found, is_up) = {
            let catalogue = recordings.read();
            let seen = recordings.seen(&since).map(|seen| (seen, catalogue.latest()));
            let found = seen.and_then(|(seen, latest)| {
                let found = catalogue.changes(seen, room.as_deref(), limit)?;
                Some((found, seen != latest))
            });
            (found, catalogue.is_up())
        };
        let (Changes { recordings: some, gone, seen }, is_news) = found.ok_or_else(ApiError::forgotten)?;
        if is_news || timeout_at(until, changed.changed()).await.is_err() {
            let shown: Vec<Value> = some.iter().map(|recording| shown(&app, recording)).collect();
            let mark = recordings.mark(seen);
            let content = json!({"recordings": shown, "gone": gone, "recorder": is_up, "changes": mark});
            return Ok(answer(StatusCode::OK, &content));
        }
    }
}

fn place(after: &str) -> Option<Place> {
    let (at, id) = after.split_once('-')?;
    Some((at.parse().ok()?, id.to_owned()))
}

async fn one(State(app): State<Arc<App>>, _: Operator, Id(id): Id) -> Result<Response, ApiError> {
    let recording = known(&app, &id)?;
    Ok(answer(StatusCode::OK, &shown(&app, &recording)))
}

/// The id in the path, whatever stands there.
struct Id(String);

impl FromRequestParts<Arc<App>> for Id {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, app: &Arc<App>) -> Result<Self, ApiError> {
        let id: Result<Path<String>, PathRejection> = Path::from_request_parts(parts, app).await;
        id.map(|Path(id)| Self(id)).map_err(|_| ApiError::no_recording())
    }
}

fn known(app: &App, id: &str) -> Result<Arc<Recording>, ApiError> {
    app.recorder.recordings.read().get(id).cloned().ok_or_else(ApiError::no_recording)
}

/// As the recorder tells it, with links where there is a file.
fn shown(app: &App, recording: &Recording) -> Value {
    let mut shown = serde_json::to_value(recording).unwrap_or_default();
    if recording.state == RecordingState::Ready {
        let ticket = app.operators.ticket(&recording.id, now_s());
        let link = format!("/api/v1/recordings/{}/file?ticket={ticket}", recording.id);
        if recording.mixed.is_some() {
            shown["mixedLink"] = format!("{link}&mixed=true").into();
        }
        shown["link"] = link.into();
    }
    shown
}

fn answer(status: StatusCode, content: &Value) -> Response {
    (status, [(header::CACHE_CONTROL, "no-store")], Json(content)).into_response()
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Start {
    room: String,
    login: Option<String>,
    stream: Option<String>,
}

async fn start(
    State(app): State<Arc<App>>,
    from: HttpClient,
    _: Operator,
    body: Result<Bytes, BytesRejection>,
) -> Result<Response, ApiError> {
    let body = body.map_err(|why| match why.status() {
        StatusCode::PAYLOAD_TOO_LARGE => ApiError::too_large(),
        _ => ApiError::bad("The body did not come"),
    })?;
    let text = std::str::from_utf8(&body).map_err(|_| ApiError::bad("The body is no UTF-8"))?;
    // Of an object only: a list would do for a structure as well, by the order of its fields.
    let read = json::check(text)
        .and_then(|()| serde_json::from_str::<Map<String, Value>>(text))
        .and_then(|object| Start::deserialize(Value::Object(object)));
    let Start { room, login, stream } = read.map_err(|why| ApiError::bad(format!("The body: {why}")))?;
    let stream = match (login, stream) {
        (None, None) => None,
        (Some(login), None) => Some((login, NameOf::Login)),
        (None, Some(stream)) => Some((stream, NameOf::Stream)),
        (Some(_), Some(_)) => return Err(ApiError::bad("Name a stream by login or by stream, not by both")),
    };
    let named = stream.as_ref().map_or(Ok(()), |(name, of)| match of {
        NameOf::Login => Name::Login.check(name),
        _ => Name::Stream.check(name),
    });
    Name::Room.check(&room).and(named).map_err(|refusal| ApiError::from(Refusal::BadName(refusal)))?;
    match app.ask(from.address.counted, HttpRequest::StartRecording { room, stream }).await {
        HttpReply::Recording { id, file, is_new } => {
            let status = if is_new { StatusCode::CREATED } else { StatusCode::OK };
            let mut response = answer(status, &json!({"id": id, "file": file}));
            // Below what was asked for, wherever that is.
            if let Ok(location) = format!("recordings/{id}").parse() {
                response.headers_mut().insert(header::LOCATION, location);
            }
            Ok(response)
        }
        reply => Err(refused(reply)),
    }
}

async fn stop(
    State(app): State<Arc<App>>,
    from: HttpClient,
    _: Operator,
    Id(id): Id,
) -> Result<StatusCode, ApiError> {
    match app.ask(from.address.counted, HttpRequest::StopRecording { id: id.clone() }).await {
        HttpReply::RecordingStopped => Ok(StatusCode::NO_CONTENT),
        HttpReply::Refused(Refusal::RecordingNotFound) => match known(&app, &id)?.state {
            // One that a former server began and nobody goes on with.
            RecordingState::Recording | RecordingState::Paused => {
                order(&app, Order::End { id }).await?;
                Ok(StatusCode::NO_CONTENT)
            }
            _ => Err(ApiError::new(StatusCode::CONFLICT, "not-running", "The recording has ended already")),
        },
        reply => Err(refused(reply)),
    }
}

fn refused(reply: HttpReply) -> ApiError {
    match reply {
        HttpReply::Refused(refusal) => refusal.into(),
        _ => Refusal::ServerError.into(),
    }
}

async fn order(app: &App, order: Order) -> Result<(), ApiError> {
    if !app.recorder.recordings.read().is_up() {
        return Err(ApiError::recorder_away());
    }
    let told = app.recorder.commands.send(RecorderCommand::Order(order)).await;
    told.map_err(|_| ApiError::recorder_away())
}

async fn delete(State(app): State<Arc<App>>, _: Operator, Id(id): Id) -> Result<StatusCode, ApiError> {
    let recording = known(&app, &id)?;
    if !matches!(recording.state, RecordingState::Ready | RecordingState::Failed) {
        let message = "The recording has not ended: stop it first, and wait until it is ready";
        return Err(ApiError::new(StatusCode::CONFLICT, "not-ended", message));
    }
    let mut changes = app.recorder.recordings.changes();
    order(&app, Order::Delete { id: id.clone() }).await?;
    let gone = async {
        while app.recorder.recordings.read().get(&id).is_some() && changes.changed().await.is_ok() {}
    };
    let is_gone = tokio::time::timeout(DELETE_LIMIT, gone).await.is_ok();
    Ok(if is_gone { StatusCode::NO_CONTENT } else { StatusCode::ACCEPTED })
}

#[derive(Deserialize)]
struct WantedFile {
    ticket: Option<String>,
    mixed: Option<bool>,
}

/// For an operator, or for whoever has a ticket.
async fn file(
    State(app): State<Arc<App>>,
    from: HttpClient,
    Id(id): Id,
    query: Result<Query<WantedFile>, QueryRejection>,
    method: Method,
    headers: HeaderMap,
    request: Request,
) -> Result<Response, ApiError> {
    let Query(WantedFile { ticket, mixed }) =
        query.map_err(|_| ApiError::bad("mixed is true or false, ticket what a link says"))?;
    if !ticket.is_some_and(|ticket| app.operators.takes_ticket(&id, &ticket, now_s())) {
        let (mut parts, _) = request.into_parts();
        Operator::from_request_parts(&mut parts, &app).await?;
    }
    let recording = known(&app, &id)?;
    let name = if mixed == Some(true) { recording.mixed.clone() } else { Some(recording.file.clone()) };
    let name = name.filter(|_| recording.state == RecordingState::Ready);
    let name = name.ok_or_else(|| {
        ApiError::new(StatusCode::NOT_FOUND, "no-file", "The recording has no such file, or it is not ready")
    })?;
    let places = &app.operators_fetches;
    Ok(records::send(&app, (&from, places), &method, &headers, (&recording, &name)).await)
}
