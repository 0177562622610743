//! What leaves a shard: nothing but good STUN, DTLS, SRTP and SRTCP, each index once, and no media of another
//! room.

use super::client::{Client, MARK_BYTES};
use relay_core::dtls::Fingerprint;
use relay_core::id::Ssrc;
use relay_core::outbox::{Outbox, OutboxFull, Path, Run, VecOutbox};
use relay_core::srtp::OpenContext;
use relay_core::wire::rtcp::parse_compound;
use relay_core::wire::rtp::{RtpHeader, strip_padding};
use relay_core::wire::stun::StunMessage;
use relay_core::wire::{Protocol, classify};
use std::collections::{HashMap, HashSet};
use std::net::SocketAddr;
use tests::dtls;

/// An outbox that can be full.
#[derive(Default)]
pub(super) struct Sending {
    pub(super) full: bool,
    pub(super) out: VecOutbox,
}

impl Outbox for Sending {
    fn lend(&mut self, bytes: usize) -> Result<&mut [u8], OutboxFull> {
        if self.full { Err(OutboxFull) } else { self.out.lend(bytes) }
    }

    fn commit(&mut self, path: &Path, run: Run) {
        self.out.commit(path, run);
    }
}

/// Receives and checks what is sent to any client.
#[derive(Default)]
pub(super) struct Watch {
    /// By keys and SSRC. Each context sees one SSRC, so none runs into its limit of them.
    open: HashMap<(Fingerprint, bool, u32), OpenContext>,
    /// SSRC and index used with each key.
    used: HashSet<(Fingerprint, u32, u64)>,
    /// The clients that have sent a check from an address.
    checked: HashMap<SocketAddr, HashSet<u8>>,
}

impl Watch {
    /// A client sent a good check from here.
    pub(super) fn checks(&mut self, client: &Client) {
        self.checked.entry(client.address).or_default().insert(client.number);
    }

    /// Looks at a datagram.
    pub(super) fn receive(&mut self, clients: &[Client], to: SocketAddr, bytes: &mut [u8]) {
        match classify(bytes) {
            Some(Protocol::Stun) => drop(StunMessage::parse(bytes).expect("the relay writes good STUN")),
            Some(Protocol::Dtls) => assert_eq!(bytes, dtls::DONE),
            Some(protocol) => {
                let numbers = self.checked.get(&to).expect("media goes where a check came from");
                let numbers: Vec<u8> = numbers.iter().copied().collect();
                let receiver = |number: &&u8| match protocol {
                    Protocol::Rtp => self.rtp(&clients[usize::from(**number)], bytes),
                    _ => self.rtcp(&clients[usize::from(**number)], bytes),
                };
                assert!(numbers.iter().find(receiver).is_some(), "nobody at {to} can read {bytes:02x?}");
            }
            None => panic!("the relay sent {bytes:02x?}"),
        }
    }

    fn context(&mut self, client: &Client, is_rtp: bool, ssrc: u32) -> &mut OpenContext {
        let keys = dtls::keys(&client.fingerprint, client.profile);
        let context = || OpenContext::new(client.profile, &keys.local_key, &keys.local_salt);
        self.open.entry((client.fingerprint, is_rtp, ssrc)).or_insert_with(context)
    }

    /// False if it is not for this client.
    fn rtp(&mut self, client: &Client, bytes: &[u8]) -> bool {
        let header = RtpHeader::parse(bytes).expect("the relay writes good RTP");
        let mut payload = [0; 1500];
        let opened = self.context(client, true, header.ssrc.0).open_rtp(&header, bytes, &mut payload);
        let Ok(opened) = opened else { return false };
        let index = (client.fingerprint, header.ssrc.0, opened.index);
        assert!(self.used.insert(index), "{:?} {} twice", header.ssrc, opened.index);
        let len =
            strip_padding(header.padding, &payload[..opened.len]).expect("the relay pads as the RFC says");
        let osn = if client.rtx.contains(&header.ssrc.0) { 2 } else { 0 };
        if let Some(mark) = payload[..len].get(osn..).and_then(|media| media.first_chunk::<MARK_BYTES>()) {
            assert_eq!(
                u64::from(mark[2]),
                client.room,
                "client {} gets media of room {}",
                client.number,
                mark[2]
            );
        }
        true
    }

    fn rtcp(&mut self, client: &Client, bytes: &mut [u8]) -> bool {
        let Some(ssrc) = bytes.get(4..).and_then(|rest| rest.first_chunk()) else { return false };
        let ssrc = Ssrc(u32::from_be_bytes(*ssrc));
        let mut copy = bytes.to_vec();
        let Ok(len) = self.context(client, false, ssrc.0).open_rtcp(&mut copy) else { return false };
        assert!(parse_compound(&copy[..len]).is_ok(), "the relay writes good RTCP");
        true
    }
}
