//! Every body over its committed corpus, and over mutations of it that are the same on every machine.

use std::fs;
use std::path::{Path, PathBuf};

/// Mutated inputs for each file of a corpus: enough to try every octet of most, few enough for a debug build.
const MUTATIONS: usize = 1500;
/// Octets in which parsers' edges lie.
const EDGES: [u8; 12] = [0, 1, 3, 4, 0x0f, 0x10, 0x7f, 0x80, 0xbe, 0xf0, 0xfe, 0xff];

fn corpus(target: &str) -> Vec<(PathBuf, Vec<u8>)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus").join(target);
    let entries = fs::read_dir(&folder).expect("every target has a corpus");
    let mut paths: Vec<_> = entries.map(|entry| entry.expect("readable").path()).collect();
    paths.sort();
    paths.into_iter().map(|path| (path.clone(), fs::read(path).expect("readable"))).collect()
}

/// Names the input that a body did not survive.
fn run(body: fuzz::Body, input: &[u8], what: &str) {
    let survived = std::panic::catch_unwind(|| body(input)).is_ok();
    assert!(survived, "{what} did not survive this input, make it a corpus file:\n{}", hex::encode(input));
}

/// SplitMix64: the same numbers everywhere.
struct Numbers(u64);

impl Numbers {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, end: usize) -> usize {
        (self.next() % end.max(1) as u64) as usize
    }

    fn mutate(&mut self, input: &mut Vec<u8>, other: &[u8]) {
        let at = self.below(input.len());
        let edge = EDGES[self.below(EDGES.len())];
        match self.below(7) {
            0 if !input.is_empty() => input[at] ^= 1 << self.below(8),
            1 if !input.is_empty() => input[at] = edge,
            2 if !input.is_empty() => input[at] = input[at].wrapping_add(self.next() as u8),
            3 => input.truncate(at),
            4 => input.insert(at, edge),
            5 => {
                let run = input[at..].iter().copied().take(1 + self.below(16)).collect::<Vec<_>>();
                input.splice(at..at, run);
            }
            _ => {
                input.truncate(at);
                input.extend(&other[self.below(other.len())..]);
            }
        }
    }
}

fn survives(target: &str) {
    let (_, body) = *fuzz::TARGETS.iter().find(|(name, _)| *name == target).expect("a target");
    let corpus = corpus(target);
    assert!(!corpus.is_empty());
    run(body, &[], target);
    let mut numbers = Numbers(0x5eed);
    for (path, seed) in &corpus {
        run(body, seed, &path.display().to_string());
        for _ in 0..MUTATIONS {
            let other = &corpus[numbers.below(corpus.len())].1;
            let mut input = seed.clone();
            for _ in 0..1 + numbers.below(4) {
                numbers.mutate(&mut input, other);
            }
            run(body, &input, target);
        }
    }
}

macro_rules! targets {
    ($($target:ident)*) => {
        $(#[test] fn $target() { survives(stringify!($target)); })*

        #[test]
        fn every_target_is_tested() {
            let tested = [$(stringify!($target)),*];
            assert!(fuzz::TARGETS.iter().map(|(name, _)| *name).eq(tested));
        }
    };
}

targets! { stun rtp rtcp srtp_open gcm_seal sdp websocket_message control_frame }
