//! What of an offer is used: one codec a kind, the features both sides know, one transport.
//!
//! The result is a [`Plan`]: numbers for the relay now, the text of the answer once the relay has opened its
//! side.

use super::codec::{best_format, codec_of, description, rtx_of};
use super::error::{Refusal, SdpError, SdpErrorKind};
use super::h264::H264Format;
use super::offer::{Direction, Format, Media, Offer, RtpMap, Setup};
use super::plan::{Accepted, AnswerLine, Plan, PlannedTrack, Rejected, RemoteSide, SourceTrack};
use relay_control::{Codec, ExtensionIds, MediaKind, RtpParameters};

pub(super) const URI_MID: &str = "urn:ietf:params:rtp-hdrext:sdes:mid";
pub(super) const URI_TRANSPORT_CC: &str =
    "http://www.ietf.org/id/draft-holmer-rmcat-transport-wide-cc-extensions-01";
pub(super) const URI_AUDIO_LEVEL: &str = "urn:ietf:params:rtp-hdrext:ssrc-audio-level";
pub(super) const URI_VIDEO_ORIENTATION: &str = "urn:3gpp:video-orientation";

/// Which codecs a publisher may use, best first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CodecPreferences {
    pub audio: Vec<Codec>,
    pub video: Vec<Codec>,
}

impl Default for CodecPreferences {
    /// VP8 before H.264, as not every browser has the latter; Opus before G.711.
    fn default() -> Self {
        Self { audio: vec![Codec::Opus, Codec::Pcmu, Codec::Pcma], video: vec![Codec::Vp8, Codec::H264] }
    }
}

impl CodecPreferences {
    fn of(&self, kind: MediaKind) -> &[Codec] {
        match kind {
            MediaKind::Audio => &self.audio,
            MediaKind::Video => &self.video,
        }
    }
}

/// Plans the answer to a publisher: the first m-line of each kind that it sends is received. One that cannot
/// be is rejected and costs the others nothing.
///
/// # Errors
/// Why there can be no answer.
pub fn answer_publish(offer: &Offer<'_>, preferences: &CodecPreferences) -> Result<Plan, Refusal> {
    answer_publish_to(offer, preferences, |_| true)
}

/// The same for an audience: of the preferred codecs the first one that `playable` agrees with is chosen, or
/// the first one if it agrees with none.
///
/// # Errors
/// Why there can be no answer.
pub fn answer_publish_to(
    offer: &Offer<'_>,
    preferences: &CodecPreferences,
    playable: impl Fn(&SourceTrack) -> bool,
) -> Result<Plan, Refusal> {
    Planner::plan(offer, AnswerTo::Publisher, |planner, index, media, kind| {
        let wanted = media.direction().sends();
        if wanted && planner.has(kind) {
            return planner.refuse(media, Refusal::OneOfAKind);
        }
        let preferred = preferences.of(kind);
        let is_free = |payload_type| planner.is_free(payload_type);
        let format = choose(media, preferred, &is_free, &playable)
            .or_else(|| choose(media, preferred, &is_free, &|_| true));
        match format {
            Some((format, source)) if wanted => planner.accept(index, media, format, source, None),
            None if wanted => {
                let is_taken = choose(media, preferred, &|_: u8| true, &|_| true).is_some();
                planner.refuse(media, no_format(is_taken));
            }
            other => planner.idle(index, media, other),
        }
    })
}

/// Plans the answer to a player: the first m-line of each kind that receives gets the first source of that
/// kind. One that cannot have it is rejected and costs the others nothing.
///
/// # Errors
/// Why there can be no answer.
pub fn answer_play(offer: &Offer<'_>, sources: &[SourceTrack]) -> Result<Plan, Refusal> {
    Planner::plan(offer, AnswerTo::Player, |planner, index, media, kind| {
        let wanted = media.direction().receives();
        let source = sources.iter().enumerate().find(|(_, source)| wanted && source.kind == kind);
        match source {
            Some(_) if planner.has(kind) => planner.refuse(media, Refusal::OneOfAKind),
            Some((source_index, source)) => {
                let rank = |h264: &H264Format| h264.rank_for(&source.h264?);
                match best_format(media, source.codec, |format| planner.is_free(format), rank) {
                    Some(format) => planner.accept(index, media, format, *source, Some(source_index)),
                    None => {
                        let is_taken = best_format(media, source.codec, |_| true, rank).is_some();
                        planner.refuse(media, no_format(is_taken));
                    }
                }
            }
            None => {
                let preferences = CodecPreferences::default();
                let format =
                    choose(media, preferences.of(kind), &|format| planner.is_free(format), &|_| true);
                planner.idle(index, media, format);
            }
        }
    })
}

