//! `fuzz::dtls_client` under libFuzzer.
#![no_main]
libfuzzer_sys::fuzz_target!(|data: &[u8]| fuzz::dtls_client(data));
