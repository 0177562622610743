//! The operator's webhook: told when a recording is ready, has failed, or was mixed.
//!
//! A `POST` of JSON: `{"id","type","createdAtMs","recording","link"}`, where `type` is `recording.ready`,
//! `recording.failed` or `recording.mixed`. The header `Ringvox-Signature: t=SECONDS,v1=HEX` has the time of
//! this attempt and the HMAC-SHA256 of `SECONDS.BODY` by the secret. 2xx takes it; anything else, or nothing
//! within [`ANSWER_LIMIT`], and it comes again with growing pauses for a day, under the same `id`. Redirects
//! are not followed.
//!
//! Invariants
//! - What is to be told is on the disk until it is told or given up ([`store`]), so it outlives signaling. What
//!   ends while signaling is away is told when it is back.
//! - Of what had ended before the webhook was first set nothing is told.
//! - So many wait, and so many are under way: nobody else waits for this.

mod queue;
mod store;

use crate::config::Config;
use crate::post::Poster;
use crate::recorder::RecorderEvent;
use crate::secret_file::SecretFile;
use aws_lc_rs::hmac::{self, HMAC_SHA256};
use axum::http::HeaderName;
use queue::{Event, Fate, Queue};
use recorder_control::Recording;
use std::collections::HashSet;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime};
use store::Store;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::timeout;

/// Octets of its secret at least.
pub(crate) const SECRET_BYTES_MIN: usize = 16;
/// Events under way at a time.
const UNDER_WAY_MAX: usize = 4;
/// From the beginning of an attempt to the whole answer.
const ANSWER_LIMIT: Duration = Duration::from_secs(10);

const SIGNATURE: HeaderName = HeaderName::from_static("ringvox-signature");

/// The webhook as the settings have it.
pub(crate) struct Webhook {
    poster: Poster,
    secret: Option<SecretFile>,
    directory: PathBuf,
    /// Whether files are at `/records/`.
    serve: bool,
}

impl Webhook {
    /// `None`: there is none in the settings.
    ///
    /// # Errors
    /// In words.
    pub(crate) fn new(config: &Config) -> Result<Option<Self>, String> {
        let settings = &config.recording;
        let Some(url) = settings.webhook.clone() else { return Ok(None) };
        let poster = Poster::new(url).map_err(|why| format!("recording.webhook: {why}"))?;
        let secret = settings.webhook_secret.as_deref();
        let secret = secret.map(|path| SecretFile::new("the webhook's secret", path, SECRET_BYTES_MIN));
        let secret = secret.transpose().map_err(|why| format!("recording.webhook_secret: {why}"))?;
        let directory = config.signaling.data_dir.join("webhooks");
        Ok(Some(Self { poster, secret, directory, serve: settings.serve }))
    }

    /// What signs it: it may be renewed.
    pub(crate) fn secret(&self) -> Option<SecretFile> {
        self.secret.clone()
    }

    /// Tells until nobody tells it anything any more.
    pub(crate) async fn run(self, events: mpsc::Receiver<RecorderEvent>) {
        let directory = self.directory.clone();
        let opened = on_disk(move || Store::open(&directory)).await;
        let (store, found) = match opened {
            Ok(opened) => opened,
            Err(why) => {
                let directory = self.directory.display();
                tracing::error!("nothing is told to the webhook: {directory}: {why}");
                return;
            }
        };
        let is_first = found.done.is_none();
        let queue = Queue::resumed(found.done.unwrap_or_default(), found.waiting, now_ms());
        let (told, under_way) = (HashSet::new(), JoinSet::new());
        Teller { webhook: Arc::new(self), store, queue, is_first, told, under_way }.run(events).await;
    }

    /// One attempt.
    async fn send(&self, event: &Event) -> Result<(), String> {
        let signed =
            |secret: &SecretFile| (SIGNATURE, signature(&secret.octets(), now_ms() / 1_000, &event.body));
        let headers: Vec<_> = self.secret.iter().map(signed).collect();
        let post = self.poster.post("", &headers, event.body.clone().into());
        match timeout(ANSWER_LIMIT, post).await {
            Ok(Ok(answer)) if answer.status.is_success() => Ok(()),
            Ok(Ok(answer)) => Err(format!("it answered {}", answer.status)),
            Ok(Err(why)) => Err(why.to_string()),
            Err(_) => Err(format!("no answer within {ANSWER_LIMIT:?}")),
        }
    }

    /// Below the server's address: where the file is under the rules of `[auth]`, or else for the operator.
    fn link(&self, recording: &Recording, name: &str, is_mixed: bool) -> String {
        match (self.serve, is_mixed) {
            (true, _) => format!("/records/{name}"),
            (false, false) => format!("/api/v1/recordings/{}/file", recording.id),
            (false, true) => format!("/api/v1/recordings/{}/file?mixed=true", recording.id),
        }
    }
}