/// Why an m-line has no format; `is_taken`: its payload type is.
fn no_format(is_taken: bool) -> Refusal {
    if is_taken { Refusal::PayloadTypeConflict } else { Refusal::NoCommonCodecs }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum AnswerTo {
    Publisher,
    Player,
}

/// `None`: the m-line is rejected, whatever it offers.
fn usable_kind(media: &Media<'_>) -> Option<MediaKind> {
    let is_taken = PROTOCOLS.iter().any(|protocol| media.protocol.eq_ignore_ascii_case(protocol));
    if media.is_rejected() || media.malformed || !is_taken { None } else { media.kind }
}

/// What some write who mean DTLS-SRTP with feedback (RFC 8829 §5.1.3). An answer repeats it.
const PROTOCOLS: [&str; 8] = [
    "UDP/TLS/RTP/SAVPF",
    "UDP/TLS/RTP/SAVP",
    "TCP/DTLS/RTP/SAVPF",
    "TCP/DTLS/RTP/SAVP",
    "RTP/SAVPF",
    "RTP/SAVP",
    "RTP/AVPF",
    "RTP/AVP",
];

/// The format of the most preferred codec, and what it makes of the track.
fn choose<'m, 'a>(
    media: &'m Media<'a>,
    preferred: &[Codec],
    is_free: &impl Fn(u8) -> bool,
    playable: &impl Fn(&SourceTrack) -> bool,
) -> Option<(&'m Format<'a>, SourceTrack)> {
    preferred.iter().find_map(|&codec| {
        let (kind, ..) = description(codec);
        let of_h264 = |h264: &H264Format| SourceTrack { kind, codec, h264: Some(*h264) };
        let format = best_format(media, codec, is_free, |h264| {
            playable(&of_h264(h264)).then(|| h264.rank_to_publish())
        })?;
        let h264 = if codec == Codec::H264 { H264Format::of(format) } else { None };
        let h264 = h264.map(|h264| h264.completed_by(&h264));
        let track = SourceTrack { kind, codec, h264 };
        // A codec listed under the other kind is a mistake in the configuration, not in the offer.
        (media.kind == Some(kind) && playable(&track)).then_some((format, track))
    })
}

/// All formats of codecs that we pass through, in m-lines that the client sends (publish) or receives (play).
pub fn offered(offer: &Offer<'_>, to_publish: bool) -> Vec<SourceTrack> {
    let wanted = |media: &&Media<'_>| {
        let direction = media.direction();
        usable_kind(media).is_some() && if to_publish { direction.sends() } else { direction.receives() }
    };
    let track = |(media, format): (&Media<'_>, &Format<'_>)| {
        let codec = codec_of(format)?;
        let (kind, ..) = description(codec);
        let h264 = if codec == Codec::H264 { Some(H264Format::of(format)?) } else { None };
        (media.kind == Some(kind)).then_some(SourceTrack { kind, codec, h264 })
    };
    let media = offer.media.iter().filter(wanted);
    let formats = media.flat_map(|media| media.formats.iter().map(move |format| (media, format)));
    let mut tracks = Vec::new();
    for track in formats.filter_map(track) {
        if tracks.len() < OFFERED_MAX && !tracks.contains(&track) {
            tracks.push(track);
        }
    }
    tracks
}

/// Formats that are remembered of an offer; browsers have a dozen.
const OFFERED_MAX: usize = 32;

