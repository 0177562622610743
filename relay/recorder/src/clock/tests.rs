use super::*;

const MS: i64 = 1_000_000;
/// Where a publisher's story begins on the room clock.
const BEGIN: i64 = 1_790_000_000_000 * MS;

const fn kind_of(rate_hz: u32) -> MediaKind {
    if rate_hz == 90_000 { MediaKind::Video } else { MediaKind::Audio }
}

/// SplitMix64.
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, end: i64) -> i64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ (z >> 31)) % end as u64) as i64
    }
}

/// One track of a publisher, as the recorder sees it.
struct Simulated {
    clock: TrackClock,
    rate_hz: u32,
    /// How much faster than the room clock its media clock runs.
    ppm: i64,
    first: u32,
    source: u32,
    frame_ms: i64,
    report_ms: i64,
    /// From capture to arrival: at least, and as much again at most.
    way_ms: (i64, i64),
    next_ms: i64,
}

impl Simulated {
    fn new(rate_hz: u32, ppm: i64, frame_ms: i64, way_ms: (i64, i64)) -> Self {
        let clock = TrackClock::new(kind_of(rate_hz), rate_hz);
        // Its timestamps overflow within the hour.
        let first = u32::MAX - 1_000_000;
        Self { clock, rate_hz, ppm, first, source: 0, frame_ms, report_ms: 5_000, way_ms, next_ms: 0 }
    }

    fn timestamp(&self, at_ms: i64) -> u32 {
        let ticks =
            i128::from(at_ms) * i128::from(self.rate_hz) * i128::from(1_000_000 + self.ppm) / 1_000_000_000;
        self.first.wrapping_add(ticks as u32)
    }

    /// The frame that is captured at this moment: how much later it is shown than that, in milliseconds.
    fn frame(&mut self, at_ms: i64, numbers: &mut Numbers) -> i64 {
        let arrival = BEGIN + (at_ms + self.way_ms.0 + numbers.below(self.way_ms.1 + 1)) * MS;
        let timestamp = self.timestamp(at_ms);
        let time = self.clock.time_of(self.source, timestamp, MediaTime::from_nanos(arrival));
        (time.as_nanos() - BEGIN) / MS - at_ms
    }

    /// A report of this moment. What the network adds to it is the same for all tracks of a publisher, but
    /// for a few milliseconds.
    fn report(&mut self, at_ms: i64, numbers: &mut Numbers) {
        let time = MediaTime::from_nanos(BEGIN + (at_ms + 20 + numbers.below(5)) * MS);
        self.clock.handle_report(Clock { time, timestamp: self.timestamp(at_ms) });
    }

    /// Frames and reports up to a moment; the largest and smallest error since `from_ms`.
    fn run(&mut self, from_ms: i64, until_ms: i64, reports: bool, numbers: &mut Numbers) -> (i64, i64) {
        let (mut least, mut most) = (i64::MAX, i64::MIN);
        while self.next_ms < until_ms {
            let at_ms = self.next_ms;
            if reports && at_ms % self.report_ms == self.report_ms / 2 {
                self.report(at_ms, numbers);
            }
            let error = self.frame(at_ms, numbers);
            if at_ms >= from_ms {
                (least, most) = (least.min(error), most.max(error));
            }
            self.next_ms += self.frame_ms;
        }
        (least, most)
    }
}

/// Sound and picture of one publisher, an hour long, with clocks that drift against the room's and against
/// one another.
#[test]
fn sound_and_picture_stay_within_40_ms_for_an_hour() {
    const HOUR_MS: i64 = 3_600_000;
    for (sound_ppm, picture_ppm) in [(200, -200), (-200, 200), (200, 200), (0, 0)] {
        let mut numbers = Numbers(7);
        let mut sound = Simulated::new(48_000, sound_ppm, 20, (30, 10));
        let mut picture = Simulated::new(90_000, picture_ppm, 40, (45, 60));
        picture.report_ms = 1_000;
        let mut worst = 0;
        for minute in 0..HOUR_MS / 60_000 {
            let (from, until) = (minute * 60_000, (minute + 1) * 60_000);
            // Before the first report there is what the ways differ in: less than that after a second.
            let heard = sound.run(from.max(1_000), until, true, &mut numbers);
            let seen = picture.run(from.max(1_000), until, true, &mut numbers);
            worst = worst.max((heard.1 - seen.0).abs()).max((seen.1 - heard.0).abs());
        }
        assert!(worst <= 40, "{sound_ppm} {picture_ppm}: {worst} ms");
    }
}

