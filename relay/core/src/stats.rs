//! Counters of one shard: plain integers, one writer, read by copy. Every way a datagram can end has a name
//! here.
//!
//! Which of them add up to which stands at [`Ledger`].

/// Declares an enum whose variants have stable counter names.
macro_rules! named {
    ($(#[$meta:meta])* $name:ident { $($(#[$vmeta:meta])* $variant:ident = $text:literal,)* }) => {
        $(#[$meta])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        #[repr(usize)]
        pub enum $name { $($(#[$vmeta])* $variant,)* }

        impl $name {
            /// All of them, in order of their index.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)*];

            /// The counter's name.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self { $(Self::$variant => $text,)* }
            }
        }
    };
}

named! {
    /// Why a datagram, or a packet in one, was discarded.
    DropReason {
        /// Zero octets.
        Empty = "drop.empty",
        /// First octet of no known protocol (RFC 7983).
        UnknownProtocol = "drop.unknown_protocol",
        /// Longer than a slot; the kernel truncated it.
        Truncated = "drop.truncated",
        /// RTP, RTCP or DTLS from a 5-tuple that no authenticated check has validated.
        TupleNotValidated = "drop.tuple_not_validated",
        /// STUN that does not parse.
        StunMalformed = "drop.stun_malformed",
        /// STUN that is no Binding request.
        StunUnexpected = "drop.stun_unexpected",
        /// STUN for a ufrag of no transport.
        StunUnknownUfrag = "drop.stun_unknown_ufrag",
        /// STUN with a wrong or missing MESSAGE-INTEGRITY.
        StunBadIntegrity = "drop.stun_bad_integrity",
        /// STUN with an unknown comprehension-required attribute.
        StunUnknownAttribute = "drop.stun_unknown_attribute",
        /// A check seen before along another path: overheard, and sent again from elsewhere.
        StunReplayed = "drop.stun_replayed",
        /// DTLS after the association ended, or not a handshake record while none is wanted.
        DtlsUnexpected = "drop.dtls_unexpected",
        /// DTLS that the engine refused.
        DtlsRefused = "drop.dtls_refused",
        /// A handshake datagram that found no place to wait in; the peer sends it again.
        DtlsBusy = "drop.dtls_busy",
        /// RTP or RTCP before keys.
        NoKeys = "drop.no_keys",
        /// RTP header that does not parse.
        RtpMalformed = "drop.rtp_malformed",
        /// SRTP whose tag is wrong.
        RtpAuth = "drop.rtp_auth",
        /// SRTP packet seen before, or below the replay window.
        RtpReplay = "drop.rtp_replay",
        /// SSRC that fits no up-track.
        RtpUnknownSsrc = "drop.rtp_unknown_ssrc",
        /// Payload type that was not negotiated.
        RtpUnknownPt = "drop.rtp_unknown_pt",
        /// Too many SSRCs on one transport, at a time or since it has its keys.
        RtpSsrcLimit = "drop.rtp_ssrc_limit",
        /// The publisher sends more than its policed rate.
        RtpPoliced = "drop.rtp_policed",
        /// Decrypted, but the padding or length makes no sense.
        RtpBadPayload = "drop.rtp_bad_payload",
        /// A sequence number received before (not caught by the replay window: a retransmission of what
        /// came).
        RtpDuplicate = "drop.rtp_duplicate",
        /// A large jump of the numbering that no second packet has confirmed (RFC 3550 A.1).
        RtpJump = "drop.rtp_jump",
        /// Older than the history reaches.
        RtpTooOld = "drop.rtp_too_old",
        /// The history has no room for it, or knew its number though it should be new: a mistake of ours.
        RtpNotStored = "drop.rtp_not_stored",
        /// Of an SSRC that the publisher has left, while the one after it is heard: a late packet, or its
        /// retransmission.
        RtpOldSource = "drop.rtp_old_source",
        /// Of an SSRC beside the one that is forwarded of its m-line, where no simulcast was negotiated.
        RtpOtherSource = "drop.rtp_other_source",
        /// RTX whose original is unknown or too old.
        RtxUseless = "drop.rtx_useless",
        /// RTCP whose tag is wrong.
        RtcpAuth = "drop.rtcp_auth",
        /// RTCP index seen before.
        RtcpReplay = "drop.rtcp_replay",
        /// RTCP compound that does not parse.
        RtcpMalformed = "drop.rtcp_malformed",
        /// Feedback that names an SSRC which is not the sender's business.
        RtcpForeignSsrc = "drop.rtcp_foreign_ssrc",
        /// A keyframe request of a subscriber whose video is withheld because the shard does not keep up.
        KeyframeShed = "drop.keyframe_shed",
        /// A NACK for something not in the history.
        NackMiss = "drop.nack_miss",
        /// A NACK answered less than a round trip ago, or over the retransmission budget.
        NackThrottled = "drop.nack_throttled",
        /// A packet that was to be sent again came out other than it was: a mistake of ours. It is not sent.
        ResendDiffers = "drop.resend_differs",
        /// No free send slot for a media packet.
        OutboxFull = "drop.outbox_full",
        /// No free send slot for STUN, DTLS, RTCP or a retransmission.
        ControlOutboxFull = "drop.control_outbox_full",
        /// DTLS or a challenge for a path that is not proven and has had three times what came from there.
        PathCredit = "drop.path_credit",
        /// The subscriber's transport has no keys or no proven address yet.
        SubscriberNotReady = "drop.subscriber_not_ready",
        /// Video withheld until a keyframe comes.
        AwaitingKeyframe = "drop.awaiting_keyframe",
        /// Video withheld because the shard does not keep up.
        Overload = "drop.overload",
        /// The subscriber's numbering cannot place so old a packet.
        TooOld = "drop.too_old",
        /// The queue to a port (another shard, a local process) is full: who listens there misses a packet.
        PipeFull = "drop.pipe_full",
        /// A packet from a port whose track ended, or is no longer listened to, while it was in the queue; or
        /// one that the history does not take.
        PipeStale = "drop.pipe_stale",
        /// The queue to a port has no room for what will be said again: a keyframe request, a clock.
        PipeControlFull = "drop.pipe_control_full",
        /// A fault of the relay (a panic) ended the handling of the datagram.
        Panicked = "drop.panicked",
        /// The same on the packet's way to a subscriber.
        EgressPanicked = "drop.egress_panicked",
        /// The same on its way to a port.
        PipeOutPanicked = "drop.pipe_out_panicked",
        /// The same of a packet from a port.
        PipeInPanicked = "drop.pipe_in_panicked",
    }
}

named! {
    /// What happened, other than discards.
    Count {
        /// Datagrams received from the wire.
        RxDatagrams = "rx.datagrams",
        /// Their octets.
        RxBytes = "rx.bytes",
        /// Binding requests answered.
        RxStun = "rx.stun",
        /// DTLS datagrams given to an engine.
        RxDtls = "rx.dtls",
        /// SRTP packets accepted (retransmissions included).
        RxRtp = "rx.rtp",
        /// Of them RTX that restored a lost packet.
        RxRtxRecovered = "rx.rtx_recovered",
        /// SRTCP compounds accepted.
        RxRtcp = "rx.rtcp",
        /// Datagrams written to the outbox.
        TxDatagrams = "tx.datagrams",
        /// Their octets.
        TxBytes = "tx.bytes",
        /// STUN answers among them.
        TxStun = "tx.stun",
        /// DTLS datagrams among them.
        TxDtls = "tx.dtls",
        /// Accepted media packets times their subscribers: what `tx.rtp` and the discards of
        /// [`Ledger::Egress`] add up to.
        FanOut = "fanout.offered",
        /// Media packets among them.
        TxRtp = "tx.rtp",
        /// Retransmissions among them.
        TxRtx = "tx.rtx",
        /// RTCP compounds among them.
        TxRtcp = "tx.rtcp",
        /// PLI or FIR sent to publishers.
        KeyframesAsked = "keyframe.asked",
        /// Keyframe requests of subscribers merged into one already on its way.
        KeyframesMerged = "keyframe.merged",
        /// Keyframe requests that wait because their subscriber has had one lately.
        KeyframesDeferred = "keyframe.deferred",
        /// NACKed sequence numbers asked of publishers.
        NacksSent = "nack.sent",
        /// NACKed sequence numbers received from subscribers.
        NacksReceived = "nack.received",
        /// Packets given up as lost upstream.
        UpLost = "up.lost",
        /// Jumps of a publisher's numbering that were re-anchored.
        UpResync = "up.resync",
        /// Accepted packets times the ports that their tracks are sent to.
        PipeOffered = "pipe.offered",
        /// Of them written into a queue. Over all shards and local processes (`port.*`), what was sent and is
        /// not in a queue any more was received.
        PipeSent = "pipe.sent",
        /// Packets from ports taken out of a queue.
        PipeReceived = "pipe.received",
        /// Of them taken into a history and forwarded.
        PipeAccepted = "pipe.accepted",
        /// Keyframe requests sent to publishers' shards.
        PipeKeyframesAsked = "pipe.keyframes_asked",
        /// Transports opened.
        TransportsOpened = "transport.opened",
        /// Transports refused because of a limit.
        TransportsRefused = "transport.refused",
        /// Transports that reached Connected.
        TransportsConnected = "transport.connected",
        /// Transports ended.
        TransportsClosed = "transport.closed",
        /// Address changes.
        PathMoves = "transport.path_moves",
        /// Checks along a path that belongs to another transport.
        PathClaims = "transport.path_claims",
        /// Paths that went from one transport to another.
        PathTakeovers = "transport.path_takeovers",
        /// Binding requests of our own: a peer is asked to prove a path.
        PathChallenges = "transport.path_challenges",
        /// Attempts at a handshake beyond a client's first: it gave up, or somebody forges.
        DtlsRestarts = "dtls.restarts",
        /// DTLS handshakes that failed.
        DtlsFailures = "dtls.failures",
        /// Panics that were caught, each a fault of the relay.
        Panics = "panic.caught",
        /// Transports that ended because of one.
        PanicTransports = "panic.transports_ended",
        /// How often the shard was begun anew, without any transport, because it could not be trusted any
        /// more.
        PanicRestarts = "panic.shard_restarts",
        /// Certificates that were not the announced ones.
        FingerprintMismatches = "dtls.fingerprint_mismatches",
    }
}

/// The sums that a discard is part of: each holds at the end of a turn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ledger {
    /// The whole received datagram: `rx.datagrams` = `rx.stun` + `rx.dtls` + `rx.rtp` + `rx.rtcp` + these.
    Datagram,
    /// One item of an accepted RTCP compound.
    Feedback,
    /// One packet towards one subscriber: `fanout.offered` = `tx.rtp` + these. Retransmissions
    /// are not in it.
    Egress,
    /// One packet towards one port: `pipe.offered` = `pipe.sent` + these.
    PipeOut,
    /// One packet from a port: `pipe.received` = `pipe.accepted` + these.
    PipeIn,
    /// A packet of the relay's own that found no send slot, or a word to a port that found no room.
    Own,
}

impl DropReason {
    /// Which sum it is part of.
    #[must_use]
    pub const fn ledger(self) -> Ledger {
        match self {
            Self::RtcpForeignSsrc
            | Self::KeyframeShed
            | Self::NackMiss
            | Self::NackThrottled
            | Self::ResendDiffers => Ledger::Feedback,
            Self::OutboxFull
            | Self::SubscriberNotReady
            | Self::AwaitingKeyframe
            | Self::Overload
            | Self::TooOld
            | Self::EgressPanicked => Ledger::Egress,
            Self::PipeFull | Self::PipeOutPanicked => Ledger::PipeOut,
            Self::PipeStale | Self::PipeInPanicked => Ledger::PipeIn,
            Self::ControlOutboxFull | Self::PathCredit | Self::PipeControlFull => Ledger::Own,
            _ => Ledger::Datagram,
        }
    }
}

/// All counters of a shard.
#[derive(Clone, Debug)]
pub struct Counters {
    drops: [u64; DropReason::ALL.len()],
    counts: [u64; Count::ALL.len()],
}

impl Default for Counters {
    fn default() -> Self {
        Self { drops: [0; DropReason::ALL.len()], counts: [0; Count::ALL.len()] }
    }
}

impl Counters {
    /// Counts one discard.
    pub fn drop(&mut self, reason: DropReason) {
        self.drops[reason as usize] += 1;
    }

    /// Counts `n` discards for one reason.
    pub fn drop_many(&mut self, reason: DropReason, n: u64) {
        self.drops[reason as usize] += n;
    }

    /// Adds to a counter.
    pub fn add(&mut self, what: Count, n: u64) {
        self.counts[what as usize] += n;
    }

    /// Counts a datagram that is none of media: under `what`, and with all others.
    pub fn sent(&mut self, what: Count, octets: usize) {
        self.add(what, 1);
        self.add(Count::TxDatagrams, 1);
        self.add(Count::TxBytes, octets as u64);
    }

    /// Value of a counter.
    #[must_use]
    pub fn get(&self, what: Count) -> u64 {
        self.counts[what as usize]
    }

    /// Number of discards for one reason.
    #[must_use]
    pub fn dropped(&self, reason: DropReason) -> u64 {
        self.drops[reason as usize]
    }

    /// All discards that are part of a sum.
    #[must_use]
    pub fn dropped_in(&self, ledger: Ledger) -> u64 {
        DropReason::ALL
            .iter()
            .filter(|reason| reason.ledger() == ledger)
            .map(|reason| self.dropped(*reason))
            .sum()
    }

    /// Names and values, discards first.
    pub fn iter(&self) -> impl Iterator<Item = (&'static str, u64)> + '_ {
        let drops = DropReason::ALL.iter().map(|d| (d.name(), self.dropped(*d)));
        drops.chain(Count::ALL.iter().map(|c| (c.name(), self.get(*c))))
    }
}