/// Collects lines and tracks.
struct Planner<'o, 'a> {
    offer: &'o Offer<'a>,
    answer_to: AnswerTo,
    lines: Vec<AnswerLine>,
    tracks: Vec<PlannedTrack>,
    /// What the one-byte extension ids mean in this bundle.
    extensions: [Option<&'static str>; 15],
    /// What the tracks use.
    payload_types: [bool; 128],
    /// Whether it is the m-lines of the offer's group that are answered. Otherwise the first that can be
    /// answered goes alone.
    bundled: bool,
    /// What was wanted and is rejected.
    rejected: Vec<Rejected>,
}

impl<'o, 'a> Planner<'o, 'a> {
    /// Lets `answer` accept or reject each m-line that can be used at all.
    fn plan(
        offer: &'o Offer<'a>,
        answer_to: AnswerTo,
        answer: impl Fn(&mut Self, usize, &'o Media<'a>, MediaKind),
    ) -> Result<Plan, Refusal> {
        let plan = |bundled| {
            let mut planner = Self {
                offer,
                answer_to,
                lines: Vec::new(),
                tracks: Vec::new(),
                extensions: [None; 15],
                payload_types: [false; 128],
                bundled,
                rejected: Vec::new(),
            };
            for (index, media) in offer.media.iter().enumerate() {
                match usable_kind(media) {
                    Some(kind) => answer(&mut planner, index, media, kind),
                    None if media.malformed => planner.refuse(media, Refusal::BadLine(malformed(media))),
                    None => planner.reject(media),
                }
            }
            planner.finish()
        };
        // Where nothing of the group can be had, something outside it may.
        plan(true).or_else(|why| {
            plan(false).map_err(|why_alone| if offer.bundle.is_empty() { why_alone } else { why })
        })
    }

    /// The m-lines of the group, in its order. One that it names twice comes once.
    fn group(&self) -> impl Iterator<Item = (usize, &'o Media<'a>)> + use<'o, 'a> {
        let offer = self.offer;
        let mut seen = [false; super::limits::MEDIA_MAX];
        let of_mid = |mid: &&str| offer.media.iter().enumerate().find(|(_, media)| media.mid == Some(*mid));
        let media = offer.bundle.iter().filter_map(of_mid);
        media
            .filter(move |(index, _)| seen.get_mut(*index).is_some_and(|seen| !std::mem::replace(seen, true)))
    }

    /// Why an m-line cannot share the one transport.
    fn why_not(&self, index: usize, media: &Media<'a>) -> Option<Refusal> {
        let head_muxes = || self.group().next().is_some_and(|(_, head)| head.rtcp_mux);
        let is_listed = if self.bundled {
            self.group().any(|(listed, _)| listed == index)
        } else {
            self.lines.iter().all(|line| line.accepted.is_none())
        };
        if !is_listed {
            Some(Refusal::NoBundle)
        } else if !(media.rtcp_mux || (media.bundle_only && head_muxes())) {
            Some(Refusal::NoRtcpMux)
        } else {
            None
        }
    }

    /// Is there a track of this kind already?
    fn has(&self, kind: MediaKind) -> bool {
        self.tracks.iter().any(|track| track.source.kind == kind)
    }

    fn reject(&mut self, media: &Media<'a>) {
        self.line(media, None);
    }

    /// Rejects an m-line that is wanted.
    fn refuse(&mut self, media: &Media<'a>, why: Refusal) {
        self.rejected.extend(media.kind.map(|kind| Rejected { kind, why }));
        self.reject(media);
    }

    /// Accepts the m-line with nothing flowing; rejects it if it has no codec of ours, or cannot be bundled.
    fn idle(&mut self, index: usize, media: &Media<'a>, format: Option<(&Format<'a>, SourceTrack)>) {
        let format = format.filter(|_| self.bundled && self.why_not(index, media).is_none());
        let accepted = format.map(|(format, source)| self.accepted(media, format, &source, None));
        self.line(media, accepted);
    }

    fn accept(
        &mut self,
        media_index: usize,
        media: &Media<'a>,
        format: &Format<'a>,
        source: SourceTrack,
        source_index: Option<usize>,
    ) {
        if let Some(why) = self.why_not(media_index, media) {
            return self.refuse(media, why);
        }
        // Alone, it has to have what a transport needs.
        if let (false, Err(why)) = (self.bundled, remote_side(self.offer, &[media_index])) {
            return self.refuse(media, why);
        }
        if !takes(&mut self.payload_types, format.payload_type.into()) {
            return self.refuse(media, Refusal::PayloadTypeConflict);
        }
        let track = self.tracks.len();
        let accepted = self.accepted(media, format, &source, Some(track));
        let rtp = accepted.rtp.clone();
        let (ssrc, rtx_ssrc) = match self.answer_to {
            AnswerTo::Publisher => announced_ssrcs(media, rtp.rtx_payload_type.is_some()),
            AnswerTo::Player => (0, 0),
        };
        let source_index = source_index.unwrap_or(track);
        self.tracks.push(PlannedTrack { rtp, ssrc, rtx_ssrc, source, source_index, media_index });
        self.line(media, Some(accepted));
    }

