//! What a run does, as plain values: who is in which room, what they send and whom they receive.

use std::time::Duration;

/// Audio or video.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Kind {
    Audio,
    Video,
}

impl Kind {
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

    /// Payload type of its retransmissions.
    pub(crate) const fn rtx_payload_type(self) -> Option<u8> {
        match self {
            Self::Audio => None,
            Self::Video => Some(97),
        }
    }
}

/// Frames of an encoder with a steady rate.
#[derive(Clone, Copy, Debug)]
pub(crate) struct VideoShape {
    pub(crate) bitrate_bps: u64,
    pub(crate) interval: Duration,
    pub(crate) payload_bytes_max: usize,
}

/// Packets of a speech encoder.
#[derive(Clone, Copy, Debug)]
pub(crate) struct AudioShape {
    pub(crate) interval: Duration,
    pub(crate) bytes_min: usize,
    pub(crate) bytes_max: usize,
}

/// The same number of equal packets at equal intervals.
#[derive(Clone, Copy, Debug)]
pub(crate) struct BurstShape {
    pub(crate) packets: usize,
    pub(crate) payload_bytes: usize,
    pub(crate) interval: Duration,
}

/// How a stream's frames look.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Shape {
    Video(VideoShape),
    Audio(AudioShape),
    Burst(BurstShape),
}

impl Shape {
    /// The same frames, `load` times as often.
    pub(crate) fn at_load(self, load: f64) -> Self {
        match self {
            Self::Video(video) => Self::Video(VideoShape {
                bitrate_bps: (video.bitrate_bps as f64 * load) as u64,
                interval: video.interval.div_f64(load),
                ..video
            }),
            Self::Audio(audio) => Self::Audio(AudioShape { interval: audio.interval.div_f64(load), ..audio }),
            Self::Burst(burst) => Self::Burst(BurstShape { interval: burst.interval.div_f64(load), ..burst }),
        }
    }
}

/// One published stream.
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

    /// The SSRC of its retransmissions.
    pub(crate) const fn rtx_ssrc(&self) -> u32 {
        self.ssrc() + 1
    }
}

/// What a client does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Role {
    Publisher,
    Subscriber,
}

/// One client: a transport that sends or receives `streams`.
#[derive(Clone, Debug)]
pub(crate) struct Member {
    pub(crate) room: u32,
    pub(crate) role: Role,
    /// Stream ids.
    pub(crate) streams: Vec<u32>,
}

/// All clients and streams.
#[derive(Clone, Debug, Default)]
pub(crate) struct Cast {
    pub(crate) members: Vec<Member>,
    pub(crate) streams: Vec<Stream>,
}

/// Sizes of the rooms.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Plan {
    pub(crate) rooms: u32,
    /// Publishers of a room.
    pub(crate) publishers: u32,
    /// Subscribers of a room.
    pub(crate) subscribers: u32,
    /// Subscriber n is publisher n's other transport: it does not receive what it sends.
    pub(crate) mesh: bool,
    /// Subscribers only connect.
    pub(crate) idle: bool,
    /// A subscriber has one transport for each publisher, because the server wants it so.
    pub(crate) one_publisher_each: bool,
    pub(crate) video: Option<Shape>,
    pub(crate) audio: Option<Shape>,
}

impl Plan {
    /// Publishers first, then subscribers round the rooms, so that all rooms grow alike.
    pub(crate) fn cast(&self) -> Cast {
        let mut cast = Cast::default();
        for room in 0..self.rooms {
            for _ in 0..self.publishers {
                cast.add_publisher(room, self);
            }
        }
        for number in 0..self.subscribers {
            for room in 0..self.rooms {
                let own = self.mesh.then_some(room * self.publishers + number);
                cast.add_subscriber(room, own, self);
            }
        }
        cast
    }
}

impl Cast {
    fn add_publisher(&mut self, room: u32, plan: &Plan) {
        let publisher = self.members.len() as u32;
        let kinds = [(Kind::Audio, plan.audio), (Kind::Video, plan.video)];
        let first = self.streams.len() as u32;
        for (kind, shape) in kinds {
            if let Some(shape) = shape {
                self.streams.push(Stream { id: self.streams.len() as u32, room, kind, shape, publisher });
            }
        }
        let streams = (first..self.streams.len() as u32).collect();
        self.members.push(Member { room, role: Role::Publisher, streams });
    }

    fn add_subscriber(&mut self, room: u32, own: Option<u32>, plan: &Plan) {
        let mine = |stream: &&Stream| stream.room == room && Some(stream.publisher) != own;
        let wanted: Vec<Stream> = self.streams.iter().filter(mine).copied().collect();
        let ids = |streams: &[Stream]| streams.iter().map(|stream| stream.id).collect();
        let mut add = |streams| self.members.push(Member { room, role: Role::Subscriber, streams });
        if plan.idle {
            add(Vec::new());
        } else if plan.one_publisher_each {
            wanted.chunk_by(|one, next| one.publisher == next.publisher).for_each(|part| add(ids(part)));
        } else {
            add(ids(&wanted));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mesh_leaves_out_ones_own() {
        let audio = AudioShape { interval: Duration::from_millis(20), bytes_min: 80, bytes_max: 120 };
        let plan = Plan {
            rooms: 2,
            publishers: 3,
            subscribers: 3,
            mesh: true,
            idle: false,
            one_publisher_each: false,
            video: None,
            audio: Some(Shape::Audio(audio)),
        };
        let cast = plan.cast();
        assert_eq!((cast.members.len(), cast.streams.len()), (12, 6));
        let subscribers: Vec<_> = cast.members[6..].iter().map(|m| (m.room, m.streams.clone())).collect();
        assert_eq!(subscribers[0], (0, vec![1, 2]));
        assert_eq!(subscribers[1], (1, vec![4, 5]));
        assert_eq!(subscribers[5], (1, vec![3, 4]));
    }

    #[test]
    fn more_load_is_the_same_frames_more_often() {
        let video = VideoShape {
            bitrate_bps: 1_500_000,
            interval: Duration::from_millis(30),
            payload_bytes_max: 1188,
        };
        let Shape::Video(doubled) = Shape::Video(video).at_load(2.0) else { panic!("another shape") };
        assert_eq!((doubled.bitrate_bps, doubled.interval), (3_000_000, Duration::from_millis(15)));
        assert_eq!(doubled.payload_bytes_max, 1188);
    }

    #[test]
    fn one_publisher_for_each_transport() {
        let audio =
            Shape::Audio(AudioShape { interval: Duration::from_millis(20), bytes_min: 80, bytes_max: 120 });
        let plan = Plan {
            rooms: 1,
            publishers: 3,
            subscribers: 2,
            mesh: true,
            idle: false,
            one_publisher_each: true,
            video: Some(audio),
            audio: Some(audio),
        };
        let cast = plan.cast();
        let subscribers: Vec<_> = cast.members[3..].iter().map(|m| m.streams.clone()).collect();
        assert_eq!(subscribers, [[2, 3], [4, 5], [0, 1], [4, 5]]);
    }
}
