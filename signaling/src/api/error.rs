//! How the API refuses: one shape for all, `application/problem+json` (RFC 9457) with `code` for programs and
//! `detail` for people.

use crate::refusal::Refusal;
use axum::http::{HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::json;
use std::borrow::Cow;

/// Why the API does not do what it is asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct ApiError {
    status: StatusCode,
    /// For programs.
    code: &'static str,
    /// For people.
    message: Cow<'static, str>,
    header: Option<(HeaderName, String)>,
}

impl ApiError {
    pub(super) fn new(status: StatusCode, code: &'static str, message: impl Into<Cow<'static, str>>) -> Self {
        Self { status, code, message: message.into(), header: None }
    }

    pub(super) fn bad(message: impl Into<Cow<'static, str>>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "bad-request", message)
    }

    pub(super) fn no_recording() -> Self {
        Self::new(StatusCode::NOT_FOUND, "recording-not-found", "There is no such recording")
    }

    pub(super) fn too_large() -> Self {
        Self::new(StatusCode::PAYLOAD_TOO_LARGE, "too-large", "The body is too long")
    }

    /// Of changes.
    pub(super) fn forgotten() -> Self {
        let message = "What has changed since then is not known any more: list the recordings again";
        Self::new(StatusCode::GONE, "changes-forgotten", message)
    }

    pub(super) fn recorder_away() -> Self {
        Self::new(StatusCode::SERVICE_UNAVAILABLE, "recorder-away", "The recorder is not there; try again")
            .with(header::RETRY_AFTER, "2")
    }

    pub(super) fn with(self, name: HeaderName, value: impl Into<String>) -> Self {
        Self { header: Some((name, value.into())), ..self }
    }
}

impl From<Refusal> for ApiError {
    fn from(refusal: Refusal) -> Self {
        let status = StatusCode::from_u16(refusal.http_status());
        let reason = refusal.reason();
        Self::new(status.unwrap_or(StatusCode::SERVICE_UNAVAILABLE), reason.code, reason.words)
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        // RFC 9457 §4.2.1: without a type of its own, the title is the status's.
        let title = self.status.canonical_reason();
        let body = json!({"type": "about:blank", "title": title, "status": self.status.as_u16(),
            "code": self.code, "detail": self.message});
        let kind = [(header::CONTENT_TYPE, "application/problem+json")];
        let mut response = (self.status, kind, body.to_string()).into_response();
        if let Some((name, value)) = self.header
            && let Ok(value) = HeaderValue::try_from(value)
        {
            response.headers_mut().insert(name, value);
        }
        response
    }
}