    /// No track has this payload type: m-lines on one transport are told apart by it.
    fn is_free(&self, payload_type: u8) -> bool {
        self.payload_types.get(usize::from(payload_type)).is_some_and(|taken| !taken)
    }

    /// Whose payload type a track has gives way: retransmissions are left out, and an m-line on which nothing
    /// flows is rejected.
    fn settle_payload_types(&mut self) {
        let taken = &mut self.payload_types;
        let mut settle = |of_tracks: bool| {
            for line in &mut self.lines {
                let Some(accepted) = line.accepted.as_mut().filter(|one| one.track.is_some() == of_tracks)
                else {
                    continue;
                };
                if !of_tracks && !takes(taken, accepted.rtp.payload_type) {
                    line.accepted = None;
                    continue;
                }
                accepted.rtp.rtx_payload_type =
                    accepted.rtp.rtx_payload_type.filter(|rtx| takes(taken, *rtx));
                if let Some(track) = accepted.track.and_then(|track| self.tracks.get_mut(track)) {
                    track.rtp.rtx_payload_type = accepted.rtp.rtx_payload_type;
                    track.rtx_ssrc = track.rtp.rtx_payload_type.map_or(0, |_| track.rtx_ssrc);
                }
            }
        };
        settle(true);
        settle(false);
    }

    fn line(&mut self, media: &Media<'a>, accepted: Option<Accepted>) {
        self.lines.push(AnswerLine {
            name: media.name.to_owned(),
            protocol: media.protocol.to_owned(),
            mid: media.mid.map(str::to_owned),
            format_list: tokens(media.format_list),
            offered: Vec::new(),
            accepted,
        });
    }

    fn accepted(
        &mut self,
        media: &Media<'a>,
        format: &Format<'a>,
        source: &SourceTrack,
        track: Option<usize>,
    ) -> Accepted {
        let direction = match (track, self.answer_to) {
            (None, _) => Direction::Inactive,
            (Some(_), AnswerTo::Publisher) => Direction::RecvOnly,
            (Some(_), AnswerTo::Player) => Direction::SendOnly,
        };
        Accepted {
            direction,
            rtp: self.rtp_parameters(media, format, source.codec),
            fmtp: answer_fmtp(format, source),
            rtcp_rsize: media.rtcp_rsize,
            track,
        }
    }

    fn rtp_parameters(&mut self, media: &Media<'a>, format: &Format<'a>, codec: Codec) -> RtpParameters {
        let (kind, _, clock_rate_hz, _) = description(codec);
        let publish = self.answer_to == AnswerTo::Publisher;
        let extensions = self.extension_ids(media, kind);
        let feedback = format.feedback;
        RtpParameters {
            kind: kind.into(),
            codec: codec.into(),
            clock_rate_hz,
            payload_type: format.payload_type.into(),
            rtx_payload_type: rtx_of(media, format.payload_type, clock_rate_hz).map(u32::from),
            mid: mid_in_packets(media).unwrap_or_default().to_owned(),
            extensions,
            nack: feedback.nack,
            // A picture is what these ask for.
            pli: feedback.pli && kind == MediaKind::Video,
            fir: feedback.fir && kind == MediaKind::Video,
            // Towards players neither is answered: their bandwidth is not estimated from feedback yet.
            remb: publish && feedback.remb,
            transport_cc: publish && feedback.transport_cc && extensions.transport_cc != 0,
        }
    }

