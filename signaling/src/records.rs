//! Finished recordings over HTTP: `GET` and `HEAD` of `/records/{file}`, and of `/client/records/{file}`, where
//! pages of the vendor's look for them.
//!
//! | answer | when |
//! |---|---|
//! | 200, 206 | the file, or one range of it (RFC 9110 §14), under the conditions that the request has |
//! | 304, 412, 416 | as these conditions say |
//! | 401, 403 | `[auth]` does not let this client have it |
//! | 404 | there is no such file, it is not ready, it is of a room that the token is not for, or `recording.serve` is false |
//! | 503 | so many are being fetched, or `recording.directory` cannot be read |
//!
//! Invariants
//! - What is served is in the recorder's catalogue, by the name that stands there: no path of a request ever
//!   reaches the file system, and nothing lists the directory.
//! - A file costs one descriptor and one buffer while it is fetched, and there is a bound on both, and on how
//!   slowly it may be fetched. The operator's fetches have places of their own.

mod file;
mod range;

use crate::auth::FileAttempt;
use crate::edge::{App, HttpClient};
use crate::places::Places;
use crate::refused::{refuse, refused};
use axum::body::Body;
use axum::extract::{OriginalUri, Path, State};
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use axum::response::{IntoResponse, Response};
use range::{Representation, Selected};
use recorder_control::Recording;
use std::io;
use std::sync::Arc;

/// Answers `GET` and `HEAD` of a file's name.
pub(crate) async fn fetch(
    State(app): State<Arc<App>>,
    from: HttpClient,
    Path(name): Path<String>,
    OriginalUri(uri): OriginalUri,
    method: Method,
    headers: HeaderMap,
) -> Response {
    if !app.config.recording.serve || app.config.recording.directory.is_none() {
        return not_found();
    }
    let recording = app.recorder.recordings.read().of_file(&name).cloned();
    let attempt = FileAttempt {
        address: from.address.ip,
        headers: &headers,
        query: uri.query().unwrap_or_default(),
        name: &name,
        recording: recording.as_deref(),
    };
    match (app.access.authorize_file(attempt).await, recording) {
        (Err(refusal), _) => refused(&refusal),
        (Ok(true), Some(recording)) => {
            send(&app, (&from, &app.fetches), &method, &headers, (&recording, &name)).await
        }
        (Ok(_), _) => not_found(),
    }
}

/// Answers with a file of a recording, for whoever may have it, who takes one of these places.
pub(crate) async fn send(
    app: &App,
    (from, places): (&HttpClient, &Arc<Places>),
    method: &Method,
    headers: &HeaderMap,
    (recording, name): (&Recording, &str),
) -> Response {
    let Some(directory) = app.recorder.recordings.read().directory() else { return not_found() };
    let Ok(place) = places.take(from.address.counted) else {
        let mut response = refuse(StatusCode::SERVICE_UNAVAILABLE, "Too many recordings are being fetched");
        response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from_static("5"));
        return response;
    };
    let wanted = name.to_owned();
    let opened = tokio::task::spawn_blocking(move || file::open_file(&directory, &wanted)).await;
    let opened = opened.map_err(io::Error::other).and_then(|opened| opened);
    let (open, found) = match opened {
        Ok(opened) => opened,
        Err(why) if why.kind() == io::ErrorKind::NotFound => return not_found(),
        Err(why) => {
            tracing::warn!("recording {name}: {why}");
            return refuse(StatusCode::SERVICE_UNAVAILABLE, "The recording cannot be read");
        }
    };
    let selected = range::select(headers, &found);
    let (first, count) = match selected {
        Selected::Whole => (0, found.len),
        Selected::Part(first, count) => (first, count),
        Selected::NotModified | Selected::Failed | Selected::Unsatisfiable => {
            return without_body(&selected, &found);
        }
    };
    let body = match method {
        &Method::HEAD => Ok(Body::empty()),
        _ => file::body(open, first, count, (place, from.connection.clone())).await,
    };
    let Ok(body) = body else {
        return refuse(StatusCode::SERVICE_UNAVAILABLE, "The recording cannot be read");
    };
    let mut response = (StatusCode::OK, body).into_response();
    let head = response.headers_mut();
    describe(head, &found);
    put(head, header::CONTENT_TYPE, content_type(recording, name));
    put(head, header::CONTENT_LENGTH, &count.to_string());
    // Names of files are plain words, so they need no escapes.
    put(head, header::CONTENT_DISPOSITION, &format!("inline; filename=\"{name}\""));
    if let Selected::Part(..) = selected {
        put(head, header::CONTENT_RANGE, &format!("bytes {first}-{}/{}", first + count - 1, found.len));
        *response.status_mut() = StatusCode::PARTIAL_CONTENT;
    }
    response
}

fn without_body(selected: &Selected, found: &Representation) -> Response {
    let mut response = match selected {
        Selected::NotModified => StatusCode::NOT_MODIFIED.into_response(),
        Selected::Failed => refuse(StatusCode::PRECONDITION_FAILED, "It is another file than that"),
        _ => refuse(StatusCode::RANGE_NOT_SATISFIABLE, "The file has not so many octets"),
    };
    if let Selected::Unsatisfiable = selected {
        put(response.headers_mut(), header::CONTENT_RANGE, &format!("bytes */{}", found.len));
    }
    describe(response.headers_mut(), found);
    response
}

fn describe(head: &mut HeaderMap, found: &Representation) {
    put(head, header::ETAG, &found.etag);
    put(head, header::LAST_MODIFIED, &httpdate::fmt_http_date(found.modified));
    put(head, header::ACCEPT_RANGES, "bytes");
    // Whose it is depends on the token, and it may be deleted at any time.
    put(head, header::CACHE_CONTROL, "private, no-cache");
    put(head, header::X_CONTENT_TYPE_OPTIONS, "nosniff");
}

fn put(head: &mut HeaderMap, name: header::HeaderName, value: &str) {
    if let Ok(value) = HeaderValue::from_str(value) {
        head.insert(name, value);
    }
}

fn content_type(recording: &Recording, name: &str) -> &'static str {
    let is_own = recording.file == name;
    let sound_only =
        is_own && !recording.tracks.is_empty() && recording.tracks.iter().all(|track| track.kind == "audio");
    match name.rsplit_once('.').map(|(_, ending)| ending) {
        Some("webm") if sound_only => "audio/webm",
        Some("webm") => "video/webm",
        Some("mp4") if sound_only => "audio/mp4",
        Some("mp4") => "video/mp4",
        // RFC 9559 §27.4.
        Some("mkv") => "video/matroska",
        _ => "application/octet-stream",
    }
}

fn not_found() -> Response {
    refuse(StatusCode::NOT_FOUND, "There is no such recording")
}
