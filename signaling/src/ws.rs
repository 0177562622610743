//! WebSockets of clients: text in, text out, limits on both.
//!
//! Reading is paced by a token bucket: a flood waits in the sender's own socket and costs the others nothing.
//! Writing has a queue of bounded size and a deadline for each 64 KiB: a reader that does not read is cut off
//! with 1008. Every few seconds goes a ping of the WebSocket, which browsers answer whatever their page does:
//! whoever answers none of three is gone, though TCP has not noticed. The two directions are apart, so a
//! client that is slow to read is still heard.

use crate::auth::ClientAccess;
use crate::edge::{App, Input};
use crate::forwarded::ClientAddress;
use crate::id::ConnectionId;
use crate::message::ClientMessage;
use crate::places::{NoPlace, Place};
use crate::send_queue::{Outgoing, SendQueue, SendQueueEnd};
use axum::body::Bytes;
use axum::extract::ws::{CloseFrame, Message, WebSocket, WebSocketUpgrade};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use futures_util::stream::{SplitSink, SplitStream, Stream};
use futures_util::{SinkExt, StreamExt};
use std::borrow::Cow;
use std::net::IpAddr;
use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError};
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::time::{Instant, MissedTickBehavior, timeout};
use tungstenite::error::{CapacityError, Error as WsError, ProtocolError};

/// How long the closing handshake may take.
const CLOSE_LIMIT: Duration = Duration::from_secs(1);

/// `signaling.send_timeout_ms` is for so much of a message: a client that reads slowly reads a large room, too.
const MESSAGE_BYTES: usize = 64 << 10;

/// A client is asked so often for a sign of life before it is taken for gone.
const PINGS: u32 = 3;

/// What takes no longer is not worth telling the hub.
const SHORT: Duration = Duration::from_millis(100);

/// Seconds of the sustained rate that may come at once.
const BURST_SECONDS: u32 = 2;

/// Answers an upgrade request, whatever its path: real deployments put a proxy in front.
pub(crate) fn upgrade(
    app: Arc<App>,
    headers: &HeaderMap,
    client: ClientAddress,
    upgrade: WebSocketUpgrade,
) -> Response {
    if !app.origin_allowed(headers) {
        return (StatusCode::FORBIDDEN, "This origin is not in signaling.allowed_origins").into_response();
    }
    let limits = &app.config.signaling;
    let place = match app.web_sockets.take(client.counted) {
        Ok(place) => place,
        Err(why) => {
            note_refusal(&app, why, client.ip);
            let retry = [(header::RETRY_AFTER, HeaderValue::from_static("5"))];
            return (StatusCode::SERVICE_UNAVAILABLE, retry, "Too many connections").into_response();
        }
    };
    upgrade
        .max_message_size(limits.message_bytes_max)
        .max_frame_size(limits.message_bytes_max)
        .on_upgrade(move |socket| serve(app, socket, client, place))
}

fn note_refusal(app: &App, why: NoPlace, ip: IpAddr) {
    let mut refused = app.refused_web_sockets.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(count) = refused.note(app.started.elapsed()) {
        tracing::warn!(count, last = %ip, "WebSockets refused: {why}");
    }
}

async fn serve(app: Arc<App>, socket: WebSocket, client: ClientAddress, _place: Place) {
    let id = ConnectionId(app.next_connection.fetch_add(1, Ordering::Relaxed));
    tracing::debug!(connection = id.0, client = %client.ip, "a WebSocket is opened");
    let (send_queue, inbox) = SendQueue::new();
    if app.inputs.send(Input::Connected(id, send_queue.clone(), client.counted)).await.is_err() {
        return;
    }
    let (sink, mut stream) = socket.split();
    let limits = &app.config.signaling;
    let pace = WritePace { message: limits.send_timeout, ping: limits.socket_silence / PINGS };
    let mut writer = tokio::spawn(write(sink, inbox, pace, (app.inputs.clone(), id)));
    // Whichever ends first; a handle that has said so must not be asked again.
    let (ended, writer) = tokio::select! {
        ended = read(&app, (id, client.ip), &mut stream) => (ended, Some(writer)),
        _ = &mut writer => (ReadEnd::Lost, None),
    };
    match ended {
        ReadEnd::Offence(code, reason) => send_queue.close(code, reason),
        // Its way back may be open still, or open again before TCP gives up.
        ReadEnd::Silent => send_queue.close(1001, "No answer to a ping"),
        ReadEnd::Clean | ReadEnd::Lost => {}
    }
    drop(send_queue);
    let clean = matches!(ended, ReadEnd::Clean | ReadEnd::Offence(..));
    let _ = app.inputs.send(Input::Closed(id, clean)).await;
    match writer {
        Some(mut writer) => {
            if timeout(CLOSE_LIMIT, &mut writer).await.is_err() {
                writer.abort();
            }
        }
        // We closed. The client's own close frame makes it a clean end for both.
        None => {
            let _ = timeout(CLOSE_LIMIT, async { while let Some(Ok(_)) = stream.next().await {} }).await;
        }
    }
}

