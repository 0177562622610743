//! Orders about local ports. See [`crate::ports`].

use super::{ConnectionId, Kind, Pending, Router, done, refusal, shard_port};
use crate::control::placement::Ticket;
use crate::convert;
use crate::mailbox::{PipeEnds, ToShard};
use crate::pipe::pipe;
use crate::ports::{FromPorts, PortsEnd, ToPorts};
use relay_control::{
    AddSource, AddTap, Command, ErrorCode, EventBody, LABEL_BYTES_MAX, PortChanged, PortTrackEnded,
    RemoveTap, ReplyBody,
};
use relay_core::port::OpenPort;
use relay_port::{PortId, Track};

/// Why an order is refused at once.
type Refused = (ErrorCode, &'static str);

const NO_PORT: Refused = (ErrorCode::UnknownPort, "no process is connected under this name");
const FULL: Refused = (ErrorCode::LimitReached, "the process has as many taps and sources as it may");
const LONG_LABEL: Refused = (ErrorCode::LimitReached, "the label is longer than it may be");
const BUSY: Refused = (ErrorCode::Busy, "too many orders wait; retry");

impl Router {
    /// Connects the router to the ports' thread.
    pub fn serve_ports(&mut self, end: PortsEnd) {
        self.ports.end = Some(end);
    }

    /// Handles an order about local ports.
    pub(super) fn order_port(&mut self, from: ConnectionId, request_id: u64, command: Command) {
        let asked = (from, request_id);
        let refused = match command {
            Command::AddTap(c) => self.add_tap(asked, &c),
            Command::RemoveTap(c) => self.remove_tap(asked, &c),
            Command::AddSource(c) => match convert::source_track(&c) {
                Ok(track) => self.add_source(asked, c, track),
                Err(refused) => return self.reply(from, request_id, convert::error(refused)),
            },
            Command::RemoveSource(c) => self.remove_source(asked, c.track_id),
            _ => return,
        };
        if let Err((code, message)) = refused {
            self.reply(from, request_id, refusal(code, message));
        }
    }

    fn add_tap(&mut self, asked: (ConnectionId, u64), c: &AddTap) -> Result<(), Refused> {
        if c.label.len() > LABEL_BYTES_MAX {
            return Err(LONG_LABEL);
        }
        let number = self.ports.number(&c.port).ok_or(NO_PORT)?;
        let shard = self.home_of(c.track_id).ok_or((ErrorCode::UnknownTrack, "no such up-track"))?;
        if !self.connect_port(number, shard) || !self.ports.has_room(1) {
            return Err(BUSY);
        }
        let (track_id, label) = (c.track_id, c.label.clone());
        if self.ports.is_tapped(number, track_id, shard) {
            // It is sent already. If it ends at this moment, an event will say so.
            self.tell_ports(ToPorts::Label { number, track_id, label });
            self.reply(asked.0, asked.1, done());
            return Ok(());
        }
        if !self.shards[shard].has_room() {
            return Err(BUSY);
        }
        let ticket = self.last_ticket + 1;
        let since = self.ports.add_tap(number, track_id, shard, ticket).ok_or(FULL)?;
        self.last_ticket = ticket;
        self.tell_ports(ToPorts::Tap { number, track_id, shard: shard_port(shard), label });
        let order = OpenPort { track_id, to: PortId::local(number), room_id: None };
        self.shards[shard].send(ToShard::OpenPort { ticket, order });
        let kind = Kind::Tap { number, track_id, since };
        self.pending.insert(ticket, Pending { from: asked.0, request_id: asked.1, kind });
        Ok(())
    }

    /// The shard begins to send a track to a process, or refuses.
    pub(super) fn tap_answered(&mut self, (number, track_id, since): (u32, u64, Ticket), body: &ReplyBody) {
        let is_open = !matches!(body, ReplyBody::Error(_));
        // Without room `LocalPorts` keeps a tap that nothing is sent for.
        if self.ports.tap_answered(number, track_id, since, is_open) && self.ports.has_room(1) {
            self.tell_ports(ToPorts::Untap { number, track_id });
        }
    }

    fn remove_tap(&mut self, asked: (ConnectionId, u64), c: &RemoveTap) -> Result<(), Refused> {
        if !self.ports.has_room(1) {
            return Err(BUSY);
        }
        if let Some(number) = self.ports.number(&c.port).filter(|n| self.ports.remove_tap(*n, c.track_id)) {
            self.tell_ports(ToPorts::Untap { number, track_id: c.track_id });
        }
        self.reply(asked.0, asked.1, done());
        Ok(())
    }

    fn add_source(&mut self, asked: (ConnectionId, u64), c: AddSource, track: Track) -> Result<(), Refused> {
        let number = self.ports.number(&c.port).ok_or(NO_PORT)?;
        let track_id = c.track_id;
        if self.ports.source(track_id).is_some_and(|(_, same)| *same == c) {
            self.reply(asked.0, asked.1, done());
            return Ok(());
        }
        if self.home_of(track_id).is_some() {
            return Err((ErrorCode::IdInUse, "track_id is in use for something else"));
        }
        let shard = self.placement.choose_source(c.room_id);
        if !self.connect_port(number, shard) || !self.ports.has_room(1) {
            return Err(BUSY);
        }
        if !self.ports.add_source(number, shard, c) {
            return Err(FULL);
        }
        self.last_ticket += 1;
        let ticket = self.last_ticket;
        self.tell_ports(ToPorts::Source { ticket, number, track_id, shard: shard_port(shard), track });
        let kind = Kind::Source { track_id };
        self.pending.insert(ticket, Pending { from: asked.0, request_id: asked.1, kind });
        Ok(())
    }

    fn remove_source(&mut self, asked: (ConnectionId, u64), track_id: u64) -> Result<(), Refused> {
        if !self.ports.has_room(1) {
            return Err(BUSY);
        }
        if let Some(number) = self.ports.remove_source(track_id) {
            self.tell_ports(ToPorts::Unsource { number, track_id });
        }
        self.reply(asked.0, asked.1, done());
        Ok(())
    }

    /// Handles the answers and events that the ports' thread has sent.
    pub(super) fn handle_ports(&mut self) {
        while let Some(said) = self.ports.end.as_mut().and_then(PortsEnd::receive) {
            match said {
                FromPorts::Connected { number, name } => {
                    self.ports.connected(number, name.clone());
                    self.handle_event(EventBody::Port(PortChanged { port: name, connected: true }));
                }
                FromPorts::Gone { number } => {
                    if let Some(port) = self.ports.gone(number) {
                        self.handle_event(EventBody::Port(PortChanged { port, connected: false }));
                    }
                }
                FromPorts::Ended { number, track_id, source } => {
                    self.port_track_ended(number, track_id, source)
                }
                FromPorts::Answer { ticket, begins } => self.source_answered(ticket, begins),
            }
        }
        let mut leaving = std::mem::take(self.ports.leaving());
        leaving.retain(|(shard, number)| {
            !self.shards[*shard].has_room()
                || !self.shards[*shard].send(ToShard::Disconnect(PortId::local(*number)))
        });
        *self.ports.leaving() = leaving;
    }

    fn port_track_ended(&mut self, number: u32, track_id: u64, source: bool) {
        let was_there = match source {
            true => self.ports.remove_source(track_id).is_some(),
            false => self.ports.remove_tap(number, track_id),
        };
        // Else it was ended by an order that crossed this.
        if let Some(port) = self.ports.name(number).filter(|_| was_there) {
            let ended = PortTrackEnded { port: port.to_owned(), track_id, source };
            self.handle_event(EventBody::PortTrackEnded(ended));
        }
    }

    fn source_answered(&mut self, ticket: u64, begins: bool) {
        let Some(Pending { from, request_id, kind: Kind::Source { track_id } }) =
            self.pending.remove(&ticket)
        else {
            return tracing::error!(ticket, "the ports' thread answered what nobody asked");
        };
        let body = if begins {
            done()
        } else {
            self.ports.remove_source(track_id);
            refusal(NO_PORT.0, NO_PORT.1)
        };
        self.reply(from, request_id, body);
    }

    /// The shard that an up-track is on, be it a transport's or a source's.
    pub(super) fn home_of(&self, track_id: u64) -> Option<usize> {
        let source = self.ports.source(track_id).map(|(shard, _)| shard);
        source.or_else(|| self.placement.shard_of_track(track_id))
    }

    /// Makes the queues between a process and a shard, unless they are there. False: there is no room to say
    /// so.
    fn connect_port(&mut self, number: u32, shard: usize) -> bool {
        if self.ports.is_connected(number, shard) {
            return true;
        }
        if !self.shards[shard].has_room() || !self.ports.has_room(1) {
            return false;
        }
        let Some(end) = &self.ports.end else { return false };
        let (to_shard, from_port) = pipe(self.shards[shard].waker());
        let (to_port, from_shard) = pipe(end.waker());
        let ends = PipeEnds { port: shard_port(shard), to: to_shard, from: from_shard };
        self.tell_ports(ToPorts::Connect { number, ends: Box::new(ends) });
        let ends = PipeEnds { port: PortId::local(number), to: to_port, from: from_port };
        let sent = self.shards[shard].send(ToShard::Connect(Box::new(ends)));
        debug_assert!(sent, "asked before");
        self.ports.connect(number, shard);
        true
    }

    fn tell_ports(&mut self, order: ToPorts) {
        let sent = self.ports.end.as_mut().is_some_and(|end| end.send(order));
        debug_assert!(sent, "asked before");
    }
}
