//! Whatever happens to an offer on its way: no panic, and an answer that is one.

use super::*;

/// Offers to derive others from, and pieces that have hurt parsers before.
const PIECES: [&str; 24] = [
    "\r\n",
    "\n",
    "\r",
    "\0",
    " ",
    ":",
    "=",
    "/",
    ";",
    "*",
    "a=",
    "m=",
    "-1",
    "0",
    "15",
    "64",
    "127",
    "128",
    "256",
    "65536",
    "4294967296",
    "99999999999999999999",
    "é",
    "a=group:BUNDLE 1 0 1",
];

/// Mutations of each fixture. Enough to hit every kind of line several times; the fuzz target does the rest.
const ROUNDS: u64 = 600;

/// xorshift64*: the same mutations at every run.
struct Random(u64);

impl Random {
    fn below(&mut self, end: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33) as usize % end.max(1)
    }

    /// A place where a string may be cut.
    fn cut(&mut self, text: &str) -> usize {
        let mut at = self.below(text.len() + 1);
        while !text.is_char_boundary(at) {
            at -= 1;
        }
        at
    }

    fn line(&mut self, text: &str) -> String {
        let lines: Vec<_> = text.split_inclusive('\n').collect();
        lines.get(self.below(lines.len())).copied().unwrap_or_default().to_owned()
    }
}

fn mutate(random: &mut Random, text: &mut String, other: &str) {
    let (a, b) = (random.cut(text), random.cut(text));
    let (from, to) = (a.min(b), a.max(b).min(a.min(b) + 200));
    let to = (from..=to).rev().find(|&to| text.is_char_boundary(to)).unwrap_or(from);
    match random.below(7) {
        0 => text.replace_range(from..to, ""),
        1 => text.insert_str(from, PIECES[random.below(PIECES.len())]),
        2 => *text = [&text[..to], &text[from..]].concat(),
        3 => text.truncate(from),
        4 => {
            let line = random.line(text);
            *text = text.replacen(&line, "", 1);
        }
        5 => {
            let line = random.line(other);
            let at = text[..from].rfind('\n').map_or(0, |at| at + 1);
            text.insert_str(at, &line);
        }
        _ => {
            // A number becomes another one: most of what an SDP says is numbers.
            if let Some(at) = text[from..].find(|c: char| c.is_ascii_digit()) {
                text.replace_range(from + at..=from + at, PIECES[12 + random.below(10)]);
            }
        }
    }
}

#[test]
fn no_mutation_of_an_offer_panics_or_yields_a_bad_answer() {
    let fixtures: Vec<_> = PUBLISH.into_iter().chain(PLAY).map(|(_, text)| text).collect();
    let mut random = Random(0x9e37_79b9_7f4a_7c15);
    let (mut parsed, mut answered) = (0, 0);
    for text in &fixtures {
        for _ in 0..ROUNDS {
            let mut text = (*text).to_owned();
            for _ in 0..=random.below(4) {
                let other = fixtures[random.below(fixtures.len())];
                mutate(&mut random, &mut text, other);
            }
            let _ = parse_ice_fragment(&text);
            let Ok(offer) = parse(&text) else { continue };
            parsed += 1;
            let published = answer_publish(&offer, &CodecPreferences::default()).ok();
            let played = answer_play(&offer, &[source(Codec::Opus), source(Codec::H264)]).ok();
            let played = played.or_else(|| answer_play(&offer, &[source(Codec::Vp8)]).ok());
            for plan in published.iter().chain(&played) {
                answered += 1;
                let answer = plan.write(&relay_side_for(plan));
                let reparsed =
                    parse(&answer).unwrap_or_else(|error| panic!("{error}\n{answer}\n-- for --\n{text}"));
                assert_eq!(reparsed.media.len(), offer.media.len());
                assert!(plan.tracks.iter().all(|track| !(64..=95).contains(&track.rtp.payload_type)));
                assert!(plan.tracks.iter().all(|track| track.rtp.mid.len() <= limits::MID_BYTES_MAX));
                write_ice_fragment(plan, &relay_side());
            }
        }
    }
    // The mutations are mild enough to get past the first line.
    assert!(parsed > 1000 && answered > 1000, "{parsed} parsed, {answered} answered");
}

#[test]
fn arbitrary_text_never_panics() {
    let mut random = Random(7);
    for _ in 0..2000 {
        let mut text = String::from("v=0\n");
        for _ in 0..random.below(200) {
            match random.below(3) {
                0 => text.push_str(PIECES[random.below(PIECES.len())]),
                1 => text.push(char::from_u32(random.below(0x3000) as u32).unwrap_or('?')),
                _ => text.push_str(&random.line(CHROMIUM_PUBLISH)),
            }
        }
        let _ = parse(&text);
        let _ = parse_ice_fragment(&text);
    }
}
