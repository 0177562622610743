//! The language between signaling and relay.

use relay_control::{
    Command, FrameDecoder, FromRelay, Inventory, Outgoing, Reply, ReplyBody, Request, TransportInfo,
    encode_frame,
};
use tests::World;

/// A command as signaling sends one for every track that somebody plays.
pub fn request() -> Request {
    let command: Command = World::subscription(7, 3);
    Request { request_id: 12_345, command: Some(command) }
}

/// What a relay with `transports` of them answers when signaling comes back.
pub fn inventory(transports: u64) -> FromRelay {
    let one = |transport_id| TransportInfo {
        transport_id,
        room_id: transport_id / 3,
        label: vec![b'l'; 80],
        remote_address: "192.0.2.7:50000".into(),
        dtls_version: "DTLS 1.3".into(),
        dtls_group: "X25519MLKEM768".into(),
        srtp_profile: "AEAD_AES_128_GCM".into(),
        ..TransportInfo::default()
    };
    let inventory = Inventory { transports: (0..transports).map(one).collect(), ..Inventory::default() };
    let reply = Reply { request_id: 1, body: Some(ReplyBody::Inventory(inventory)) };
    FromRelay { outgoing: Some(Outgoing::Reply(reply)) }
}

/// Writes a frame; the buffer keeps its memory.
pub fn encode<M: prost::Message>(message: &M, out: &mut Vec<u8>) -> usize {
    out.clear();
    encode_frame(message, out).expect("below the limit");
    out.len()
}

pub fn decode<M: prost::Message + Default>(frame: &[u8]) -> Option<M> {
    let mut decoder = FrameDecoder::default();
    decoder.push(frame);
    decoder.next().ok()?
}
