//! Bodies whose input is a story (a list of actions), each on made-up stories for a minute.
//!
//! The stories follow from a seed, so a run repeats as far as the machine's speed allows. `RINGVOX_GENERATE_SECONDS=3600`
//! makes it an hour, `RINGVOX_GENERATE_SEED` another set of stories. A find is printed as hex: make it a corpus file.

mod support;

use std::time::{Duration, Instant};
use support::{Numbers, corpus, run};

/// Octets of a story; one action takes a few.
const STORY_BYTES_MAX: usize = 4096;

fn setting(name: &str, default: u64) -> u64 {
    std::env::var(name).map_or(default, |text| text.parse().unwrap_or_else(|_| panic!("{name} is a number")))
}

/// Half of the stories are new, half are mutations of what is in the corpus.
fn generates(target: &str) {
    let (_, body) = *fuzz::TARGETS.iter().find(|(name, _)| *name == target).expect("a target");
    let corpus = corpus(target);
    let mut numbers = Numbers(setting("RINGVOX_GENERATE_SEED", 1));
    let end = Instant::now() + Duration::from_secs(setting("RINGVOX_GENERATE_SECONDS", 60));
    let mut stories = 0u64;
    while Instant::now() < end {
        let mut story: Vec<u8>;
        if numbers.below(2) == 0 {
            story = (0..numbers.below(STORY_BYTES_MAX)).map(|_| numbers.next() as u8).collect();
        } else {
            story = corpus[numbers.below(corpus.len())].1.clone();
            for _ in 0..1 + numbers.below(16) {
                let other = &corpus[numbers.below(corpus.len())].1;
                numbers.mutate(&mut story, other);
            }
        }
        run(body, &story, target);
        stories += 1;
    }
    println!("{target}: {stories} stories survived");
    assert!(stories > 0);
}

macro_rules! generators {
    ($($target:ident)*) => {
        $(#[test] fn $target() { generates(stringify!($target)); })*

        #[test]
        fn every_story_is_told() {
            assert_eq!(fuzz::STORIES, [$(stringify!($target)),*]);
        }
    };
}

generators! { control_order up_stream shard paths hook_and_hub }
