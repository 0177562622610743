//! A controller's connection that asks and waits, for tools and tests; signaling's own never waits.

use crate::{Command, FrameDecoder, FromRelay, Outgoing, ReplyBody, Request, encode_frame};
use std::collections::BTreeMap;
use std::io::{self, ErrorKind, Read, Write};
use std::os::unix::net::UnixStream;

/// See the module.
#[derive(Debug)]
pub struct Connection {
    stream: UnixStream,
    decoder: FrameDecoder,
    last_request: u64,
}

impl Connection {
    /// Over a stream whose timeouts say how long an answer is waited for.
    pub fn new(stream: UnixStream) -> Self {
        Self { stream, decoder: FrameDecoder::default(), last_request: 0 }
    }

    /// Sends a command and waits for its answer; events that come meanwhile are dropped.
    ///
    /// # Errors
    /// The relay hung up, does not answer in time, or says what nobody understands.
    pub fn call(&mut self, command: Command) -> io::Result<ReplyBody> {
        let reply = self.call_all([command])?.pop();
        reply.ok_or_else(|| io::Error::other("no answer"))
    }

    /// Sends commands in one piece, then waits for all answers, which are in the order of the commands.
    ///
    /// # Errors
    /// As [`Self::call`].
    pub fn call_all(&mut self, commands: impl IntoIterator<Item = Command>) -> io::Result<Vec<ReplyBody>> {
        let (mut bytes, first) = (Vec::new(), self.last_request + 1);
        for command in commands {
            self.last_request += 1;
            let request = Request { request_id: self.last_request, command: Some(command) };
            encode_frame(&request, &mut bytes).map_err(io::Error::other)?;
        }
        self.stream.write_all(&bytes)?;
        let mut replies = BTreeMap::new();
        while (replies.len() as u64) < self.last_request + 1 - first {
            if let Outgoing::Reply(reply) = self.next_message()? {
                let body = reply.body.ok_or_else(|| io::Error::other("an empty answer"))?;
                replies.insert(reply.request_id, body);
            }
        }
        Ok(replies.into_values().collect())
    }

    fn next_message(&mut self) -> io::Result<Outgoing> {
        let mut chunk = [0; 16 << 10];
        loop {
            if let Some(message) = self.decoder.next::<FromRelay>().map_err(io::Error::other)? {
                return message.outgoing.ok_or_else(|| io::Error::other("an empty message"));
            }
            match self.stream.read(&mut chunk) {
                Ok(0) => return Err(ErrorKind::UnexpectedEof.into()),
                Ok(len) => self.decoder.push(&chunk[..len]),
                Err(why) if why.kind() == ErrorKind::Interrupted => {}
                Err(why) => return Err(why),
            }
        }
    }

    /// Drops what the relay has said unasked.
    ///
    /// # Errors
    /// What it says is not understood, or the stream does not do without waiting.
    pub fn drain(&mut self) -> io::Result<()> {
        let mut chunk = [0; 16 << 10];
        self.stream.set_nonblocking(true)?;
        while let Ok(len @ 1..) = self.stream.read(&mut chunk) {
            self.decoder.push(&chunk[..len]);
            while self.decoder.next::<FromRelay>().map_err(io::Error::other)?.is_some() {}
        }
        self.stream.set_nonblocking(false)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Done, Event, GetStats, Reply};

    #[test]
    fn answers_are_in_the_order_of_the_commands() {
        let (ours, mut relays) = UnixStream::pair().expect("a pair");
        let mut bytes = Vec::new();
        let reply = |request_id, body| Outgoing::Reply(Reply { request_id, body: Some(body) });
        let stats = ReplyBody::Stats(crate::Stats::default());
        let done = ReplyBody::Done(Done {});
        let said = [Outgoing::Event(Event::default()), reply(2, stats.clone()), reply(1, done.clone())];
        for outgoing in said {
            encode_frame(&FromRelay { outgoing: Some(outgoing) }, &mut bytes).expect("short");
        }
        relays.write_all(&bytes).expect("room");
        let mut connection = Connection::new(ours);
        let ask = || Command::GetStats(GetStats {});
        assert_eq!(connection.call_all([ask(), ask()]).expect("two answers"), [done, stats]);
        assert_eq!(connection.call_all([]).expect("none"), []);
        drop(relays);
        assert!(connection.call(ask()).is_err());
    }
}
