//! The relay's end: the real shard with the real DTLS engine, and what its calls cost.

use crate::client::{Client, RELAY, credentials};
use crate::meter::cpu;
use relay_control::{
    AddDownTrack, AddUpTrack, CloseTransport, Command, OpenTransport, ReplyBody, RtpParameters,
};
use relay_core::dtls::DtlsFactory;
use relay_core::id::Ssrc;
use relay_core::media::Event;
use relay_core::outbox::{Path, VecOutbox};
use relay_core::time::{NtpClock, Time};
use relay_core::{Limits, Shard, ShardConfig};
use relay_dtls::ServerFactory;
use ringvox_client::Credentials;
use ringvox_client::dtls::{ClientFactory, ClientOptions};
use std::time::Duration;

/// A track to publish and to subscribe to.
#[derive(Clone, Copy)]
pub(crate) struct Stream {
    id: u64,
    pub(crate) ssrc: Ssrc,
}

/// The stream that runs.
pub(crate) const STREAM: Stream = Stream { id: 1, ssrc: Ssrc(0x1000) };
/// One whose publisher is silent.
pub(crate) const SILENT: Stream = Stream { id: 2, ssrc: Ssrc(0x2000) };

/// See the module.
pub(crate) struct Site {
    pub(crate) shard: Shard,
    pub(crate) clients: ClientFactory,
    pub(crate) now: Time,
    /// CPU time of the shard's calls.
    pub(crate) spent: Duration,
    fingerprint: [u8; 32],
}

impl Site {
    /// `consent`: how long a client that falls silent is kept.
    pub(crate) fn new(options: &ClientOptions, consent: Duration) -> Self {
        let server = ServerFactory::new().expect("a certificate");
        let fingerprint = server.fingerprint();
        let config = ShardConfig {
            shard: 0,
            candidates: vec![RELAY],
            ntp: NtpClock { ntp_at_zero: 3_900_000_000 << 32 },
            default_max_receive_bitrate_bps: 80_000_000,
            four_lanes: true,
            limits: Limits { consent, ..Limits::default() },
        };
        Self {
            shard: Shard::new(config, Box::new(server), [7; 32]),
            clients: ClientFactory::new(options).expect("a certificate"),
            now: Time::from_nanos(1_000_000_000_000),
            spent: Duration::ZERO,
            fingerprint,
        }
    }

    /// Calls into the shard on the relay's account.
    pub(crate) fn spend<T>(
        &mut self,
        call: impl FnOnce(&mut Shard, Time, &mut VecOutbox) -> T,
    ) -> (T, VecOutbox) {
        let mut outbox = VecOutbox::default();
        let start = cpu();
        let result = call(&mut self.shard, self.now, &mut outbox);
        self.spent += cpu() - start;
        (result, outbox)
    }

    fn command(&mut self, command: Command) -> ReplyBody {
        self.spend(|shard, now, outbox| relay::convert::obey(shard, now, command, outbox)).0
    }

    /// A client that the relay expects.
    pub(crate) fn open(&mut self, number: u32) -> Client {
        let Credentials { ufrag, pwd } = credentials();
        let reply = self.command(Command::OpenTransport(OpenTransport {
            transport_id: number.into(),
            room_id: 1,
            remote_ufrag: ufrag,
            remote_pwd: pwd,
            remote_fingerprint_sha256: self.clients.fingerprint().to_vec(),
            label: vec![b'x'; 120],
            max_receive_bitrate_bps: 0,
        }));
        let ReplyBody::TransportOpened(opened) = reply else { panic!("{reply:?}") };
        Client::new(number, &opened, self.fingerprint)
    }

    pub(crate) fn publish(&mut self, client: &Client, stream: Stream) {
        let (rtp, ssrc) = (parameters(stream), stream.ssrc.0);
        let up = AddUpTrack {
            transport_id: client.number.into(),
            track_id: stream.id,
            rtp,
            ssrc,
            rtx_ssrc: ssrc + 1,
            ..AddUpTrack::default()
        };
        let reply = self.command(Command::AddUpTrack(up));
        assert!(matches!(reply, ReplyBody::UpTrackAdded(_)), "{reply:?}");
    }

    /// The SSRC it will see.
    pub(crate) fn subscribe(&mut self, client: &Client, stream: Stream) -> Ssrc {
        let reply = self.command(Command::AddDownTrack(AddDownTrack {
            transport_id: client.number.into(),
            track_id: 1_000_000 + u64::from(client.number),
            up_track_id: stream.id,
            rtp: parameters(stream),
            cname: "a publisher".into(),
        }));
        let ReplyBody::DownTrackAdded(added) = reply else { panic!("{reply:?}") };
        Ssrc(added.ssrc)
    }

    pub(crate) fn close(&mut self, number: u32) {
        self.command(Command::CloseTransport(CloseTransport { transport_id: number.into() }));
    }

    /// One turn of a worker's loop.
    pub(crate) fn turn(&mut self, path: &Path, datagrams: &mut [Vec<u8>]) -> VecOutbox {
        self.spend(|shard, now, outbox| {
            for datagram in datagrams {
                shard.handle_datagram(now, path, datagram, outbox);
            }
            shard.forward_pending(outbox);
            if shard.poll_timeout().is_some_and(|due| due <= now) {
                shard.handle_timeout(now, outbox);
            }
        })
        .1
    }

    /// What the shard has to tell.
    pub(crate) fn events(&mut self) -> Vec<Event> {
        std::iter::from_fn(|| self.shard.poll_event()).collect()
    }

    /// Carries datagrams between a client and the relay until neither has more to say.
    pub(crate) fn talk(&mut self, client: &mut Client) {
        let path = client.path();
        loop {
            let mut datagrams = client.take_datagrams();
            let due = self.shard.poll_timeout().is_some_and(|due| due <= self.now);
            if datagrams.is_empty() && !due {
                return;
            }
            let sent = self.turn(&path, &mut datagrams).sent;
            for (_, mut bytes) in sent.into_iter().filter(|(to, _)| *to == path) {
                client.receive(self.now, &mut bytes, &self.clients);
            }
        }
    }

    /// A full join: check, handshake, keys.
    pub(crate) fn connect(&mut self, client: &mut Client) {
        client.tick(self.now);
        self.talk(client);
        assert!(client.is_connected(), "client {} has no keys", client.number);
        self.events();
    }
}

/// VP8 with RTX, as Chromium negotiates it.
fn parameters(stream: Stream) -> RtpParameters {
    let (payload_type, rtx_payload_type) = (95 + stream.id as u32, Some(99 + stream.id as u32));
    RtpParameters { payload_type, rtx_payload_type, ..tests::world::video_parameters() }
}
