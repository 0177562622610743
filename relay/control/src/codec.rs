//! Frames: a 32-bit big-endian length, then one encoded message.
//!
//! Bad input: a length over [`FRAME_BYTES_MAX`] or a body that does not decode is a [`FrameError`]; the
//! connection that sent it is closed, nothing else is touched.

use prost::Message;

/// Longest encoded message. What may grow comes in pages far below it.
pub const FRAME_BYTES_MAX: usize = 16 << 20;

/// Why a frame was refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FrameError {
    /// The announced length is above the limit, which is [`FRAME_BYTES_MAX`] or less.
    TooLong(usize),
    /// The body does not decode as the expected message.
    Malformed(String),
}

impl std::fmt::Display for FrameError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::TooLong(len) => write!(
                f,
                "control frame of {len} octets is too long; {FRAME_BYTES_MAX} are allowed, fewer before Hello"
            ),
            Self::Malformed(why) => write!(f, "control frame does not decode: {why}"),
        }
    }
}

impl std::error::Error for FrameError {}

/// Appends one frame to `out`.
///
/// # Errors
/// [`FrameError::TooLong`] if the message is longer than the receiver would accept.
pub fn encode_frame<M: Message>(message: &M, out: &mut Vec<u8>) -> Result<(), FrameError> {
    let len = message.encoded_len();
    let len32 = u32::try_from(len).ok().filter(|_| len <= FRAME_BYTES_MAX).ok_or(FrameError::TooLong(len))?;
    out.extend_from_slice(&len32.to_be_bytes());
    message.encode_raw(out);
    Ok(())
}

/// Cuts a byte stream into frames.
#[derive(Debug)]
pub struct FrameDecoder {
    buffer: Vec<u8>,
    consumed: usize,
    limit: usize,
}

impl Default for FrameDecoder {
    fn default() -> Self {
        Self::with_limit(FRAME_BYTES_MAX)
    }
}

impl FrameDecoder {
    /// A decoder for peers that are not trusted with [`FRAME_BYTES_MAX`] yet.
    #[must_use]
    pub fn with_limit(limit: usize) -> Self {
        Self { buffer: Vec::new(), consumed: 0, limit: limit.min(FRAME_BYTES_MAX) }
    }

    /// Another limit, from the next frame on; never above [`FRAME_BYTES_MAX`].
    pub fn set_limit(&mut self, limit: usize) {
        self.limit = limit.min(FRAME_BYTES_MAX);
    }

    /// Appends bytes that were read from the socket.
    pub fn push(&mut self, bytes: &[u8]) {
        if self.consumed > 0 {
            self.buffer.drain(..self.consumed);
            self.consumed = 0;
        }
        self.buffer.extend_from_slice(bytes);
    }

