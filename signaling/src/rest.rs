//! HTTP: the router of both listeners, health, WHIP (RFC 9725) and WHEP.
//!
//! | request | answer |
//! |---|---|
//! | `POST /whip/{room}?login=…`, `POST /whep/{room}/{name}?by=login`, `…?by=stream`, or without `by` (a login, else a stream) | 201 with `Location` and `ETag`, and `Ringvox-Rejected` if an m-line cannot be had (port 0 in the answer); 400 broken SDP, path or query, 401 no good token, 403 not allowed, 404 no such stream, 406 `Accept` without SDP, 409 login taken or stream not on the air, 413, 415 it says that its body is no SDP, 422 nothing to answer (such as no common codec), 503 limit or no relay |
//! | `PATCH` of a session | 204 candidates noted, 200 ICE restarted; 400, 404, 412 other ICE session, 415, 428 without `If-Match` |
//! | `DELETE` of a session | 200; 404 |
//! | `…/events` of a session | whether its media flows, see [`crate::events`] |
//! | `OPTIONS` | 204 with `Allow`, and `Accept-Post` or `Accept-Patch` |
//! | each of these with a slash behind its path | the same |
//! | `GET` of `/records/{file}` and `/client/records/{file}` | [`crate::records`] |
//! | `GET /healthz` | 200 `ok`, 503 `degraded`; numbers only with `signaling.health_counts` |
//! | `/api/v1/…` | [`crate::api`] |
//! | any upgrade to WebSocket | [`crate::ws`] |
//! | any other `GET` | [`crate::web`] |

mod content;

use crate::auth::{Admitted, HttpAttempt};
use crate::edge::{App, Health, HttpClient, HttpSession, Input};
use crate::hub::{HttpReply, HttpRequest, Patch};
use crate::names::{Name, NameOf};
use crate::refusal::{Reason, Refusal};
use crate::refused::{refuse, refused};
use crate::sdp::Rejected;
use crate::{api, events, records, web, ws};
use axum::Router;
use axum::body::Bytes;
use axum::extract::ws::WebSocketUpgrade;
use axum::extract::{DefaultBodyLimit, OriginalUri, Path, Query, Request, State};
use axum::http::uri::Authority;
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, Uri, Version, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::{delete, get, post};
use content::{FRAGMENT, SDP};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::oneshot;

const REJECTED: HeaderName = HeaderName::from_static("ringvox-rejected");

/// Longest body: the SDP parser takes no more.
const BODY_BYTES_MAX: usize = 64 << 10;

/// From the request's head to the answer: time for a slow body and for a relay that is being restarted.
const REQUEST_LIMIT: Duration = Duration::from_secs(15);

/// The routes of both listeners.
pub(crate) fn router(app: Arc<App>) -> Router {
    let session = delete(end).patch(patch).options(accept_patch);
    let events = get(events::follow).post(events::subscribe).delete(events::leave).options(events::preflight);
    let mut sessions = Router::new();
    for (path, methods) in [
        ("/whip/{room}", post(whip).options(accept_post)),
        ("/whip/{room}/{secret}", session.clone()),
        ("/whip/{room}/{secret}/events", events.clone()),
        ("/whep/{room}", post(which_stream).options(accept_post)),
        ("/whep/{room}/{stream}", post(whep).options(accept_post)),
        ("/whep/{room}/{stream}/{secret}", session),
        ("/whep/{room}/{stream}/{secret}/events", events),
    ] {
        // People write URLs of directories, and encoders send what people write.
        sessions = sessions.route(path, methods.clone()).route(&format!("{path}/"), methods);
    }
    let sessions = sessions
        .layer(DefaultBodyLimit::max(BODY_BYTES_MAX))
        .layer(middleware::from_fn_with_state(Arc::clone(&app), cors));
    let mut files = Router::new();
    for path in ["/records/{file}", "/client/records/{file}"] {
        files = files.route(path, get(records::fetch).options(preflight));
    }
    let files = files.layer(middleware::from_fn_with_state(Arc::clone(&app), cors));
    let api = api::router().layer(middleware::from_fn_with_state(Arc::clone(&app), cors_of_api));
    Router::new()
        .route("/healthz", get(health))
        .merge(sessions)
        .merge(files)
        .merge(api)
        .fallback(page_or_socket)
        .layer(middleware::from_fn(one_host))
        .with_state(app)
}

