//! A server and a client whose network is the test.
#![allow(dead_code, reason = "each test binary uses its part")]

use relay_core::dtls::{DtlsEngine, DtlsFactory, DtlsStatus, DtlsSummary, Fingerprint};
use relay_core::time::Time;
use relay_dtls::EngineFactory;
use ringvox_client::dtls::{ClientFactory, ClientOptions, DtlsClient};

/// When every test begins.
pub(crate) const START: Time = Time::from_nanos(1_000_000_000_000);

/// Both ends, and the time.
pub(crate) struct Pair {
    pub(crate) client: DtlsClient,
    pub(crate) server: Box<dyn DtlsEngine>,
    pub(crate) now: Time,
}

impl Pair {
    pub(crate) fn new(options: &ClientOptions) -> Self {
        Self::with_announced(options, |fingerprint| fingerprint)
    }

    /// With what signaling makes of the client's fingerprint.
    pub(crate) fn with_announced(
        options: &ClientOptions,
        announce: impl Fn(Fingerprint) -> Fingerprint,
    ) -> Self {
        let mut server = EngineFactory::new().unwrap();
        let client = ClientFactory::new(options).unwrap();
        Self {
            server: server.accept(START, announce(client.fingerprint()).into()),
            client: client.connect(START, Some(server.fingerprint())),
            now: START,
        }
    }

    /// Carries datagrams both ways until there are none.
    pub(crate) fn run(&mut self) {
        while self.carry(|_, datagram| vec![datagram]) > 0 {}
    }

    /// Carries what both ends have to send, after `network` made of each datagram what it likes; how many
    /// were sent.
    pub(crate) fn carry(&mut self, mut network: impl FnMut(Direction, Vec<u8>) -> Vec<Vec<u8>>) -> usize {
        let (up, down) = (drain(&mut self.client), drain(&mut *self.server));
        let count = up.len() + down.len();
        for datagram in up.into_iter().flat_map(|datagram| network(Direction::Up, datagram)) {
            self.server.handle_datagram(self.now, &datagram);
        }
        for datagram in down.into_iter().flat_map(|datagram| network(Direction::Down, datagram)) {
            self.client.handle_datagram(self.now, &datagram);
        }
        count
    }

    /// Moves the time to the next timer and lets it ring; `false` if there is none.
    pub(crate) fn ring(&mut self) -> bool {
        let Some(next) = self.client.poll_timeout().into_iter().chain(self.server.poll_timeout()).min()
        else {
            return false;
        };
        self.now = self.now.max(next);
        self.client.handle_timeout(self.now);
        self.server.handle_timeout(self.now);
        true
    }

    pub(crate) fn is_connected(&self) -> bool {
        matches!((self.client.status(), self.server.status()), (DtlsStatus::Connected, DtlsStatus::Connected))
    }

    /// What both agreed on.
    pub(crate) fn summaries(&mut self) -> (DtlsSummary, DtlsSummary) {
        assert!(self.is_connected(), "client {:?}, server {:?}", self.client.status(), self.server.status());
        (self.server.take_summary().unwrap(), self.client.take_summary().unwrap())
    }
}

/// Which way a datagram goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Direction {
    /// To the server.
    Up,
    /// To the client.
    Down,
}

/// All datagrams that an engine wants to send.
pub(crate) fn drain(engine: &mut dyn DtlsEngine) -> Vec<Vec<u8>> {
    let mut datagrams = Vec::new();
    let mut out = [0; 1500];
    while let Some(len) = engine.poll_datagram(&mut out) {
        datagrams.push(out[..len].to_vec());
    }
    datagrams
}

/// Numbers that look random and are the same every time.
pub(crate) struct Rng(pub(crate) u64);

impl Rng {
    /// Below `sides`.
    pub(crate) fn roll(&mut self, sides: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % sides
    }
}
