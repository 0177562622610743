//! What the tests of fuzz bodies share: corpora, mutations, and the words for an input that was not survived.

use std::fs;
use std::path::{Path, PathBuf};

/// Octets in which parsers' edges lie.
const EDGES: [u8; 12] = [0, 1, 3, 4, 0x0f, 0x10, 0x7f, 0x80, 0xbe, 0xf0, 0xfe, 0xff];

/// The committed inputs of a target, in order of their names.
pub(crate) fn corpus(target: &str) -> Vec<(PathBuf, Vec<u8>)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus").join(target);
    let entries = fs::read_dir(&folder).expect("every target has a corpus");
    let mut paths: Vec<_> = entries.map(|entry| entry.expect("readable").path()).collect();
    paths.sort();
    paths.into_iter().map(|path| (path.clone(), fs::read(path).expect("readable"))).collect()
}

/// Names the input that a body did not survive.
pub(crate) fn run(body: fuzz::Body, input: &[u8], what: &str) {
    let survived = std::panic::catch_unwind(|| body(input)).is_ok();
    assert!(survived, "{what} did not survive this input, make it a corpus file:\n{}", hex::encode(input));
}

/// SplitMix64: the same numbers everywhere.
pub(crate) struct Numbers(pub(crate) u64);

impl Numbers {
    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    pub(crate) fn below(&mut self, end: usize) -> usize {
        (self.next() % end.max(1) as u64) as usize
    }

    pub(crate) fn mutate(&mut self, input: &mut Vec<u8>, other: &[u8]) {
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
