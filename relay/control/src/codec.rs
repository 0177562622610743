//! Frames: a 32-bit big-endian length, then one encoded message.
//!
//! Bad input: a length over [`FRAME_BYTES_MAX`] or a body that does not decode is a [`FrameError`]; the connection
//! that sent it is closed, nothing else is touched.

use prost::Message;

/// Longest encoded message. An inventory of 10,000 transports fits.
pub const FRAME_BYTES_MAX: usize = 16 << 20;

/// Why a frame was refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FrameError {
    /// The announced length is above [`FRAME_BYTES_MAX`].
    TooLong(usize),
    /// The body is no message of the expected type.
    Malformed(String),
}

impl std::fmt::Display for FrameError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::TooLong(len) => write!(f, "control frame of {len} octets; at most {FRAME_BYTES_MAX} are allowed"),
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
#[derive(Debug, Default)]
pub struct FrameDecoder {
    buffer: Vec<u8>,
    consumed: usize,
}

impl FrameDecoder {
    /// Takes bytes as they came from the socket.
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
    pub fn next<M: Message + Default>(&mut self) -> Result<Option<M>, FrameError> {
        let rest = &self.buffer[self.consumed..];
        let Some((head, body)) = rest.split_first_chunk::<4>() else { return Ok(None) };
        let len = u32::from_be_bytes(*head) as usize;
        if len > FRAME_BYTES_MAX {
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
    use crate::{Command, GetStats, Request};

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
    fn a_length_over_the_limit_is_refused_at_once() {
        let mut decoder = FrameDecoder::default();
        decoder.push(&u32::MAX.to_be_bytes());
        assert_eq!(decoder.next::<Request>(), Err(FrameError::TooLong(u32::MAX as usize)));
    }

    #[test]
    fn garbage_is_malformed() {
        let mut decoder = FrameDecoder::default();
        decoder.push(&[0, 0, 0, 2, 0xff, 0xff]);
        assert!(matches!(decoder.next::<Request>(), Err(FrameError::Malformed(_))));
    }
}
