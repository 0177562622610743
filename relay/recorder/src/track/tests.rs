use super::*;
use relay_port::Priority;

/// Where the tests begin on the room clock, in milliseconds.
const BEGIN_MS: i64 = 1_790_000_000_000;

fn track(codec: Codec) -> Track {
    let (kind, clock_rate_hz) = match codec {
        Codec::Opus => (MediaKind::Audio, 48_000),
        Codec::Pcmu | Codec::Pcma => (MediaKind::Audio, 8_000),
        Codec::Vp8 | Codec::H264 => (MediaKind::Video, 90_000),
    };
    let (priority, connected, held) = (Priority::Medium, true, false);
    Track { room_id: 1, kind, codec, clock_rate_hz, priority, connected, held }
}

fn at(ms: i64) -> MediaTime {
    MediaTime::from_nanos((BEGIN_MS + ms) * MS)
}

/// A frame that is captured and received at this moment.
fn send(recorder: &mut TrackRecorder, seq: u64, ms: i64, rate_hz: i64, payload: &[u8]) {
    let timestamp = (ms * rate_hz / 1_000) as u32;
    let packet = Packet { seq, timestamp, marker: true, arrival: at(ms), ..Packet::default() };
    recorder.handle_packet(&packet, payload);
}

fn times_ms(recorder: &mut TrackRecorder) -> Vec<i64> {
    let samples = std::iter::from_fn(|| recorder.poll_sample());
    samples.map(|sample| sample.time.as_nanos() / MS - BEGIN_MS).collect()
}

#[test]
fn sound_that_is_missing_is_silence() {
    for (codec, rate_hz, payload) in [
        (Codec::Opus, 48_000, &[0x78, 1][..]),
        (Codec::Pcmu, 8_000, &[1; 160]),
        (Codec::Pcma, 8_000, &[1; 160]),
    ] {
        let mut recorder = TrackRecorder::new(&track(codec));
        for seq in (0..100u64).filter(|seq| !(40..50).contains(seq)) {
            send(&mut recorder, seq, 20 * seq as i64, rate_hz, payload);
            recorder.handle_timeout(at(20 * seq as i64));
        }
        assert_eq!(times_ms(&mut recorder), (0..100).map(|seq| 20 * seq).collect::<Vec<_>>(), "{codec:?}");
        assert_eq!(recorder.counts(), SampleCounts { samples: 90, silences: 10, overlaps: 0 });
        assert_eq!(recorder.packet_counts().packets_missing, 10);
    }
}

/// Nothing comes for ten seconds; silence goes into the file meanwhile, a second late.
#[test]
fn a_mute_track_is_silent_as_time_goes_on() {
    let mut recorder = TrackRecorder::new(&track(Codec::Opus));
    send(&mut recorder, 0, 0, 48_000, &[0x78]);
    assert_eq!(times_ms(&mut recorder), [0]);
    assert_eq!(recorder.poll_timeout(), Some(at(1_040)));
    let mut written = 20;
    for ms in (100..10_000).step_by(100) {
        recorder.handle_timeout(at(ms));
        let times = times_ms(&mut recorder);
        assert_eq!(times, (written..=(ms - 1_020).max(written - 20)).step_by(20).collect::<Vec<_>>(), "{ms}");
        written += 20 * times.len() as i64;
    }
    // It comes again: at its own time.
    send(&mut recorder, 1, 10_010, 48_000, &[0x78]);
    let times = times_ms(&mut recorder);
    assert_eq!((times.first(), times.last()), (Some(&written), Some(&10_010)));
    assert!(times.windows(2).all(|pair| pair[1] - pair[0] <= 30), "{times:?}");
}

#[test]
fn sound_that_comes_twice_is_dropped() {
    let mut recorder = TrackRecorder::new(&track(Codec::Opus));
    send(&mut recorder, 0, 0, 48_000, &[0x78]);
    for ms in (0..3_000).step_by(100) {
        recorder.handle_timeout(at(ms));
    }
    let silent = times_ms(&mut recorder).len();
    // Captured while it was silent in the file, and received two seconds later.
    for seq in 1..6u64 {
        let (timestamp, arrival) = (960 * seq as u32, at(3_000));
        let packet = Packet { seq, timestamp, marker: true, arrival, ..Packet::default() };
        recorder.handle_packet(&packet, &[0x78]);
    }
    assert_eq!(recorder.counts().overlaps, 5);
    assert_eq!((times_ms(&mut recorder).len(), silent), (0, 95));
}

