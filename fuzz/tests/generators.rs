//! Bodies whose input is a list of actions, each on generated lists for 20 s; `make fuzz` goes on as long as
//! wanted.
//!
//! The lists follow from a seed, so a run repeats as far as the machine's speed allows.
//! `RINGVOX_GENERATE_SECONDS=3600` makes it an hour, `RINGVOX_GENERATE_SEED` another set of lists. A find is
//! printed as hex: make it a corpus file.

mod support;

use std::time::{Duration, Instant};
use support::{Numbers, corpus, run};

/// Octets of a list of actions; one action takes a few.
const ACTIONS_BYTES_MAX: usize = 4096;

fn setting(name: &str, default: u64) -> u64 {
    std::env::var(name).map_or(default, |text| text.parse().unwrap_or_else(|_| panic!("{name} is a number")))
}

/// Half of the lists are new, half are mutations of what is in the corpus.
fn generates(target: &str) {
    let (_, body) = *fuzz::TARGETS.iter().find(|(name, _)| *name == target).expect("a target");
    let corpus = corpus(target);
    let mut numbers = Numbers(setting("RINGVOX_GENERATE_SEED", 1));
    let end = Instant::now() + Duration::from_secs(setting("RINGVOX_GENERATE_SECONDS", 20));
    let mut lists = 0u64;
    while Instant::now() < end {
        let mut actions: Vec<u8>;
        if numbers.below(2) == 0 {
            actions = (0..numbers.below(ACTIONS_BYTES_MAX)).map(|_| numbers.next() as u8).collect();
        } else {
            actions = corpus[numbers.below(corpus.len())].1.clone();
            for _ in 0..1 + numbers.below(16) {
                let other = &corpus[numbers.below(corpus.len())].1;
                numbers.mutate(&mut actions, other);
            }
        }
        run(body, &actions, target);
        lists += 1;
    }
    println!("{target}: {lists} lists survived");
    assert!(lists > 0);
}

macro_rules! generators {
    ($($target:ident)*) => {
        $(#[test] fn $target() { generates(stringify!($target)); })*

        #[test]
        fn every_list_of_actions_survives() {
            assert_eq!(fuzz::ACTION_TARGETS, [$(stringify!($target)),*]);
        }
    };
}

generators! { control_order up_stream shard paths hook_and_hub }
