//! Rooms, WebSocket, REST and pages; SDP in and out.

pub mod sdp;
