//! Every body over its committed corpus, and over mutations of it that are the same on every machine.

mod support;

use support::{Numbers, corpus, run};

/// Mutated inputs for each file of a corpus: enough to try every octet of most, few enough for a debug build.
const MUTATIONS: usize = 1500;
/// The same for an input that is a list of actions; `generators.rs` runs many more.
const ACTIONS_MUTATIONS: usize = 20;

fn survives(target: &str) {
    let (_, body) = *fuzz::TARGETS.iter().find(|(name, _)| *name == target).expect("a target");
    let corpus = corpus(target);
    assert!(!corpus.is_empty());
    run(body, &[], target);
    let mutations = if fuzz::ACTION_TARGETS.contains(&target) { ACTIONS_MUTATIONS } else { MUTATIONS };
    let mut numbers = Numbers(0x5eed);
    for (path, seed) in &corpus {
        run(body, seed, &path.display().to_string());
        for _ in 0..mutations {
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

targets! {
    stun rtp rtcp srtp_open gcm_seal sdp websocket_message control_frame control_order up_stream shard paths hook_and_hub
    port_frame dtls_client forwarded depacketize matroska downlink
}