#[test]
fn without_reports_the_shortest_way_is_followed() {
    for ppm in [200, -200] {
        let (mut track, mut numbers) = (Simulated::new(48_000, ppm, 20, (30, 60)), Numbers(1));
        let (least, most) = track.run(5_000, 3_600_000, false, &mut numbers);
        assert!(25 <= least && most <= 40, "{ppm}: {least} to {most}");
    }
}

/// The first report comes when frames are in the file already: sound is corrected bit by bit.
#[test]
fn a_first_report_corrects_without_a_jump() {
    let (mut track, mut numbers) = (Simulated::new(48_000, 0, 20, (80, 0)), Numbers(1));
    let mut last = track.frame(0, &mut numbers);
    assert_eq!(last, 80);
    for at_ms in (20..4_000).step_by(20) {
        if at_ms == 1_000 {
            track.report(at_ms, &mut numbers);
        }
        let error = track.frame(at_ms, &mut numbers);
        assert!((0..=1).contains(&(last - error)), "{last} then {error}");
        last = error;
    }
    assert!((20..25).contains(&last), "{last}");
}

#[test]
fn a_report_before_the_first_packet_counts() {
    let (mut track, mut numbers) = (Simulated::new(90_000, 0, 40, (80, 0)), Numbers(1));
    track.report(0, &mut numbers);
    assert!((20..25).contains(&track.frame(40, &mut numbers)));
    // One of another clock does not.
    let mut track = Simulated::new(90_000, 0, 40, (80, 0));
    track.clock.handle_report(Clock { time: MediaTime::from_nanos(BEGIN), timestamp: 12_345 });
    assert_eq!(track.frame(40, &mut numbers), 80);
}

#[test]
fn after_a_pause_the_time_is_that_of_the_room() {
    let mut numbers = Numbers(1);
    for reports in [true, false] {
        // Timestamps go on while it is mute, as browsers have it, for ten minutes or for a day.
        for pause_ms in [600_000, 86_400_000] {
            let mut track = Simulated::new(48_000, 0, 20, (30, 0));
            track.run(0, 10_000, reports, &mut numbers);
            track.next_ms += pause_ms;
            let (from, until) = (track.next_ms, track.next_ms + 1_000);
            let (least, most) = track.run(from, until, reports, &mut numbers);
            assert!(20 <= least && most <= 35, "{reports} {pause_ms}: {least} to {most}");
        }
        // They stand still meanwhile.
        let mut track = Simulated::new(48_000, 0, 20, (30, 0));
        track.run(0, 10_000, reports, &mut numbers);
        track.next_ms += 60_000;
        track.first = track.first.wrapping_sub(60 * 48_000);
        let (from, until) = (track.next_ms, track.next_ms + 1_000);
        let (least, most) = track.run(from, until, reports, &mut numbers);
        assert!(0 <= least && most <= 35, "{reports}: {least} to {most}");
    }
}

#[test]
fn another_source_goes_on_where_the_one_before_stood() {
    let (mut track, mut numbers) = (Simulated::new(90_000, 0, 40, (80, 0)), Numbers(1));
    let (_, before) = track.run(10_000, 20_000, true, &mut numbers);
    (track.source, track.first) = (1, 77);
    let at_ms = track.next_ms;
    let after = track.frame(at_ms, &mut numbers);
    assert!((before - after).abs() <= 5, "{before} then {after}");
}

#[test]
fn no_numbers_make_it_panic() {
    let mut numbers = Numbers(3);
    for rate_hz in [0, 1, 90_000, u32::MAX] {
        let mut clock = TrackClock::new(kind_of(rate_hz), rate_hz);
        for _ in 0..10_000 {
            let wild = MediaTime::from_nanos([i64::MIN, -1, 0, BEGIN, i64::MAX][numbers.below(5) as usize]);
            let timestamp = numbers.below(1 << 32) as u32;
            if numbers.below(3) == 0 {
                clock.handle_report(Clock { time: wild, timestamp });
            } else {
                clock.time_of(numbers.below(2) as u32, timestamp, wild);
            }
        }
    }
}
