//! What is sent along a link: sound always, a picture as the estimate allows.

use super::link::Dice;

/// Octets of a packet of sound on the wire, one each 20 ms: 56 kbit/s.
const SOUND_OCTETS: usize = 140;
const SOUND_EVERY_US: i64 = 20_000;
const SOUND_BPS: u64 = 56_000;
const FRAME_EVERY_US: i64 = 33_333;
/// Octets of a packet of a picture on the wire.
const PACKET_OCTETS: usize = 1_200;
/// A publisher sends a frame at this many times its rate.
const PACED: i64 = 2;
/// A keyframe is as long as so many frames.
const KEYFRAME: usize = 6;
/// The layers of a camera.
const LAYERS_BPS: [u64; 4] = [100_000, 300_000, 800_000, 2_000_000];
/// A higher layer after so much time in one that is lower, a lower one after so much time in which the
/// estimate was below that which is sent.
const UP_AFTER_US: i64 = 1_000_000;
const DOWN_AFTER_US: i64 = 200_000;

/// With a queue of this length frames are dropped, until it is as short as that.
const DROP_FROM_US: i64 = 150_000;
const DROP_UNTIL_US: i64 = 30_000;

/// How a picture is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Picture {
    /// At any rate: an encoder that is told what its viewer can take.
    AnyRate,
    /// One of four layers, or none.
    Layers,
}

/// See the module.
pub(super) struct Source {
    picture: Picture,
    dice: Dice,
    sound_at_us: i64,
    frame_at_us: i64,
    /// Of the frame that is being sent.
    left_octets: usize,
    packet_at_us: i64,
    packet_every_us: i64,
    layer: Option<usize>,
    since_us: i64,
    fitted_us: i64,
    drops: bool,
}

impl Source {
    pub(super) fn new(picture: Picture, seed: u64) -> Self {
        Self {
            picture,
            dice: Dice::new(seed),
            sound_at_us: 0,
            frame_at_us: 0,
            left_octets: 0,
            packet_at_us: 0,
            packet_every_us: 0,
            layer: None,
            since_us: 0,
            fitted_us: 0,
            drops: false,
        }
    }

    /// What it sends if the link carries it.
    pub(super) fn wanted_bps() -> u64 {
        SOUND_BPS + LAYERS_BPS[3]
    }

    /// What of a link's rate it could use.
    pub(super) fn usable_bps(&self, link_bps: f64) -> f64 {
        let picture = link_bps - SOUND_BPS as f64;
        let fits = |bps: &&u64| **bps as f64 <= picture;
        let picture = match self.picture {
            Picture::AnyRate => picture.clamp(0.0, LAYERS_BPS[3] as f64),
            Picture::Layers => LAYERS_BPS.iter().rev().find(fits).map_or(0.0, |bps| *bps as f64),
        };
        picture + (SOUND_BPS as f64).min(link_bps)
    }

    /// The lengths of packets that are sent now.
    pub(super) fn packets(
        &mut self,
        now_us: i64,
        (estimate_bps, target_bps): (u64, u64),
        queue_us: i64,
        out: &mut Vec<usize>,
    ) {
        if now_us >= self.sound_at_us {
            self.sound_at_us += SOUND_EVERY_US;
            out.push(SOUND_OCTETS);
        }
        if now_us >= self.frame_at_us && self.left_octets == 0 {
            self.frame_at_us = now_us + FRAME_EVERY_US;
            let bps = if self.picture == Picture::Layers { estimate_bps } else { target_bps };
            self.begin_frame(now_us, bps.saturating_sub(SOUND_BPS), queue_us);
        }
        while self.left_octets > 0 && now_us >= self.packet_at_us {
            let octets = self.left_octets.min(PACKET_OCTETS);
            self.left_octets -= octets;
            self.packet_at_us += self.packet_every_us;
            out.push(octets);
        }
    }

    fn begin_frame(&mut self, now_us: i64, picture_bps: u64, queue_us: i64) {
        let (bps, keyframe) = match self.picture {
            Picture::AnyRate => {
                (if picture_bps < LAYERS_BPS[0] / 2 { 0 } else { picture_bps.min(LAYERS_BPS[3]) }, false)
            }
            Picture::Layers => self.choose(now_us, picture_bps),
        };
        // What does not fit is dropped as whole frames, and a picture goes on with a keyframe.
        self.drops |= queue_us > DROP_FROM_US;
        let resumes = self.drops && queue_us <= DROP_UNTIL_US;
        if self.picture == Picture::Layers && self.drops && !resumes {
            return;
        }
        self.drops = false;
        let keyframe = keyframe || (self.picture == Picture::Layers && resumes);
        let mean = (bps as i64 * FRAME_EVERY_US / 8_000_000) as usize;
        let octets = mean * (80 + self.dice.below(41) as usize) / 100;
        self.left_octets = if keyframe { octets * KEYFRAME } else { octets };
        self.packet_at_us = now_us;
        self.packet_every_us = PACKET_OCTETS as i64 * 8_000_000 / (bps.max(1) as i64 * PACED);
    }

    /// The rate of the layer that is sent, and whether it is another one than before.
    fn choose(&mut self, now_us: i64, picture_bps: u64) -> (u64, bool) {
        let fits = LAYERS_BPS.iter().rposition(|bps| *bps <= picture_bps);
        if fits >= self.layer {
            self.fitted_us = now_us;
        }
        let waits_us = if fits > self.layer { now_us - self.since_us } else { now_us - self.fitted_us };
        let after_us = if fits > self.layer { UP_AFTER_US } else { DOWN_AFTER_US };
        let next = if waits_us >= after_us { fits } else { self.layer };
        let changes = next != self.layer;
        if changes {
            (self.layer, self.since_us) = (next, now_us);
        }
        (next.map_or(0, |layer| LAYERS_BPS[layer]), changes)
    }
}