    fn extension_ids(&mut self, media: &Media<'a>, kind: MediaKind) -> ExtensionIds {
        let publish = self.answer_to == AnswerTo::Publisher;
        let mut id = |uri: &'static str, wanted: bool| -> u32 {
            let usable =
                |direction: Direction| if publish { direction.sends() } else { direction.receives() };
            let Some(id) = media.extension_id(uri, usable).filter(|_| wanted) else { return 0 };
            // RFC 9143 §9.2 forbids an id to have two meanings in one bundle; the later one is left out.
            match self.extensions.get_mut(usize::from(id)) {
                Some(slot) if slot.is_none_or(|meaning| meaning == uri) => {
                    *slot = Some(uri);
                    u32::from(id)
                }
                _ => 0,
            }
        };
        ExtensionIds {
            mid: id(URI_MID, mid_in_packets(media).is_some()),
            transport_cc: id(URI_TRANSPORT_CC, publish),
            abs_send_time: 0,
            audio_level: id(URI_AUDIO_LEVEL, kind == MediaKind::Audio),
            video_orientation: id(URI_VIDEO_ORIENTATION, kind == MediaKind::Video),
        }
    }

    fn finish(mut self) -> Result<Plan, Refusal> {
        if self.tracks.is_empty() {
            return Err(self.rejected.first().map_or(Refusal::NoUsableMedia, |rejected| rejected.why));
        }
        self.say_once_a_kind();
        self.settle_payload_types();
        for (line, media) in self.lines.iter_mut().zip(&self.offer.media) {
            if line.accepted.is_none() {
                line.offered = offered_attributes(media);
            }
        }
        if self.offer.ice_lite {
            return Err(Refusal::BothIceLite);
        }
        let order = self.accepted_order();
        let remote = remote_side(self.offer, &self.speakers(&order))?;
        let mids = order.iter().filter_map(|&index| self.offer.media.get(index)?.mid);
        Ok(Plan {
            remote,
            bundle: mids.filter(|_| self.bundled).map(str::to_owned).collect(),
            tagged: order.first().copied().unwrap_or_default(),
            tracks: self.tracks,
            rejected: self.rejected,
            lines: self.lines,
        })
    }

    /// Of a kind that is accepted, too, another m-line was wanted as much.
    fn say_once_a_kind(&mut self) {
        let mut said = Vec::new();
        self.rejected.retain(|one| {
            !said.contains(&one.kind) && {
                said.push(one.kind);
                true
            }
        });
        for one in &mut self.rejected {
            let is_had = self.tracks.iter().any(|track| track.source.kind == one.kind);
            if is_had && !matches!(one.why, Refusal::BadLine(_)) {
                one.why = Refusal::OneOfAKind;
            }
        }
    }

    /// Whose transport attributes count, first to last: the accepted m-lines, and what they do not say for
    /// themselves, the rest of the group. Its author's tagged m-line speaks for those that leave it to that
    /// (RFC 9143 §7.1.3), though its media be rejected.
    fn speakers(&self, order: &[usize]) -> Vec<usize> {
        let may_speak = |(index, media): &(usize, &Media<'_>)| {
            !(media.is_rejected() || media.malformed || order.contains(index))
        };
        let rest = self.group().filter(|one| self.bundled && may_speak(one)).map(|(index, _)| index);
        order.iter().copied().chain(rest).collect()
    }

    /// Indices of the accepted m-lines, in the order of the offer's group without those that were rejected
    /// (its author's tagged one too: then the next speaks for the bundle, RFC 9143 §7.3.1).
    fn accepted_order(&self) -> Vec<usize> {
        let is_accepted = |index: &usize| self.lines.get(*index).is_some_and(|line| line.accepted.is_some());
        if self.bundled {
            self.group().map(|(index, _)| index).filter(is_accepted).collect()
        } else {
            (0..self.lines.len()).filter(is_accepted).collect()
        }
    }
}

/// Takes a payload type, unless it is taken.
fn takes(payload_types: &mut [bool; 128], payload_type: u32) -> bool {
    let taken = payload_types.get_mut(payload_type as usize);
    taken.is_some_and(|taken| !std::mem::replace(taken, true))
}

fn malformed(media: &Media<'_>) -> SdpError {
    SdpError { line: media.line, kind: SdpErrorKind::BadMediaLine }
}

/// The formats of an m-line, as an answer that rejects it may repeat them.
fn tokens(format_list: &str) -> String {
    let tokens = format_list.split_ascii_whitespace().filter(|format| super::attribute::is_token(format));
    let tokens = tokens.collect::<Vec<_>>().join(" ");
    if tokens.is_empty() { "0".to_owned() } else { tokens }
}

