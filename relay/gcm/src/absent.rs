//! Processors without the instructions: no key can be made, so nothing can be asked of one.

use crate::{LANES, NONCE_LEN};

pub(crate) enum Key {}

pub(crate) enum Quad {}

pub(crate) fn is_supported() -> bool {
    false
}

impl Key {
    pub(crate) fn new(_: &[u8; 16]) -> Option<Self> {
        None
    }
}

impl Quad {
    pub(crate) fn new([key, ..]: [&Key; LANES]) -> Self {
        match *key {}
    }

    pub(crate) fn seal(
        &self,
        _: [&[u8; NONCE_LEN]; LANES],
        _: [&[u8]; LANES],
        _: [&[u8]; LANES],
        _: &[u8],
        _: [&mut [u8]; LANES],
    ) {
        match *self {}
    }
}