/// RFC 9112 §3.2: 400 for a request without `Host` (HTTP/1.1), with several, or with one that is none.
/// Whoever stands in front of us might have read another one than we do. In absolute form it is not looked
/// at, but must be there (§3.2.2).
async fn one_host(request: Request, next: Next) -> Response {
    let mut hosts = request.headers().get_all(header::HOST).iter();
    let good = match (hosts.next(), hosts.next()) {
        (None, _) => request.version() < Version::HTTP_11,
        (Some(host), None) => is_host(host.as_bytes()),
        (Some(_), Some(_)) => false,
    };
    if good {
        return next.run(request).await;
    }
    let mut response = refuse(StatusCode::BAD_REQUEST, "Exactly one Host is required");
    response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
    response
}

/// `uri-host [ ":" port ]`, or nothing where the target has none (RFC 9110 §7.2). User information is no part
/// of it.
fn is_host(host: &[u8]) -> bool {
    host.is_empty() || (!host.contains(&b'@') && Authority::try_from(host).is_ok())
}

async fn page_or_socket(
    State(app): State<Arc<App>>,
    from: HttpClient,
    method: Method,
    OriginalUri(uri): OriginalUri,
    headers: HeaderMap,
    upgrade: Result<WebSocketUpgrade, axum::extract::ws::rejection::WebSocketUpgradeRejection>,
) -> Response {
    if !headers.contains_key(header::UPGRADE) {
        return web::page(&method, uri.path(), uri.query(), &headers);
    }
    match upgrade {
        Ok(upgrade) => ws::upgrade(app, &headers, from.address, upgrade),
        Err(rejection) => rejection.into_response(),
    }
}

