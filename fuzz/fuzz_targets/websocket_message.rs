//! `fuzz::websocket_message` under libFuzzer.
#![no_main]
libfuzzer_sys::fuzz_target!(|data: &[u8]| fuzz::websocket_message(data));
