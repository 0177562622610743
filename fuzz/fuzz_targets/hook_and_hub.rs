//! `fuzz::hook_and_hub` under libFuzzer.
#![no_main]
libfuzzer_sys::fuzz_target!(|data: &[u8]| fuzz::hook_and_hub(data));