async fn health(State(app): State<Arc<App>>) -> Response {
    let (reply, answer) = oneshot::channel();
    let asked = app.inputs.send(Input::Health(reply)).await.is_ok();
    let health = if asked { answer.await.ok() } else { None };
    let Health { relay, census: [connections, rooms, members, streams] } =
        health.unwrap_or(Health { relay: false, census: [0; 4] });
    let mut body = serde_json::json!({"status": if relay { "ok" } else { "degraded" }});
    // How busy a server is is its operator's business. By address it cannot be told who asks: behind a proxy
    // on this machine, everybody comes from here.
    if app.config.signaling.health_counts {
        for (name, count) in
            [("connections", connections), ("rooms", rooms), ("members", members), ("streams", streams)]
        {
            body[name] = count.into();
        }
    }
    let status = if relay { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    (status, [(header::CONTENT_TYPE, "application/json")], body.to_string()).into_response()
}

async fn whip(
    State(app): State<Arc<App>>,
    from: HttpClient,
    Path(room): Path<String>,
    Query(query): Query<Vec<(String, String)>>,
    OriginalUri(uri): OriginalUri,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    let record = match only(query.clone(), &uri, "record").as_ref().map(Option::as_deref) {
        Ok(Some("true")) => true,
        Ok(None | Some("false")) => false,
        Ok(Some(_)) | Err(_) => return refuse(StatusCode::BAD_REQUEST, "record is true or false, once"),
    };
    let login = match only(query, &uri, "login") {
        Ok(login) => login,
        Err(NotOne::Twice) => return refuse(StatusCode::BAD_REQUEST, "login stands there twice"),
        Err(NotOne::Escapes) => return refuse(StatusCode::BAD_REQUEST, ESCAPES),
    };
    if !content::is_text(uri.path()) {
        return refuse(StatusCode::BAD_REQUEST, ESCAPES);
    }
    let login = login.filter(|login| !login.is_empty());
    let named = login.as_ref().map_or(Ok(()), |login| Name::Login.check(login));
    if let Err(refusal) = Name::Room.check(&room).and(named) {
        return refuse(StatusCode::BAD_REQUEST, refusal.words());
    }
    let sdp = match content::offer(&headers, &body) {
        Ok(sdp) => sdp,
        Err((status, words)) => return refuse(status, words),
    };
    let visit = HttpAttempt {
        address: from.address.ip,
        headers: &headers,
        publish: true,
        room: &room,
        login: login.as_deref(),
        record,
        stream: None,
        sdp: &sdp,
    };
    match app.access.authorize_http(visit).await {
        Ok(Admitted { login, priority, rights, record }) => {
            let request = HttpRequest::Publish { room, login, sdp, priority, rights, record };
            created(app.ask(from.address.counted, request).await, uri.path(), from.proxied)
        }
        Err(refusal) => refused(&refusal),
    }
}

async fn whep(
    State(app): State<Arc<App>>,
    from: HttpClient,
    Path((room, name)): Path<(String, String)>,
    Query(query): Query<Vec<(String, String)>>,
    OriginalUri(uri): OriginalUri,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    if !content::is_text(uri.path()) {
        return refuse(StatusCode::BAD_REQUEST, ESCAPES);
    }
    let by = match only(query, &uri, "by").map(|by| by.map(|by| NameOf::from_word(&by))) {
        Ok(None) => NameOf::Either,
        Ok(Some(Some(by))) => by,
        Ok(Some(None)) | Err(_) => {
            return refuse(StatusCode::BAD_REQUEST, "by is login or stream, once");
        }
    };
    // A login is shorter than a stream's name may be.
    if let Err(refusal) = Name::Room.check(&room).and_then(|()| Name::Stream.check(&name)) {
        return refuse(StatusCode::BAD_REQUEST, refusal.words());
    }
    let sdp = match content::offer(&headers, &body) {
        Ok(sdp) => sdp,
        Err((status, words)) => return refuse(status, words),
    };
    let visit = HttpAttempt {
        address: from.address.ip,
        headers: &headers,
        publish: false,
        room: &room,
        login: None,
        record: false,
        stream: Some((&name, by)),
        sdp: &sdp,
    };
    match app.access.authorize_http(visit).await {
        Ok(_) => {
            let request = HttpRequest::Play { room, name, by, sdp };
            created(app.ask(from.address.counted, request).await, uri.path(), from.proxied)
        }
        Err(refusal) => refused(&refusal),
    }
}

/// Why a key of the query has no value.
enum NotOne {
    /// It stands there more than once: a proxy or a hook's own reader might take the other one.
    Twice,
    /// See [`content::is_text`].
    Escapes,
}

/// What to do about [`NotOne::Escapes`], in a path as well.
const ESCAPES: &str = "Write names as UTF-8, each octet that needs it as % and two hexadecimal digits";

/// The value of this key. `query` is what was read of the URI's, in which what is no text was replaced.
fn only(query: Vec<(String, String)>, uri: &Uri, key: &str) -> Result<Option<String>, NotOne> {
    let written = uri.query().unwrap_or_default().split('&').filter(|pair| !pair.is_empty());
    let mut pairs = query.into_iter().zip(written).filter(|((other, _), _)| other == key);
    match (pairs.next(), pairs.next()) {
        (None, _) => Ok(None),
        (Some((_, written)), None) if !content::is_text(written) => Err(NotOne::Escapes),
        (Some(((_, value), _)), None) => Ok(Some(value)),
        (_, Some(_)) => Err(NotOne::Twice),
    }
}

async fn end(State(app): State<Arc<App>>, HttpSession { secret, published }: HttpSession) -> Response {
    plain(app.ask(None, HttpRequest::Delete { secret, published }).await)
}

async fn patch(
    State(app): State<Arc<App>>,
    HttpSession { secret, published }: HttpSession,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    let fragment = match content::fragment(&headers, &body) {
        Ok(fragment) => fragment,
        Err((status, words)) => return refuse(status, words),
    };
    let patch = Patch { secret, published, if_match: content::if_match(&headers), fragment };
    plain(app.ask(None, HttpRequest::Patch(patch)).await)
}

fn created(reply: HttpReply, path: &str, proxied: bool) -> Response {
    match reply {
        HttpReply::Created { secret, etag, sdp, rejected } => {
            let location = location(path, &secret, proxied);
            let headers = [
                (header::CONTENT_TYPE, SDP.to_owned()),
                (header::LOCATION, location),
                (header::ETAG, format!("\"{etag}\"")),
                (HeaderName::from_static("accept-patch"), FRAGMENT.to_owned()),
            ];
            let mut response = events::offered((StatusCode::CREATED, headers, sdp).into_response());
            if let Some(rejected) = rejected_header(&rejected) {
                response.headers_mut().insert(REJECTED, rejected);
            }
            response
        }
        other => plain(other),
    }
}

/// The URL of a session, below the one that was asked for: as a path from the root, or relative to what was
/// asked for ([`HttpClient::proxied`]). The path is as the client wrote it, so names in it need no second
/// encoding; a slash at its end makes it the base that a relative one is resolved against (RFC 3986 §5.2.3).
fn location(path: &str, secret: &str, proxied: bool) -> String {
    match path.rsplit_once('/') {
        Some((_, "")) if proxied => format!("./{secret}"),
        // `./` for a name with a colon, which would else be taken for a scheme (RFC 3986 §4.2).
        Some((_, last)) if proxied => format!("./{last}/{secret}"),
        _ => format!("{}/{secret}", path.trim_end_matches('/')),
    }
}

/// A list of RFC 9651 (§3.1) of the m-lines that the answer rejects, though the client wanted them:
/// `video;code="no-common-codecs";info="No common codecs"`.
fn rejected_header(rejected: &[Rejected]) -> Option<HeaderValue> {
    let member = |one: &Rejected| {
        let Reason { code, words } = Refusal::from(one.why).reason();
        let words: String = words.chars().filter(|c| !matches!(c, '"' | '\\')).collect();
        format!("{};code=\"{code}\";info=\"{words}\"", one.media())
    };
    let list = rejected.iter().map(member).collect::<Vec<_>>().join(", ");
    if list.is_empty() { None } else { HeaderValue::try_from(list).ok() }
}

fn plain(reply: HttpReply) -> Response {
    match reply {
        HttpReply::Deleted => StatusCode::OK.into_response(),
        HttpReply::Noted => StatusCode::NO_CONTENT.into_response(),
        HttpReply::Restarted { etag, fragment } => {
            let headers =
                [(header::CONTENT_TYPE, FRAGMENT.to_owned()), (header::ETAG, format!("\"{etag}\""))];
            (StatusCode::OK, headers, fragment).into_response()
        }
        // Answers to what is not asked here.
        HttpReply::Created { .. } | HttpReply::Recording { .. } | HttpReply::RecordingStopped => {
            StatusCode::INTERNAL_SERVER_ERROR.into_response()
        }
        HttpReply::Refused(refusal) => refused(&refusal),
    }
}

async fn accept_post() -> Response {
    let headers = [(header::ALLOW, "OPTIONS, POST"), (HeaderName::from_static("accept-post"), SDP)];
    (StatusCode::NO_CONTENT, headers).into_response()
}

async fn accept_patch() -> Response {
    let headers =
        [(header::ALLOW, "DELETE, OPTIONS, PATCH"), (HeaderName::from_static("accept-patch"), FRAGMENT)];
    (StatusCode::NO_CONTENT, headers).into_response()
}

async fn preflight() -> Response {
    (StatusCode::NO_CONTENT, [(header::ALLOW, "GET, HEAD, OPTIONS")]).into_response()
}

async fn which_stream() -> Response {
    refuse(StatusCode::NOT_FOUND, "Say whom to play: /whep/{room}/{login, or name of a stream}")
}

/// Fetch standard: lets pages of allowed origins in, and turns the others away before anything is done. Also
/// the deadline of a request.
async fn cors(State(app): State<Arc<App>>, request: Request, next: Next) -> Response {
    let any = app.config.signaling.allowed_origins.is_none();
    let allowed = |origin| Some(if any { HeaderValue::from_static("*") } else { origin });
    answer_origin(&app, request, next, allowed).await
}

/// The same for what is an operator's: unless the settings name origins, it is for our own pages only.
async fn cors_of_api(State(app): State<Arc<App>>, request: Request, next: Next) -> Response {
    let named = app.config.signaling.allowed_origins.is_some();
    answer_origin(&app, request, next, |origin| Some(origin).filter(|_| named)).await
}

async fn answer_origin(
    app: &App,
    request: Request,
    next: Next,
    allowed: impl FnOnce(HeaderValue) -> Option<HeaderValue>,
) -> Response {
    if !app.origin_allowed(request.headers()) {
        return refuse(StatusCode::FORBIDDEN, "This origin is not in signaling.allowed_origins");
    }
    let origin = request.headers().get(header::ORIGIN).cloned();
    // Players bring headers of their own. No cookie is looked at here, so none can do what its page may not.
    let wanted = request.headers().get(header::ACCESS_CONTROL_REQUEST_HEADERS).cloned();
    let answered = tokio::time::timeout(REQUEST_LIMIT, next.run(request)).await;
    let mut response = answered.unwrap_or_else(|_| refuse(StatusCode::REQUEST_TIMEOUT, "Too slow"));
    let Some(origin) = origin else { return response };
    let headers = response.headers_mut();
    headers.append(header::VARY, HeaderValue::from_static("Origin, Access-Control-Request-Headers"));
    let Some(allowed) = allowed(origin) else { return response };
    headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, allowed);
    let known = HeaderValue::from_static("Authorization, Content-Type, If-Match, If-Range, Range");
    headers.insert(header::ACCESS_CONTROL_ALLOW_HEADERS, wanted.unwrap_or(known));
    for (name, value) in [
        (header::ACCESS_CONTROL_ALLOW_METHODS, "GET, POST, PATCH, DELETE, OPTIONS"),
        (
            header::ACCESS_CONTROL_EXPOSE_HEADERS,
            "Accept-Patch, Accept-Post, Accept-Ranges, Content-Range, ETag, Link, Location, Retry-After, \
             Ringvox-Rejected, WWW-Authenticate",
        ),
        (header::ACCESS_CONTROL_MAX_AGE, "600"),
    ] {
        headers.insert(name, HeaderValue::from_static(value));
    }
    response
}