    /// The next whole message, `None` if more bytes are needed.
    ///
    /// # Errors
    /// See [`FrameError`]; the stream cannot be used further.
    #[expect(
        clippy::should_implement_trait,
        reason = "each call chooses its message type, an iterator has one"
    )]
    pub fn next<M: Message + Default>(&mut self) -> Result<Option<M>, FrameError> {
        let rest = &self.buffer[self.consumed..];
        let Some((head, body)) = rest.split_first_chunk::<4>() else { return Ok(None) };
        let len = u32::from_be_bytes(*head) as usize;
        if len > self.limit {
            return Err(FrameError::TooLong(len));
        }
        let Some(body) = body.get(..len) else { return Ok(None) };
        let message = M::decode(body).map_err(|e| FrameError::Malformed(e.to_string()))?;
        self.consumed += 4 + len;
        Ok(Some(message))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{AddUpTrack, Command, GetStats, Priority, Request};

    fn request(id: u64) -> Request {
        Request { request_id: id, command: Some(Command::GetStats(GetStats {})) }
    }

    #[test]
    fn frames_survive_any_cut() {
        let mut bytes = Vec::new();
        for id in 1..=3 {
            encode_frame(&request(id), &mut bytes).expect("small");
        }
        for cut in 0..=bytes.len() {
            let mut decoder = FrameDecoder::default();
            let mut got = Vec::new();
            for part in [&bytes[..cut], &bytes[cut..]] {
                decoder.push(part);
                while let Some(r) = decoder.next::<Request>().expect("well formed") {
                    got.push(r.request_id);
                }
            }
            assert_eq!(got, [1, 2, 3], "cut at {cut}");
        }
    }

    #[test]
    fn a_priority_is_medium_unless_it_is_said_and_is_not_bent_into_one_that_is_known() {
        assert_eq!(Priority::try_from(AddUpTrack::default().priority), Ok(Priority::Medium));
        for priority in Priority::ALL.map(i32::from).into_iter().chain([-1, 4]) {
            let command = Command::AddUpTrack(AddUpTrack { priority, ..AddUpTrack::default() });
            let sent = Request { request_id: 1, command: Some(command) };
            let mut bytes = Vec::new();
            encode_frame(&sent, &mut bytes).expect("small");
            let mut decoder = FrameDecoder::default();
            decoder.push(&bytes);
            assert_eq!(decoder.next::<Request>(), Ok(Some(sent)));
        }
    }

    #[test]
    fn priorities_have_names() {
        for priority in Priority::ALL {
            assert_eq!(Priority::from_name(priority.name()), Some(priority));
        }
        for name in ["", "Low", "very_low", "highest"] {
            assert_eq!(Priority::from_name(name), None);
        }
    }

    #[test]
    fn a_length_over_the_limit_is_refused_at_once() {
        let mut decoder = FrameDecoder::default();
        decoder.push(&u32::MAX.to_be_bytes());
        assert_eq!(decoder.next::<Request>(), Err(FrameError::TooLong(u32::MAX as usize)));
    }

    #[test]
    fn a_lower_limit_holds_until_it_is_raised() {
        let mut bytes = Vec::new();
        let label = vec![7; 100];
        let command = Command::SetLabel(crate::SetLabel { transport_id: 1, label });
        encode_frame(&Request { request_id: 1, command: Some(command) }, &mut bytes).expect("small");
        let mut decoder = FrameDecoder::with_limit(50);
        decoder.push(&bytes);
        assert_eq!(decoder.next::<Request>(), Err(FrameError::TooLong(bytes.len() - 4)));
        decoder.set_limit(usize::MAX);
        assert!(matches!(decoder.next::<Request>(), Ok(Some(_))));
        decoder.push(&u32::MAX.to_be_bytes());
        assert!(matches!(decoder.next::<Request>(), Err(FrameError::TooLong(_))));
    }

    #[test]
    fn what_is_too_long_is_not_even_begun() {
        let mut out = Vec::new();
        let label = vec![0; FRAME_BYTES_MAX];
        let command = Command::SetLabel(crate::SetLabel { transport_id: 1, label });
        assert!(encode_frame(&Request { request_id: 1, command: Some(command) }, &mut out).is_err());
        assert_eq!(out.len(), 0);
    }

    #[test]
    fn an_empty_frame_is_a_request_without_a_command() {
        let mut decoder = FrameDecoder::default();
        decoder.push(&[0, 0, 0, 0]);
        assert_eq!(decoder.next::<Request>(), Ok(Some(Request::default())));
        assert_eq!(decoder.next::<Request>(), Ok(None));
    }

    #[test]
    fn any_bytes_end_in_a_message_or_an_error() {
        // A small generator instead of a dependency: every run sees the same bytes.
        let mut state = 0x9e37_79b9_7f4a_7c15_u64;
        for _ in 0..5_000 {
            let mut bytes = vec![0, 0, 0];
            for _ in 0..40 {
                state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                bytes.push((state >> 56) as u8);
            }
            let mut decoder = FrameDecoder::default();
            decoder.push(&bytes);
            while let Ok(Some(_)) = decoder.next::<Request>() {}
        }
    }

    #[test]
    fn garbage_is_malformed() {
        let mut decoder = FrameDecoder::default();
        decoder.push(&[0, 0, 0, 2, 0xff, 0xff]);
        assert!(matches!(decoder.next::<Request>(), Err(FrameError::Malformed(_))));
    }
}
