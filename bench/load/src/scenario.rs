//! What a run does, as plain values: who is in which room, what they send and whom they receive.

use crate::args::RunArgs;
use crate::source::Shape;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Kind {
    Audio,
    Video,
}

impl Kind {
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Audio => "audio",
            Self::Video => "video",
        }
    }

    pub(crate) const fn clock_rate_hz(self) -> u32 {
        match self {
            Self::Audio => 48_000,
            Self::Video => 90_000,
        }
    }

    pub(crate) const fn payload_type(self) -> u8 {
        match self {
            Self::Audio => 111,
            Self::Video => 96,
        }
    }

    pub(crate) const fn rtx_payload_type(self) -> Option<u8> {
        match self {
            Self::Audio => None,
            Self::Video => Some(97),
        }
    }
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct Stream {
    /// Index of all streams; stands in each mark.
    pub(crate) id: u32,
    pub(crate) room: u32,
    pub(crate) kind: Kind,
    pub(crate) shape: Shape,
    /// Client that sends it.
    pub(crate) publisher: u32,
}

impl Stream {
    /// Its SSRC: the same in every run, and of no other stream.
    pub(crate) const fn ssrc(&self) -> u32 {
        0x1000_0000 + 2 * self.id
    }

    pub(crate) const fn rtx_ssrc(&self) -> u32 {
        self.ssrc() + 1
    }
}

/// One client: a transport that sends or receives `streams`.
#[derive(Clone, Debug)]
pub(crate) struct Member {
    pub(crate) room: u32,
    /// It sends the streams; otherwise it receives them.
    pub(crate) publishes: bool,
    /// It is one of the storm: it joins during the first window.
    pub(crate) is_late: bool,
    pub(crate) streams: Vec<u32>,
}

#[derive(Clone, Debug, Default)]
pub(crate) struct Scenario {
    pub(crate) members: Vec<Member>,
    pub(crate) streams: Vec<Stream>,
}

impl Scenario {
    /// Publishers first, then subscribers round the rooms, so that all rooms grow alike. `one_publisher_each`: a subscriber has
    /// one transport for each publisher, because the server wants it so.
    pub(crate) fn new(args: &RunArgs, one_publisher_each: bool) -> Self {
        let mut scenario = Self::default();
        for room in 0..args.rooms {
            for _ in 0..args.publishers {
                scenario.add_publisher(room, args);
            }
        }
        for number in 0..args.subscribers + args.storm {
            for room in 0..args.rooms {
                scenario.add_subscriber(room, number, args, one_publisher_each);
            }
        }
        scenario
    }

    /// The ids of those members that `wanted` wants.
    pub(crate) fn ids(&self, wanted: impl Fn(&Member) -> bool) -> Vec<u32> {
        (0..).zip(&self.members).filter(|(_, member)| wanted(member)).map(|(id, _)| id).collect()
    }

    fn add_publisher(&mut self, room: u32, args: &RunArgs) {
        let publisher = self.members.len() as u32;
        let first = self.streams.len() as u32;
        for kind in [Kind::Audio, Kind::Video] {
            if let Some(shape) = args.shape(kind) {
                self.streams.push(Stream { id: self.streams.len() as u32, room, kind, shape, publisher });
            }
        }
        let streams = (first..self.streams.len() as u32).collect();
        self.members.push(Member { room, publishes: true, is_late: false, streams });
    }

    fn add_subscriber(&mut self, room: u32, number: u32, args: &RunArgs, one_publisher_each: bool) {
        let is_late = number >= args.subscribers;
        let is_idle = args.idle || is_late && args.storm_idle;
        let own = args.mesh.then_some(room * args.publishers + number);
        let is_wanted = |stream: &&Stream| stream.room == room && Some(stream.publisher) != own && !is_idle;
        let wanted: Vec<Stream> = self.streams.iter().filter(is_wanted).copied().collect();
        let ids = |streams: &[Stream]| streams.iter().map(|stream| stream.id).collect();
        let mut add = |streams| self.members.push(Member { room, publishes: false, is_late, streams });
        if one_publisher_each && !is_idle {
            wanted.chunk_by(|one, next| one.publisher == next.publisher).for_each(|part| add(ids(part)));
        } else {
            add(ids(&wanted));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::args::{Action, Cli};
    use clap::Parser;

    fn scenario(flags: &str, one_publisher_each: bool) -> Scenario {
        let words = ["ringvox-load", "run"].into_iter().chain(flags.split(' '));
        let Action::Run(args) = Cli::parse_from(words).command else { panic!("another command") };
        Scenario::new(&args, one_publisher_each)
    }

    #[test]
    fn a_mesh_leaves_out_ones_own() {
        let flags = "--rooms 2 --publishers 3 --subscribers 3 --mesh --media audio";
        let scenario = scenario(flags, false);
        assert_eq!((scenario.members.len(), scenario.streams.len()), (12, 6));
        let subscribers = scenario.members[6..].iter().map(|m| (m.room, m.streams.clone()));
        let subscribers: Vec<_> = subscribers.collect();
        assert_eq!(subscribers[0], (0, vec![1, 2]));
        assert_eq!(subscribers[1], (1, vec![4, 5]));
        assert_eq!(subscribers[5], (1, vec![3, 4]));
    }

    #[test]
    fn one_publisher_for_each_transport() {
        let scenario = scenario("--publishers 3 --subscribers 2 --mesh --media both", true);
        let subscribers: Vec<_> = scenario.members[3..].iter().map(|m| m.streams.clone()).collect();
        assert_eq!(subscribers, [[2, 3], [4, 5], [0, 1], [4, 5]]);
    }

    #[test]
    fn a_storm_comes_late_and_may_receive_nothing() {
        let scenario = scenario("--subscribers 1 --storm 2 --storm-idle", false);
        let members: Vec<_> = scenario.members.iter().map(|m| (m.is_late, m.streams.len())).collect();
        assert_eq!(members, [(false, 1), (false, 1), (true, 0), (true, 0)]);
        assert_eq!(scenario.ids(|member| member.is_late), [2, 3]);
    }
}
