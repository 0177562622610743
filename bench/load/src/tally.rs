//! What the clients counted, all together. A window's figures are the difference of two copies.

use hdrhistogram::Histogram;
use serde_json::{Value, json};

/// Running counts, each with its name.
macro_rules! counts {
    ($($(#[doc = $doc:literal])* $name:ident,)+) => {
        /// Running counts.
        #[derive(Clone, Copy, Debug, Default)]
        pub(crate) struct Counts {
            $($(#[doc = $doc])* pub(crate) $name: u64,)+
        }

        impl Counts {
            pub(crate) fn json(&self) -> Value {
                json!({$(stringify!($name): self.$name),+})
            }

            /// What came on top of `before`.
            pub(crate) const fn since(&self, before: &Self) -> Self {
                Self { $($name: self.$name - before.$name,)+ }
            }
        }
    };
}

counts! {
    sent,
    /// Packets that subscribers should get of them.
    offered,
    /// New media packets that reached a subscriber.
    received,
    /// Of them decrypted and compared.
    checked,
    /// Retransmissions that brought something new.
    recovered,
    duplicates,
    /// Given up as lost.
    lost,
    /// Of them audio.
    lost_audio,
    /// Of another stream or room than the SSRC's.
    foreign,
    /// Decrypted, but not as they were sent, or under another payload type than was agreed on.
    corrupt,
    /// The tag is wrong.
    unauthentic,
    /// On an SSRC that nobody announced.
    unknown_ssrc,
    /// NACKed numbers that subscribers asked for.
    nacked,
    /// Keyframe requests that publishers got.
    keyframes_asked,
    retransmitted,
}

/// Counts, and the distributions of the present window.
pub(crate) struct Tally {
    pub(crate) counts: Counts,
    /// From sealing at the publisher to the kernel's stamp at the subscriber.
    pub(crate) latency: Histogram<u64>,
    /// By how much frames left too late: the generator's own fault.
    pub(crate) lateness: Histogram<u64>,
}

impl Default for Tally {
    fn default() -> Self {
        Self { counts: Counts::default(), latency: durations(), lateness: durations() }
    }
}

/// A histogram of nanoseconds up to 18 minutes, two digits of which count.
pub(crate) fn durations() -> Histogram<u64> {
    Histogram::new_with_bounds(1, 1 << 40, 2).expect("good bounds")
}
