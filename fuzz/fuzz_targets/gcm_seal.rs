//! `fuzz::gcm_seal` under libFuzzer.
#![no_main]
libfuzzer_sys::fuzz_target!(|data: &[u8]| fuzz::gcm_seal(data));
