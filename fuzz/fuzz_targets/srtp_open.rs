//! `fuzz::srtp_open` under libFuzzer.
#![no_main]
libfuzzer_sys::fuzz_target!(|data: &[u8]| fuzz::srtp_open(data));