fn signature(secret: &[u8], now_s: u64, body: &str) -> String {
    let signed = hmac::sign(&hmac::Key::new(HMAC_SHA256, secret), format!("{now_s}.{body}").as_bytes());
    let hex: String = signed.as_ref().iter().map(|octet| format!("{octet:02x}")).collect();
    format!("t={now_s},v1={hex}")
}

fn now_ms() -> u64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

/// Disks may take their time.
async fn on_disk<T: Send + 'static>(work: impl FnOnce() -> io::Result<T> + Send + 'static) -> io::Result<T> {
    tokio::task::spawn_blocking(work).await.map_err(io::Error::other).and_then(|done| done)
}

struct Teller {
    webhook: Arc<Webhook>,
    store: Store,
    queue: Queue,
    /// Until the recorder has told all that there is: nothing was ever told from here.
    is_first: bool,
    /// Ids of recordings that the recorder has told since it came.
    told: HashSet<String>,
    under_way: JoinSet<(String, Result<(), String>)>,
}

impl Teller {
    async fn run(mut self, mut events: mpsc::Receiver<RecorderEvent>) {
        loop {
            while self.under_way.len() < UNDER_WAY_MAX
                && let Some(event) = self.queue.poll_due(now_ms())
            {
                let webhook = Arc::clone(&self.webhook);
                self.under_way.spawn(async move {
                    let sent = webhook.send(&event).await;
                    (event.id, sent)
                });
            }
            let is_full = self.under_way.len() >= UNDER_WAY_MAX;
            let due = self.queue.poll_timeout().filter(|_| !is_full);
            let pause = Duration::from_millis(due.unwrap_or(0).saturating_sub(now_ms()));
            tokio::select! {
                event = events.recv() => match event {
                    Some(event) => self.hear(event).await,
                    None => return,
                },
                Some(sent) = self.under_way.join_next() => {
                    if let Ok((id, sent)) = sent {
                        self.settle(&id, sent).await;
                    }
                }
                () = tokio::time::sleep(pause), if due.is_some() => {}
            }
        }
    }

    async fn hear(&mut self, event: RecorderEvent) {
        match event {
            RecorderEvent::Up => self.told.clear(),
            RecorderEvent::Recording(recording) => {
                self.told.insert(recording.id.clone());
                if self.is_first {
                    self.queue.pass_over(&recording);
                } else {
                    self.tell_of(&recording).await;
                }
            }
            RecorderEvent::Synced => {
                self.is_first = false;
                let told = &self.told;
                let done = self.queue.keep_done(|id| told.contains(id)).clone();
                let store = self.store.clone();
                self.note(on_disk(move || store.rewrite(&done)).await);
            }
            RecorderEvent::Deleted(_) | RecorderEvent::Down => {}
        }
    }

    async fn tell_of(&mut self, recording: &Recording) {
        let webhook = &self.webhook;
        let link = |name: &str, is_mixed| webhook.link(recording, name, is_mixed);
        for event in self.queue.news(now_ms(), recording, link) {
            if !self.queue.has_room() {
                tracing::error!(event.id, "the webhook takes nothing; told when the recorder starts again");
                continue;
            }
            let (store, kept) = (self.store.clone(), event.clone());
            self.note(on_disk(move || store.put(&kept)).await);
            self.queue.push(event, now_ms());
        }
    }

    async fn settle(&mut self, id: &str, sent: Result<(), String>) {
        let url = self.webhook.poster.url();
        match sent {
            Ok(()) => self.queue.told(id),
            Err(why) => match self.queue.failed(id, now_ms()) {
                Fate::Again(pause_ms) => {
                    tracing::warn!(event = id, pause_ms, "webhook {url}: {why}; it is tried again");
                    return;
                }
                Fate::GivenUp => tracing::error!(event = id, "webhook {url}: {why}; given up after a day"),
            },
        }
        let (store, id) = (self.store.clone(), id.to_owned());
        self.note(on_disk(move || store.done(&id)).await);
    }

    /// It is told all the same; after a restart perhaps again, or not at all.
    fn note(&self, kept: io::Result<()>) {
        if let Err(why) = kept {
            tracing::error!("webhook: {}: {why}", self.webhook.directory.display());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// By `printf '1700000000.{"a":1}' | openssl dgst -sha256 -hmac 0123456789abcdef`.
    #[test]
    fn a_signature_is_what_others_compute() {
        let expected = "t=1700000000,v1=9eb18f493f8ec135d9eb2dad817c369bb4e9cbfa818657897a7437c1cd8c3a23";
        assert_eq!(signature(b"0123456789abcdef", 1_700_000_000, "{\"a\":1}"), expected);
    }
}
