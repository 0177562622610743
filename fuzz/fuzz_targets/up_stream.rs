//! `fuzz::up_stream` under libFuzzer.
#![no_main]
libfuzzer_sys::fuzz_target!(|data: &[u8]| fuzz::up_stream(data));
