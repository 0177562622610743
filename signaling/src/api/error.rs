//! How the API refuses: one shape for all, `{"error":{"code":"…","message":"…"}}`.

use crate::refusal::Refusal;
use axum::Json;
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
        let body = json!({"error": {"code": self.code, "message": self.message}});
        let mut response = (self.status, Json(body)).into_response();
        if let Some((name, value)) = self.header
            && let Ok(value) = HeaderValue::try_from(value)
        {
            response.headers_mut().insert(name, value);
        }
        response
    }
}
