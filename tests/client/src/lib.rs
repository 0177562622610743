//! The one WebRTC client of tests and load generators, sans-IO like the relay's core. So far its end of DTLS.

pub mod dtls;