/// What an answer repeats of an m-line that it rejects. No RFC asks for it (RFC 3264 §6), but aiortc gives
/// up an answer in which any m-line has no rtcp-mux or none of its codecs.
fn offered_attributes(media: &Media<'_>) -> Vec<String> {
    let is_text = |value: &&str| value.bytes().all(|byte| byte == b' ' || byte.is_ascii_graphic());
    let mut attributes = Vec::new();
    if media.rtcp_mux && media.kind.is_some() {
        attributes.push("rtcp-mux".to_owned());
    }
    for Format { payload_type, rtpmap, fmtp, .. } in &media.formats {
        if let Some(RtpMap { name, clock_rate_hz, channels }) = rtpmap {
            let channels = if *channels > 1 { format!("/{channels}") } else { String::new() };
            attributes.push(format!("rtpmap:{payload_type} {name}/{clock_rate_hz}{channels}"));
        }
        attributes
            .extend(fmtp.iter().copied().filter(is_text).map(|fmtp| format!("fmtp:{payload_type} {fmtp}")));
    }
    attributes
}

/// The mid, if the header extension can carry it.
fn mid_in_packets<'a>(media: &Media<'a>) -> Option<&'a str> {
    media.mid.filter(|mid| mid.len() <= super::limits::MID_BYTES_MAX)
}

/// The format parameters of the answer. Opus: what both sides want in a room (RFC 7587 §6.1); `stereo` is
/// left to the page, which may add it. H.264: the offer's own profile and level, which is always allowed
/// (RFC 6184 §8.2.2); what it does not say, from the stream.
fn answer_fmtp(format: &Format<'_>, source: &SourceTrack) -> String {
    match source.codec {
        Codec::Opus => {
            let echoed = ["minptime", "useinbandfec"].into_iter().filter_map(|name| {
                let value = super::attribute::decimal(format.parameter(name)?)?;
                Some(format!("{name}={value}"))
            });
            echoed.collect::<Vec<_>>().join(";")
        }
        Codec::H264 => {
            let stream = source.h264.as_ref();
            let h264 = H264Format::of(format).zip(stream).map(|(h264, stream)| h264.completed_by(stream));
            h264.map(|h264| h264.fmtp()).unwrap_or_default()
        }
        Codec::Vp8 | Codec::Pcmu | Codec::Pcma => String::new(),
    }
}

/// SSRCs of media and retransmissions that a publisher announces, 0 for none. With simulcast it is the first
/// layer's: an answer without `a=simulcast` makes the publisher send one (RFC 8853 §5.3.2).
fn announced_ssrcs(media: &Media<'_>, with_rtx: bool) -> (u32, u32) {
    let group = |semantics: &str| media.groups.iter().find(|group| group.semantics == semantics);
    let ssrc = group("SIM")
        .or_else(|| group("FID"))
        .map(|group| group.first)
        .or_else(|| media.sources.first().map(|source| source.ssrc))
        .unwrap_or(0);
    let fid = media.groups.iter().find(|group| group.semantics == "FID" && group.first == ssrc);
    (ssrc, fid.filter(|_| with_rtx).map_or(0, |group| group.second))
}

/// ICE and DTLS parameters: those of the first of these m-lines that has any (bundled m-lines need not repeat
/// them, RFC 9143 §7.1.3).
fn remote_side(offer: &Offer<'_>, order: &[usize]) -> Result<RemoteSide, Refusal> {
    let bundled = || order.iter().filter_map(|&index| offer.media.get(index));
    let or_its_line = |refusal| bundled().find_map(|media| media.fault).map_or(refusal, Refusal::BadLine);
    let (ufrag, pwd) = bundled()
        .find_map(|media| Some((media.transport.ufrag?, media.transport.pwd?)))
        .ok_or_else(|| or_its_line(Refusal::NoIceCredentials))?;
    let fingerprints_sha256 = bundled()
        .map(|media| &media.transport.fingerprints_sha256)
        .find(|fingerprints| !fingerprints.is_empty())
        .ok_or_else(|| or_its_line(Refusal::NoSha256Fingerprint))?;
    // RFC 4145 §4: an offer without the attribute is `active`.
    let is_dtls_server = match bundled().find_map(|media| media.transport.setup) {
        None | Some((Setup::ActPass | Setup::Active, _)) => false,
        // RFC 5763 §5: who says so waits for our hello.
        Some((Setup::Passive, _)) => true,
        Some((Setup::HoldConn, line)) => return Err(Refusal::SetupHoldConn(line)),
    };
    let fingerprints_sha256 = fingerprints_sha256.clone();
    Ok(RemoteSide { ufrag: ufrag.to_owned(), pwd: pwd.to_owned(), fingerprints_sha256, is_dtls_server })
}
