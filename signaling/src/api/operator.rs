//! The requests that are an operator's ([`crate::operators`]).

use super::error::ApiError;
use crate::edge::{App, HttpClient};
use crate::listen::Peer;
use crate::operators::{Asker, Denied};
use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use axum::http::{StatusCode, header};
use std::sync::Arc;

/// A request of one.
pub(super) struct Operator;

impl FromRequestParts<Arc<App>> for Operator {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, app: &Arc<App>) -> Result<Self, ApiError> {
        let from = match HttpClient::from_request_parts(parts, app).await {
            Ok(from) => from,
            Err(never) => match never {},
        };
        let asker = Asker {
            peer: parts.extensions.get().map(|Peer(ip)| *ip),
            proxied: from.proxied,
            counted: from.address.counted,
            headers: &parts.headers,
        };
        Ok(app.operators.admits(&asker, app.started.elapsed()).map(|()| Self)?)
    }
}

impl From<Denied> for ApiError {
    fn from(denied: Denied) -> Self {
        let challenge = "Bearer realm=\"ringvox\"";
        match denied {
            Denied::NotLocal => Self::new(
                StatusCode::FORBIDDEN,
                "local-only",
                "Set api.key to use this from anywhere but http://localhost on the server's own machine",
            ),
            Denied::NoKey => Self::new(StatusCode::UNAUTHORIZED, "key-missing", "The API's key is required")
                .with(header::WWW_AUTHENTICATE, challenge),
            Denied::WrongKey => Self::new(StatusCode::UNAUTHORIZED, "key-wrong", "This is not the API's key")
                .with(header::WWW_AUTHENTICATE, format!("{challenge}, error=\"invalid_token\"")),
            Denied::TooMany(wait) => {
                Self::new(StatusCode::TOO_MANY_REQUESTS, "too-many-failures", "Too many wrong keys")
                    .with(header::RETRY_AFTER, wait.as_secs().max(1).to_string())
            }
        }
    }
}