/// How reading ended.
#[derive(Debug, PartialEq, Eq)]
enum ReadEnd {
    /// The client sent a close frame.
    Clean,
    /// The connection broke.
    Lost,
    /// Nothing came for `signaling.socket_silence_ms`, not even an answer to a ping.
    Silent,
    /// The client broke the rules; this is what it is told.
    Offence(u16, &'static str),
}

async fn read(app: &App, (id, from): (ConnectionId, IpAddr), stream: &mut SplitStream<WebSocket>) -> ReadEnd {
    let limits = &app.config.signaling;
    let mut messages = Bucket::new(limits.messages_per_second);
    let mut bytes = Bucket::new(limits.bytes_per_second);
    let mut access = ClientAccess::new(id, from);
    loop {
        let Some(next) = next_heard(stream, limits.socket_silence).await else { return ReadEnd::Silent };
        let (input, length) = match next {
            None => return ReadEnd::Lost,
            Some(Err(error)) => return offence(error),
            Some(Ok(Message::Close(_))) => {
                // Reading on is what sends the answering close frame (RFC 6455 §5.5.1).
                let _ = timeout(CLOSE_LIMIT, stream.next()).await;
                return ReadEnd::Clean;
            }
            Some(Ok(Message::Text(text))) => {
                let message = match ClientMessage::parse(&text) {
                    Ok(message) => {
                        let verdict = app.access.authorize(&mut access, &text, &message);
                        let verdict = away(&app.inputs, id, verdict).await;
                        Ok((message, verdict))
                    }
                    Err(malformed) => Err(malformed),
                };
                (Some(Input::Message(id, message)), text.len())
            }
            // The protocol has no binary messages; pings are answered by the layer below. All of them are
            // signs of life.
            Some(Ok(Message::Binary(payload) | Message::Ping(payload) | Message::Pong(payload))) => {
                (Some(Input::Heard(id)), payload.len())
            }
        };
        if let Some(input) = input
            && app.inputs.send(input).await.is_err()
        {
            return ReadEnd::Lost;
        }
        let pay = async {
            messages.pay(1).await;
            bytes.pay(length).await;
        };
        away(&app.inputs, id, pay).await;
    }
}

/// Does what may take long. Nothing is read meanwhile, so the hub is told that it hears no answer to a ping.
async fn away<T>(inputs: &mpsc::Sender<Input>, id: ConnectionId, work: impl Future<Output = T>) -> T {
    tokio::pin!(work);
    if let Ok(done) = timeout(SHORT, &mut work).await {
        return done;
    }
    // If nobody takes it, the next input says so.
    let _ = inputs.send(Input::Listens(id, false)).await;
    let done = work.await;
    let _ = inputs.send(Input::Listens(id, true)).await;
    done
}

/// What comes next; `None`: the client has answered no ping for so long. Only what is waited for counts: how
/// fast we read is our own choice. And only the pings count that went, so that a pause of this process (a
/// machine that is moved, or sleeps) is one interval, however long it was.
async fn next_heard<T>(stream: &mut (impl Stream<Item = T> + Unpin), silence: Duration) -> Option<Option<T>> {
    for _ in 0..PINGS {
        if let Ok(next) = timeout(silence / PINGS, stream.next()).await {
            return Some(next);
        }
    }
    None
}

fn offence(error: axum::Error) -> ReadEnd {
    let Ok(error) = error.into_inner().downcast::<WsError>() else { return ReadEnd::Lost };
    match *error {
        WsError::Capacity(CapacityError::MessageTooLong { .. }) => ReadEnd::Offence(1009, "Message too long"),
        WsError::Utf8(_) => ReadEnd::Offence(1007, "Text is not UTF-8"),
        WsError::Protocol(ProtocolError::ResetWithoutClosingHandshake) => ReadEnd::Lost,
        WsError::Protocol(_) => ReadEnd::Offence(1002, "Protocol error"),
        _ => ReadEnd::Lost,
    }
}

async fn write(
    mut sink: SplitSink<WebSocket, Message>,
    mut inbox: SendQueueEnd,
    pace: WritePace,
    (inputs, id): (mpsc::Sender<Input>, ConnectionId),
) {
    let mut ping = tokio::time::interval_at(Instant::now() + pace.ping, pace.ping);
    ping.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        let (outgoing, ours) = tokio::select! {
            outgoing = inbox.receiver.recv() => (outgoing, false),
            _ = ping.tick() => (Some(Outgoing::Ping), true),
        };
        let (message, counted) = match outgoing {
            None => return,
            Some(Outgoing::Close(code, reason)) => return close(&mut sink, code, reason).await,
            Some(Outgoing::Ping) => (Message::Ping(Bytes::new()), None),
            Some(Outgoing::Text(text)) => counted(text, false),
            Some(Outgoing::State(text)) => counted(text, true),
        };
        let limit = pace.limit(counted.map_or(0, |(bytes, _)| bytes));
        let sent = timeout(limit, sink.send(message)).await;
        if let Some((bytes, is_state)) = counted {
            inbox.note_sent(bytes, is_state);
        }
        match sent {
            Ok(Ok(())) if counted.is_none() && !ours => {
                // Who stops is not asked any more, but what is queued still goes out.
                let _ = inputs.send(Input::Pinged(id)).await;
            }
            Ok(Ok(())) => {}
            Ok(Err(_)) => return,
            Err(_) => return close(&mut sink, 1008, "Does not read".into()).await,
        }
    }
}