#[test]
fn a_picture_stands_still_and_keyframes_are_asked_for() {
    let key = [0x10, 0x10, 2, 0, 0x9d, 0x01, 0x2a, 0x40, 0x01, 0xf0, 0x00, 7];
    let other = [0x10, 0x11, 1];
    let mut recorder = TrackRecorder::new(&track(Codec::Vp8));
    assert!(recorder.poll_keyframe(at(0), false), "it begins with one");
    assert!(!recorder.poll_keyframe(at(499), false));
    assert!(recorder.poll_keyframe(at(500), false));
    send(&mut recorder, 0, 600, 90_000, &key);
    assert!(!recorder.poll_keyframe(at(600), false));
    send(&mut recorder, 1, 640, 90_000, &other);
    // A frame is lost.
    send(&mut recorder, 3, 720, 90_000, &other);
    assert!(!recorder.poll_keyframe(at(720), false), "it may come yet");
    recorder.handle_timeout(at(970));
    assert!(recorder.poll_keyframe(at(970), false));
    send(&mut recorder, 4, 1_000, 90_000, &key);
    assert_eq!(times_ms(&mut recorder), [600, 640, 1_000]);
    assert!(!recorder.poll_keyframe(at(1_000), false));
    assert!(recorder.poll_keyframe(at(1_000), true), "whoever reads it needs one");
    assert!(!TrackRecorder::new(&track(Codec::Opus)).poll_keyframe(at(0), true));
}

#[test]
fn times_grow_whatever_the_timestamps() {
    let mut recorder = TrackRecorder::new(&track(Codec::Vp8));
    let key = [0x10, 0x10, 2, 0, 0x9d, 0x01, 0x2a, 0x40, 0x01, 0xf0, 0x00, 7];
    for (seq, ms) in [0, 40, 40, 30, 80].into_iter().enumerate() {
        send(&mut recorder, seq as u64, ms, 90_000, &key);
    }
    assert_eq!(times_ms(&mut recorder), [0, 40, 41, 42, 80]);
}

#[test]
fn a_track_that_is_opened_anew_begins_with_a_keyframe_and_its_own_numbers() {
    let key = [0x10, 0x10, 2, 0, 0x9d, 0x01, 0x2a, 0x40, 0x01, 0xf0, 0x00, 7];
    let mut recorder = TrackRecorder::new(&track(Codec::Vp8));
    send(&mut recorder, 1_000, 0, 90_000, &key);
    recorder.handle_end();
    assert!(recorder.poll_keyframe(at(10), false));
    send(&mut recorder, 5, 100, 90_000, &[0x10, 0x11, 1]);
    send(&mut recorder, 6, 140, 90_000, &key);
    assert_eq!(times_ms(&mut recorder), [0, 140]);
}

/// An hour of a publisher whose clock is 200 ppm slow, or fast.
#[test]
fn sound_is_in_time_for_who_counts_samples() {
    for (drift_ppm, silences, overlaps) in [(200, 35..=36, 0..=1), (-200, 0..=1, 35..=37)] {
        let mut recorder = TrackRecorder::new(&track(Codec::Opus));
        let (mut begin, mut frames) = (None, 0);
        for seq in 0..180_000u32 {
            let arrival = i64::from(seq) * (20_000_000 + 20 * drift_ppm);
            let arrival = MediaTime::from_nanos(at(0).as_nanos() + arrival);
            let packet =
                Packet { seq: seq.into(), timestamp: 960 * seq, marker: true, arrival, ..Packet::default() };
            recorder.handle_packet(&packet, &[0x78]);
            while let Some(sample) = recorder.poll_sample() {
                let begin = *begin.get_or_insert(sample.time.as_nanos());
                let counted = frames * 20 * MS;
                assert!((sample.time.as_nanos() - begin - counted).abs() <= 40 * MS, "{seq}");
                frames += 1;
            }
        }
        let counts = recorder.counts();
        assert!(silences.contains(&counts.silences) && overlaps.contains(&counts.overlaps), "{counts:?}");
    }
}
