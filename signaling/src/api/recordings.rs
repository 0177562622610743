//! `/api/v1/recordings`.

use super::error::ApiError;
use super::operator::Operator;
use crate::edge::{App, HttpClient};
use crate::hub::{HttpReply, HttpRequest};
use crate::json;
use crate::names::{Name, NameOf};
use crate::operators::now_s;
use crate::recorder::{Filter, Place, RecorderCommand};
use crate::records;
use crate::refusal::Refusal;
use axum::body::Bytes;
use axum::extract::{FromRequestParts, Path, Query, Request, State};
use axum::http::{HeaderMap, Method, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use recorder_control::{Order, Recording, State as RecordingState};
use serde::Deserialize;
use serde_json::{Value, json};
use std::sync::Arc;
use std::time::Duration;

/// Recordings of a page, unless it is said how many.
const LIMIT: usize = 100;
/// Most of a page.
const LIMIT_MAX: usize = 1_000;
/// How long an answer waits for the recorder to have done what it was told.
const DELETE_LIMIT: Duration = Duration::from_secs(5);

pub(super) fn router() -> Router<Arc<App>> {
    Router::new()
        .route("/", get(list).post(start).options(preflight))
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
}

async fn list(
    State(app): State<Arc<App>>,
    _: Operator,
    query: Result<Query<Wanted>, axum::extract::rejection::QueryRejection>,
) -> Result<Response, ApiError> {
    let Query(wanted) = query.map_err(|_| ApiError::bad("A key of the query stands there twice"))?;
    let given = |text: Option<String>| text.filter(|text| !text.is_empty());
    let state = given(wanted.state)
        .map(|state| serde_json::from_value(state.into()))
        .transpose()
        .map_err(|_| ApiError::bad("state is recording, paused, finishing, ready or failed"))?;
    let after = given(wanted.after).map(|after| place(&after).ok_or(())).transpose();
    let after = after.map_err(|()| ApiError::bad("after is the next of a page before"))?;
    let limit = given(wanted.limit).map_or(Ok(LIMIT), |limit| limit.parse());
    let limit = limit.ok().filter(|limit| (1..=LIMIT_MAX).contains(limit));
    let limit = limit.ok_or_else(|| ApiError::bad(format!("limit is a number from 1 to {LIMIT_MAX}")))?;
    let filter = Filter { room: given(wanted.room), state };
    let page = app.recorder.recordings.read().page(&filter, after.as_ref(), limit);
    let shown: Vec<Value> = page.recordings.iter().map(|recording| shown(&app, recording)).collect();
    let next = page.next.map(|(at, id)| format!("{at}-{id}"));
    let is_up = app.recorder.recordings.read().is_up();
    Ok(answer(StatusCode::OK, &json!({"recordings": shown, "next": next, "recorder": is_up})))
}

fn place(after: &str) -> Option<Place> {
    let (at, id) = after.split_once('-')?;
    Some((at.parse().ok()?, id.to_owned()))
}

async fn one(State(app): State<Arc<App>>, _: Operator, Path(id): Path<String>) -> Result<Response, ApiError> {
    let recording = known(&app, &id)?;
    Ok(answer(StatusCode::OK, &shown(&app, &recording)))
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
    body: Bytes,
) -> Result<Response, ApiError> {
    let text = std::str::from_utf8(&body).map_err(|_| ApiError::bad("The body is no UTF-8"))?;
    let read = json::check(text).and_then(|()| serde_json::from_str::<Start>(text));
    let Start { room, login, stream } = read.map_err(|why| ApiError::bad(format!("The body: {why}")))?;
    let stream = match (login, stream) {
        (None, None) => None,
        (Some(login), None) => Some((login, NameOf::Login)),
        (None, Some(stream)) => Some((stream, NameOf::Stream)),
        (Some(_), Some(_)) => return Err(ApiError::bad("Name a stream by login or by stream, not by both")),
    };
    let named = stream.as_ref().map_or(Ok(()), |(name, _)| Name::Stream.check(name));
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
    Path(id): Path<String>,
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

async fn delete(
    State(app): State<Arc<App>>,
    _: Operator,
    Path(id): Path<String>,
) -> Result<StatusCode, ApiError> {
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
    Path(id): Path<String>,
    query: Result<Query<WantedFile>, axum::extract::rejection::QueryRejection>,
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
    Ok(records::send(&app, &from, &method, &headers, &recording, &name).await)
}