fn counted(text: String, is_state: bool) -> (Message, Option<(usize, bool)>) {
    let bytes = text.len();
    (Message::Text(text.into()), Some((bytes, is_state)))
}

/// How long a client may take for what it is sent, and how often it is asked for a sign of life.
#[derive(Clone, Copy)]
struct WritePace {
    /// For [`MESSAGE_BYTES`] of a message.
    message: Duration,
    ping: Duration,
}

impl WritePace {
    /// For a message of so many octets.
    fn limit(self, bytes: usize) -> Duration {
        let parts = u32::try_from(bytes.div_ceil(MESSAGE_BYTES)).unwrap_or(u32::MAX);
        self.message.saturating_mul(parts.max(1))
    }
}

async fn close(sink: &mut SplitSink<WebSocket, Message>, code: u16, reason: Cow<'static, str>) {
    let frame = CloseFrame { code, reason: reason.into_owned().into() };
    let _ = timeout(CLOSE_LIMIT, sink.send(Message::Close(Some(frame)))).await;
}

/// Paces a reader: `rate` messages or bytes a second, [`BURST_SECONDS`] of them at once. What is more is read
/// and then paid for by waiting.
struct Bucket {
    rate: f64,
    burst: f64,
    tokens: f64,
    at: Instant,
}

impl Bucket {
    fn new(rate: u32) -> Self {
        let burst = f64::from(rate) * f64::from(BURST_SECONDS);
        Self { rate: f64::from(rate), burst, tokens: burst, at: Instant::now() }
    }

    /// How long to wait before going on, after this much.
    #[allow(clippy::cast_precision_loss, reason = "a message is far smaller than 2^52 bytes")]
    fn debt(&mut self, now: Instant, much: usize) -> Duration {
        let refill = now.saturating_duration_since(self.at).as_secs_f64() * self.rate;
        self.tokens = (self.tokens + refill).min(self.burst) - much as f64;
        self.at = now;
        Duration::from_secs_f64((-self.tokens / self.rate).max(0.0))
    }

    async fn pay(&mut self, much: usize) {
        let debt = self.debt(Instant::now(), much);
        if !debt.is_zero() {
            tokio::time::sleep(debt).await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A machine that is moved, or sleeps: its own pause is not the silence of its clients.
    #[tokio::test(start_paused = true)]
    async fn a_pause_of_ours_is_no_silence() {
        let silence = Duration::from_secs(14);
        let (heard, inbox) = tokio::sync::mpsc::channel::<u8>(1);
        let mut stream = Box::pin(futures_util::stream::unfold(inbox, |mut inbox| async move {
            inbox.recv().await.map(|one| (one, inbox))
        }));
        let waiting = async { (next_heard(&mut stream, silence).await, stream) };
        let (heard_after_pause, mut stream) = tokio::join!(waiting, async {
            tokio::time::advance(Duration::from_secs(600)).await;
            // The ping that was due goes, and is answered.
            tokio::time::sleep(Duration::from_secs(4)).await;
            heard.send(1).await.expect("it is waited for");
        })
        .0;
        assert_eq!(heard_after_pause, Some(Some(1)));
        let begun = Instant::now();
        assert_eq!(next_heard(&mut stream, silence).await, None);
        assert!((silence..silence + Duration::from_secs(1)).contains(&begun.elapsed()));
        drop(heard);
        assert_eq!(next_heard(&mut stream, silence).await, Some(None));
    }

    #[tokio::test]
    async fn the_hub_hears_when_a_socket_is_not_read() {
        let (inputs, mut hub) = mpsc::channel(4);
        let id = ConnectionId(1);
        assert_eq!(away(&inputs, id, async { 7 }).await, 7);
        assert!(hub.try_recv().is_err(), "not worth telling");
        let (decide, decision) = tokio::sync::oneshot::channel::<u8>();
        let reader = tokio::spawn(async move { away(&inputs, id, decision).await });
        assert!(matches!(hub.recv().await, Some(Input::Listens(of, false)) if of == id));
        decide.send(8).expect("it waits");
        assert!(matches!(hub.recv().await, Some(Input::Listens(of, true)) if of == id));
        assert_eq!(reader.await.expect("no panic"), Ok(8));
    }

    #[test]
    fn the_bucket_lets_a_burst_pass_and_then_paces() {
        let start = Instant::now();
        let mut bucket = Bucket { at: start, ..Bucket::new(10) };
        for _ in 0..20 {
            assert_eq!(bucket.debt(start, 1), Duration::ZERO);
        }
        assert_eq!(bucket.debt(start, 1).as_millis(), 100);
        assert_eq!(bucket.debt(start, 1).as_millis(), 200);
        assert_eq!(bucket.debt(start + Duration::from_secs(1), 1), Duration::ZERO);
    }
}
