//! `/api/v1`: the product's interface for programs of its operator. JSON both ways.
//!
//! | request | answer |
//! |---|---|
//! | `GET /api/v1/recordings?room=&state=&from=&until=&after=&limit=` | 200, the newest first |
//! | `GET /api/v1/recordings/changes?since=&room=&limit=&wait=` | 200; 410 list again |
//! | `POST /api/v1/recordings` `{"room", "login" or "stream"}` | 201 it is recorded, 200 it was; 404, 503 |
//! | `GET /api/v1/recordings/{id}` | 200; 404 |
//! | `POST /api/v1/recordings/{id}/stop` | 204; 404, 409 it does not run |
//! | `DELETE /api/v1/recordings/{id}` | 204; 202 it will be; 404, 409 it has not ended |
//! | `GET`, `HEAD /api/v1/recordings/{id}/file?ticket=&mixed=` | as [`crate::records`] |
//! | `GET /api/v1/openapi.json` | the same for programs |
//!
//! All but the last want the API's key ([`crate::operators`]), or a file its ticket; what is refused is
//! `application/problem+json` with `code` and `detail`. A route that joins is a module with a router of its
//! own.

mod error;
mod operator;
mod recordings;

use crate::edge::App;
use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use error::ApiError;
use std::sync::Arc;

/// Longest body of a request.
const BODY_BYTES_MAX: usize = 16 << 10;

const OPENAPI: &str = include_str!("api/openapi.json");

/// All routes below `/api`.
pub(crate) fn router() -> Router<Arc<App>> {
    Router::new()
        .nest("/api/v1/recordings", recordings::router())
        .route("/api/v1/openapi.json", get(openapi))
        .route("/api", get(unknown))
        .route("/api/{*path}", get(unknown).fallback(unknown))
        .method_not_allowed_fallback(not_allowed)
        .layer(DefaultBodyLimit::max(BODY_BYTES_MAX))
}

async fn openapi() -> Response {
    ([(header::CONTENT_TYPE, "application/json")], OPENAPI).into_response()
}

async fn unknown() -> ApiError {
    ApiError::new(StatusCode::NOT_FOUND, "not-found", "There is no such route; see /api/v1/openapi.json")
}

async fn not_allowed() -> ApiError {
    ApiError::new(StatusCode::METHOD_NOT_ALLOWED, "method-not-allowed", "This route has no such method")
}