#[cfg(test)]
mod tests {
    use super::location;

    /// What a client makes of a `Location` (RFC 3986 §5.2.2 and §5.2.4, as far as ours need it).
    fn resolved(base: &str, reference: &str) -> String {
        if reference.starts_with('/') {
            return reference.to_owned();
        }
        let (directory, _) = base.rsplit_once('/').expect("a path");
        format!("{directory}/{}", reference.strip_prefix("./").expect("no scheme can be read in it"))
    }

    #[test]
    fn a_location_leads_below_what_was_asked_for() {
        // As the client wrote it, what a proxy strips of it, and the session.
        for (asked, stripped, session) in [
            ("/whip/room", "", "/whip/room/s"),
            ("/whip/room/", "", "/whip/room/s"),
            ("/whip/a:b", "", "/whip/a:b/s"),
            ("/whep/room/%D1%8F/", "", "/whep/room/%D1%8F/s"),
            ("/rooms/whip/room", "/rooms", "/rooms/whip/room/s"),
            ("/rooms/whip/room/", "/rooms", "/rooms/whip/room/s"),
            ("/a/b/whep/a:b/c:d", "/a/b", "/a/b/whep/a:b/c:d/s"),
            ("/a/b/whep/a:b/c:d/", "/a/b", "/a/b/whep/a:b/c:d/s"),
        ] {
            let heard = asked.strip_prefix(stripped).expect("its prefix");
            assert_eq!(resolved(asked, &location(heard, "s", true)), session, "{asked} behind a proxy");
            if stripped.is_empty() {
                assert_eq!(location(heard, "s", false), session, "{asked}");
            }
        }
    }
}
