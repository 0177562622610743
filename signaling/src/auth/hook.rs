//! The operator's access hook: one `POST` a question, one connection a `POST`.
//!
//! The address is the settings' own and the path one of a fixed list, so no client has a say in where we
//! connect. Redirects are answers like any other that is neither 2xx nor 4xx: a failure. Time and concurrency
//! are bounded, and what a failure counts for is a setting.

use super::{AuthError, line_end};
use crate::config::{Auth, OnFailure};
use crate::names::is_hidden;
use crate::post::{Answer, Fault, Poster};
use crate::refusal::Refusal;
use axum::http::StatusCode;
use relay_control::Priority;
use serde_json::Value;
use std::time::Duration;
use tokio::sync::Semaphore;
use tokio::time::timeout;

/// Longest reason that is passed on.
const INFO_BYTES_MAX: usize = 200;

/// Asks.
pub(super) struct Hook {
    poster: Poster,
    timeout: Duration,
    on_failure: OnFailure,
    places: Semaphore,
}

impl Hook {
    /// For the address of the settings.
    ///
    /// # Errors
    /// https is wanted and the system has no certificate authorities.
    pub(super) fn new(settings: &Auth) -> Result<Self, AuthError> {
        let url = settings.hook_url.clone().ok_or(AuthError::Incomplete)?;
        let poster = Poster::new(url).map_err(AuthError::Hook)?;
        let places = Semaphore::new(settings.hook_concurrency);
        Ok(Self { poster, timeout: settings.hook_timeout, on_failure: settings.hook_on_failure, places })
    }

    /// Asks; in finite time. What a hook that says yes may say besides: the priority of the video that is
    /// published.
    ///
    /// # Errors
    /// The answer was no, or there was none and that counts as no.
    pub(super) async fn ask(
        &self,
        method: &'static str,
        object: &Value,
    ) -> Result<Option<Priority>, Refusal> {
        let asked = timeout(self.timeout, async {
            let _place = self.places.acquire().await?;
            self.post(method, object).await
        });
        let why = match asked.await {
            Ok(Ok(answer)) if answer.status.is_success() => match priority(&answer) {
                Ok(priority) => return Ok(priority),
                Err(why) => why.to_owned(),
            },
            Ok(Ok(answer)) if answer.status.is_client_error() => return Err(refused(&answer)),
            Ok(Ok(answer)) => format!("it answered {}", answer.status),
            Ok(Err(fault)) => fault.to_string(),
            Err(_) => format!("no answer within {:?}", self.timeout),
        };
        tracing::warn!("access hook {}/{method}: {why}", self.poster.url());
        match self.on_failure {
            OnFailure::Allow => Ok(None),
            OnFailure::Refuse => Err(Refusal::HookFailed),
        }
    }

    /// Tells; the answer does not matter. Has a connection of its own, so that questions need not wait for
    /// it.
    ///
    /// # Errors
    /// Why it could not be told.
    pub(super) async fn tell(&self, method: &'static str, object: &Value) -> Result<(), String> {
        match timeout(self.timeout, self.post(method, object)).await {
            Ok(Ok(answer)) if answer.status.is_success() => Ok(()),
            Ok(Ok(answer)) => Err(answer.status.to_string()),
            Ok(Err(fault)) => Err(fault.to_string()),
            Err(_) => Err("no answer in time".to_owned()),
        }
    }

    async fn post(&self, method: &'static str, object: &Value) -> Result<Answer, Fault> {
        self.poster.post(&format!("/{method}"), &[], object.to_string().into()).await
    }
}

/// What is not JSON says nothing. `Err`: what is wrong with what it says.
fn priority(answer: &Answer) -> Result<Option<Priority>, &'static str> {
    let body = serde_json::from_slice::<Value>(&answer.body).unwrap_or_default();
    let named = |name: &Value| {
        let known = name.as_str().and_then(Priority::from_name);
        known.ok_or("its priority must be \"very-low\", \"low\", \"medium\" or \"high\"")
    };
    let said = body.get("priority").filter(|name| !name.is_null());
    said.map(named).transpose()
}

/// With `info` of a JSON body, or the reason phrase.
fn refused(answer: &Answer) -> Refusal {
    let custom = serde_json::from_slice::<Value>(&answer.body).ok();
    let custom = custom.and_then(|body| body.get("info")?.as_str().map(tidy));
    let words = custom.filter(|info| !info.is_empty()).or_else(|| answer.phrase.as_deref().map(tidy));
    match words.filter(|words| !words.is_empty()) {
        Some(words) if answer.status == StatusCode::UNAUTHORIZED => Refusal::HookUnauthorized(words),
        Some(words) => Refusal::HookRefused(words),
        None => Refusal::Forbidden,
    }
}

/// One line of bounded length that reads as it is written: it goes into messages and close frames.
fn tidy(words: &str) -> String {
    let mut line: String = words.chars().filter(|c| !is_hidden(*c)).collect();
    line.truncate(line_end(&line, INFO_BYTES_MAX));
    line.trim().to_owned()
}
