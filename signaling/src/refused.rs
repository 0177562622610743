//! How a refusal looks over HTTP.

use crate::refusal::Refusal;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};

pub(crate) fn refused(refusal: &Refusal) -> Response {
    let status = StatusCode::from_u16(refusal.http_status()).unwrap_or(StatusCode::SERVICE_UNAVAILABLE);
    let mut response = refuse(status, &refusal.reason().words);
    // RFC 6750 §3.
    let challenge = match (status, refusal) {
        (StatusCode::UNAUTHORIZED, Refusal::TokenMissing | Refusal::HookUnauthorized(_)) => {
            Some("Bearer realm=\"ringvox\"")
        }
        (StatusCode::UNAUTHORIZED, _) => Some("Bearer realm=\"ringvox\", error=\"invalid_token\""),
        (StatusCode::FORBIDDEN, _) => Some("Bearer realm=\"ringvox\", error=\"insufficient_scope\""),
        _ => None,
    };
    if let Some(challenge) = challenge {
        response.headers_mut().insert(header::WWW_AUTHENTICATE, HeaderValue::from_static(challenge));
    }
    if matches!(status, StatusCode::SERVICE_UNAVAILABLE | StatusCode::CONFLICT) {
        response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from_static("2"));
    }
    response
}

pub(crate) fn refuse(status: StatusCode, words: &str) -> Response {
    (status, [(header::X_CONTENT_TYPE_OPTIONS, "nosniff")], format!("{words}\n")).into_response()
}
