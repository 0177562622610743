//! What may happen.

use super::client::{Client, Packet};
use super::{ROOMS, Run};
use crate::actions::Actions;
use prost::Message as _;
use relay_control::{
    AddDownTrack, AddUpTrack, CloseTransport, Codec, Command, ExtensionIds, MediaKind, OpenTransport,
    RemoveTrack, ReplyBody, Request, RequestKeyframe, RestartIce, RtpParameters, SetLabel,
};
use relay_core::id::{SeqNo, Ssrc};
use relay_core::port::OpenPort;
use relay_core::shed::SHED_STEPS;
use relay_core::wire::rtcp::{self, ReportBlock};
use relay_port::{Clock, Entry, MediaTime, Message, Packet as PortPacket, PortId};
use std::time::Duration;
use tests::dtls;

/// Tracks that a client may send.
const SLOTS: u8 = 4;
/// Payload types that are RTX, whichever SSRC they come on: an original sequence number stands in front (RFC
/// 4588 §4).
const RTX_PTS: [u8; 2] = [97, 99];
const PROFILES: [u16; 4] = [0xbede, 0x1000, 0x1005, 0x0000];

fn up_track_id(number: u8, slot: u8) -> u64 {
    1_000 + u64::from(number) * 8 + u64::from(slot)
}

fn down_track_id(number: u8, of: u8, slot: u8) -> u64 {
    5_000 + u64::from(number) * 64 + u64::from(of) * 8 + u64::from(slot)
}

/// SSRC of a client's track; `nth` counts those that it uses one after the other.
fn ssrc(number: u8, slot: u8, nth: u8) -> u32 {
    0x1000_0000 + (u32::from(number) << 16) + (u32::from(slot) << 8) + u32::from(nth) * 2
}

/// What may be negotiated: slot by slot another kind, and numbers that are their own in each direction.
fn parameters(slot: u8, down: bool) -> RtpParameters {
    let (kind, codec, payload_type, rtx) = match slot % SLOTS {
        0 => (MediaKind::Video, Codec::Vp8, 96, Some(97)),
        1 => (MediaKind::Audio, Codec::Opus, 111, None),
        2 => (MediaKind::Video, Codec::Vp8, 98, Some(99)),
        _ => (MediaKind::Video, Codec::H264, 100, None),
    };
    RtpParameters {
        kind: kind.into(),
        codec: codec.into(),
        clock_rate_hz: if kind == MediaKind::Audio { 48_000 } else { 90_000 },
        payload_type: payload_type + u32::from(down) * 4,
        rtx_payload_type: rtx.map(|pt| pt + u32::from(down) * 4),
        mid: if slot.is_multiple_of(4) {
            "0".into()
        } else if slot % 4 == 2 {
            String::new()
        } else {
            "1".into()
        },
        extensions: ExtensionIds {
            mid: 1 + u32::from(down),
            transport_cc: 3,
            abs_send_time: 0,
            audio_level: 4,
            video_orientation: 5,
        },
        nack: true,
        pli: slot != 3,
        fir: slot == 3,
        remb: true,
        transport_cc: true,
    }
}

impl Run {
    /// One action. `None` when there are no more octets.
    pub(super) fn act(&mut self, action: u8, actions: &mut Actions<'_>) -> Option<()> {
        let with = actions.u8()?;
        let number = with % ROOMS.len() as u8;
        let place = Self::home(number);
        match action % 32 {
            0 => self.turn(),
            1 => {
                self.now += Duration::from_millis(actions.u16()?.into());
                self.turn();
            }
            2 => {
                self.now += Duration::from_millis(u64::from(with % 64));
                self.turn();
            }
            3 => self.open(number),
            4 => self.check_from(number, actions.u8()?)?,
            5 => self.hello(number, with),
            6 => self.join(number),
            7 => self.add_up(number, with / 8, actions.u8()?),
            8 | 9 => self.add_down(number, actions.u8()?, with),
            10 => self.remove(number, actions.u8()?, actions.u8()?),
            11 => drop(self.command(
                place,
                CloseTransport { transport_id: Client::transport_id(number) }.into_command(),
            )),
            12 => self.restart(number, with),
            13 => drop(self.command(
                place,
                RequestKeyframe { track_id: up_track_id(number, with / 8 % 4) }.into_command(),
            )),
            14 => self.raw_command(place, actions),
            15 => self.shed(with),
            16 => self.open_port(number, actions.u8()?),
            17 => self.piped(place, actions)?,
            18 => self.full = with & 1 == 1,
            19 => self.stalled = with & 1 == 1,
            20 => self.on(place, |shard, _, sending| shard.forward_pending(sending)),
            21 => self.raw_datagram(number, actions),
            22 => self.damaged(number, with, actions)?,
            23 | 24 => self.rtcp(number, with, actions)?,
            25 => self.raw_rtcp(number, actions),
            26..=28 => self.media_run(number, with, actions)?,
            _ => self.media(number, with, actions)?,
        }
        Some(())
    }

    /// In, connected, and with what the first two tracks of a call are.
    pub(super) fn join(&mut self, number: u8) {
        self.open(number);
        let address = self.clients[usize::from(number)].address;
        let _ = self.check_from(number, 0x80);
        self.clients[usize::from(number)].address = address;
        self.hello(number, 0);
        self.turn();
        (0..2).for_each(|slot| self.add_up(number, slot, 1));
        (0..ROOMS.len() as u8).for_each(|of| self.add_down(number, of * 8, 0));
    }

    fn open(&mut self, number: u8) {
        let times = self.times + 1;
        let client = &mut self.clients[usize::from(number)];
        let is_new = !client.is_in;
        if is_new {
            self.times = times;
            client.renew(times);
        }
        let open = OpenTransport {
            transport_id: Client::transport_id(number),
            room_id: client.room,
            remote_ufrag: "peer".into(),
            remote_pwd: "a password of the peer's own".into(),
            remote_fingerprint_sha256: client.fingerprint.to_vec(),
            more_fingerprints_sha256: Vec::new(),
            label: vec![number],
            max_receive_bitrate_bps: 0,
            dtls_client: false,
        };
        let reply = self.command(Self::home(number), Command::OpenTransport(open));
        if let (ReplyBody::TransportOpened(opened), true) = (reply, is_new) {
            let client = &mut self.clients[usize::from(number)];
            client.is_in = true;
            client.learn(&opened, "peer");
        }
    }

    /// A check from one of its own addresses or one of a neighbour's; or one that was sent before, from here.
    fn check_from(&mut self, number: u8, how: u8) -> Option<()> {
        let owner = if how & 0x40 == 0 { number } else { how % ROOMS.len() as u8 };
        let client = &mut self.clients[usize::from(number)];
        client.address = Client::address(owner, how >> 4 & 3);
        let captured = self.captured.take_if(|_| how & 0x20 != 0).filter(|(whose, _)| *whose == number);
        let check = captured.map(|(_, bytes)| bytes).or_else(|| client.check(how & 0x80 != 0));
        let Some(check) = check else { return Some(()) };
        self.watch.checks(client);
        self.captured = Some((number, check.clone()));
        self.send(number, check);
        Some(())
    }

    fn hello(&mut self, number: u8, with: u8) {
        let mut hello = dtls::hello(&self.clients[usize::from(number)].fingerprint);
        match with >> 5 {
            // Another certificate, which ends the handshake; or what is no hello.
            6 => hello[9] ^= 1,
            7 => hello.truncate(usize::from(with)),
            _ => {}
        }
        self.send(number, hello);
    }

    fn add_up(&mut self, number: u8, slot: u8, how: u8) {
        let slot = slot % SLOTS;
        let named = how & 1 == 1;
        let up = AddUpTrack {
            transport_id: Client::transport_id(number),
            track_id: up_track_id(number, slot),
            rtp: parameters(slot, false),
            ssrc: if named { ssrc(number, slot, 0) } else { 0 },
            rtx_ssrc: if named { ssrc(number, slot, 0) + 1 } else { 0 },
            priority: i32::from(how >> 1) % 5,
        };
        self.command(Self::home(number), Command::AddUpTrack(up));
    }

    fn add_down(&mut self, number: u8, of: u8, with: u8) {
        let (owner, slot) = (of / 8 % ROOMS.len() as u8, of % SLOTS);
        let down = AddDownTrack {
            transport_id: Client::transport_id(number),
            track_id: down_track_id(number, owner, slot),
            up_track_id: up_track_id(owner, slot),
            rtp: parameters(slot ^ u8::from(with == 0xff), true),
            cname: "relay".into(),
        };
        let reply = self.command(Self::home(number), Command::AddDownTrack(down));
        if let ReplyBody::DownTrackAdded(added) = reply {
            let client = &mut self.clients[usize::from(number)];
            client.receives.push((added.ssrc, added.rtx_ssrc));
            client.rtx.extend((added.rtx_ssrc != 0).then_some(added.rtx_ssrc));
        }
    }

    fn remove(&mut self, number: u8, owner: u8, slot: u8) {
        let (owner, slot) = (owner % 8, slot % 8);
        let track_id = if owner > 5 { up_track_id(number, slot) } else { down_track_id(number, owner, slot) };
        self.command(Self::home(number), Command::RemoveTrack(RemoveTrack { track_id }));
    }

    fn restart(&mut self, number: u8, with: u8) {
        let own = format!("ufrag{with}");
        let restart = RestartIce {
            transport_id: Client::transport_id(number),
            remote_ufrag: own.clone(),
            remote_pwd: "another password of the peer's own".into(),
        };
        if let ReplyBody::TransportOpened(opened) =
            self.command(Self::home(number), Command::RestartIce(restart))
        {
            self.clients[usize::from(number)].learn(&opened, &own);
        }
        let label =
            SetLabel { transport_id: Client::transport_id(number), label: vec![0; usize::from(with) * 20] };
        self.command(Self::home(number), Command::SetLabel(label));
    }

    /// Whatever can be said in the control language.
    fn raw_command(&mut self, place: usize, actions: &mut Actions<'_>) {
        let len = usize::from(actions.u8().unwrap_or(0));
        let Ok(Request { command: Some(command), .. }) = Request::decode(actions.octets(len)) else { return };
        self.command(place, command);
    }

    fn shed(&mut self, with: u8) {
        for place in 0..2 {
            self.on(place, |shard, now, _| shard.shed(now, with % (SHED_STEPS + 2)));
        }
    }

    fn open_port(&mut self, number: u8, slot: u8) {
        let place = Self::home(number);
        let (track_id, to) = (up_track_id(number, slot % SLOTS), (1 - place) as u32 + u32::from(slot >> 7));
        let to = PortId::shard(to);
        let room_id = Some(self.clients[usize::from(number)].room + u64::from(slot >> 6 & 1));
        self.on(place, |shard, _, _| drop(shard.open_port(OpenPort { track_id, to, room_id })));
    }

    /// Words from the other shard that it never said: about tracks that are piped, or were, or never will be.
    fn piped(&mut self, place: usize, actions: &mut Actions<'_>) -> Option<()> {
        let (kind, of) = (actions.u8()?, actions.u8()?);
        let owner = of / 8 % ROOMS.len() as u8;
        let track_id = up_track_id(owner, of % SLOTS);
        let mut entry = Entry::default();
        match kind % 5 {
            0 => {
                let packet = PortPacket {
                    track_id,
                    timestamp: actions.u32()?,
                    seq: actions.u64()?,
                    source: u32::from(kind >> 6),
                    arrival: MediaTime::default(),
                    marker: false,
                    keyframe: kind & 8 != 0,
                    audio_level: None,
                    video_orientation: None,
                };
                let mark = [0x10, 0, self.clients[usize::from(owner)].room as u8, owner];
                entry.write_packet(packet, &mark);
                self.forged += 1;
            }
            1 => entry.write(Message::End { track_id }),
            2 => entry.write(Message::Keyframe { track_id }),
            3 => entry.write(Message::Close { track_id, opening: u64::from(actions.u8()?) }),
            _ => {
                let time = MediaTime::from_nanos(actions.u64()?.cast_signed());
                let clock = Clock { time, timestamp: actions.u32()? };
                entry.write(Message::Clock { track_id, clock });
            }
        }
        let from = PortId::shard(1 - place as u32);
        self.on(place, |shard, now, sending| shard.handle_entry(now, from, &mut entry, sending));
        Some(())
    }

    fn raw_datagram(&mut self, number: u8, actions: &mut Actions<'_>) {
        let len = usize::from(actions.u8().unwrap_or(0));
        let bytes = actions.octets(len).to_vec();
        self.send(number, bytes);
        self.on(Self::home(number), |shard, _, _| shard.handle_truncated(len));
    }

    /// A check or a hello with one octet changed.
    fn damaged(&mut self, number: u8, with: u8, actions: &mut Actions<'_>) -> Option<()> {
        let (at, change) = (usize::from(actions.u8()?), actions.u8()?.max(1));
        let client = &mut self.clients[usize::from(number)];
        let check =
            if with & 0x80 == 0 { client.check(true) } else { Some(dtls::hello(&client.fingerprint)) };
        let Some(mut bytes) = check else { return Some(()) };
        // What stands behind MESSAGE-INTEGRITY may change, and the check is good.
        self.watch.checks(client);
        // A hello with a wrong certificate is what `hello` does; its length and kind are changed here.
        let at = if with & 0x80 == 0 { at % bytes.len() } else { 0 };
        bytes[at] ^= change;
        self.send(number, bytes);
        Some(())
    }
}

/// So that a command of one line reads as one.
trait IntoCommand {
    fn into_command(self) -> Command;
}

impl IntoCommand for CloseTransport {
    fn into_command(self) -> Command {
        Command::CloseTransport(self)
    }
}

impl IntoCommand for RequestKeyframe {
    fn into_command(self) -> Command {
        Command::RequestKeyframe(self)
    }
}

/// Media and RTCP.
impl Run {
    /// An SSRC: one that the client receives or sends, another client's, or any.
    fn any_ssrc(&self, number: u8, choice: u8) -> Ssrc {
        let client = &self.clients[usize::from(number)];
        let received = client.receives.get(usize::from(choice & 7));
        Ssrc(match (choice >> 4, received) {
            (0..8, Some((media, _))) => *media,
            (8..11, Some((_, rtx))) => *rtx,
            (11 | 12, _) => ssrc(number, choice % SLOTS, 0),
            (13, _) => self.clients[usize::from(choice) % ROOMS.len()]
                .receives
                .first()
                .map_or(0, |(media, _)| *media),
            _ => u32::from(choice),
        })
    }

    fn media(&mut self, number: u8, with: u8, actions: &mut Actions<'_>) -> Option<()> {
        let (slot, how, fill) = (with / 8 % SLOTS, actions.u8()?, actions.u8()?);
        let nth = if how & 3 == 3 { fill % 4 } else { 0 };
        let is_rtx = how & 0x0c == 0x0c;
        let ssrc = ssrc(number, slot, nth) + u32::from(is_rtx);
        let ahead = match how >> 6 {
            0 | 1 => 0,
            2 => i32::from(fill.cast_signed()),
            _ => i32::from(actions.u16()?.cast_signed()),
        };
        let words = usize::from(how >> 4 & 3);
        let extension = (words > 0).then(|| (PROFILES[usize::from(fill) % 4], actions.octets(words * 4)));
        let parameters = parameters(slot, false);
        let pt = if is_rtx { parameters.rtx_payload_type } else { Some(parameters.payload_type) };
        let pt = pt.unwrap_or(fill.into()) as u8 & 0x7f;
        let client = &self.clients[usize::from(number)];
        let packet = Packet {
            pt,
            ssrc,
            index: client.index(ssrc, ahead),
            timestamp: (self.now.as_micros() / 1_000 * 90) as u32 ^ (u32::from(fill == 9) << 31),
            osn: RTX_PTS.contains(&pt).then(|| client.index(ssrc & !1, -i32::from(fill)) as u16),
            extension,
            padding: fill & 0x40 != 0,
            keyframe: fill & 0x10 != 0,
            len: usize::from(fill) * 6,
            fill,
        };
        let bytes = self.clients[usize::from(number)].media(&packet);
        self.send(number, bytes);
        Some(())
    }

    /// Numbers one after the other, from anywhere: ahead, behind, or the same again in the next cycle.
    fn media_run(&mut self, number: u8, with: u8, actions: &mut Actions<'_>) -> Option<()> {
        let (slot, count, ahead) = (with / 8 % 2, actions.u8()? % 40, actions.u16()?);
        let ssrc = ssrc(number, slot, 0);
        let client = &self.clients[usize::from(number)];
        let ahead = match ahead >> 14 {
            0 => i32::from(ahead & 3),
            1 => -i32::from(ahead & 0x3ff),
            2 => i32::from(ahead & 0x3fff),
            // The same numbers again, a cycle later: replay protection takes them.
            _ => (1 << 16) - i32::from(ahead & 0x3f),
        };
        let first = client.index(ssrc, ahead);
        for index in first..first + u64::from(count) {
            let packet = Packet {
                pt: parameters(slot, false).payload_type as u8,
                ssrc,
                index,
                timestamp: (self.now.as_micros() / 1_000 * 90) as u32,
                keyframe: index % 8 == 0,
                len: 100 + (index % 5) as usize * 200,
                ..Packet::default()
            };
            let bytes = self.clients[usize::from(number)].media(&packet);
            self.send(number, bytes);
        }
        Some(())
    }

    fn rtcp(&mut self, number: u8, with: u8, actions: &mut Actions<'_>) -> Option<()> {
        let sender = self.any_ssrc(number, actions.u8()?);
        let count = actions.u8()? % 34;
        let ssrcs: Vec<Ssrc> =
            actions.octets(count.into()).iter().map(|choice| self.any_ssrc(number, *choice)).collect();
        let media = ssrcs.first().copied().unwrap_or_default();
        let word = u64::from(actions.u32()?);
        let block = |ssrc: &Ssrc| ReportBlock {
            ssrc: *ssrc,
            lsr: word as u32,
            dlsr: u32::from(with),
            ..ReportBlock::default()
        };
        let blocks: Vec<ReportBlock> = ssrcs.iter().map(block).collect();
        let seqs: Vec<SeqNo> = (0..u16::from(count)).map(|n| SeqNo((word as u16).wrapping_add(n))).collect();
        let ntp = word << 32 | word;
        let bytes = self.clients[usize::from(number)].rtcp(|out| match with / 8 % 9 {
            0 => rtcp::write_rr(out, sender, &blocks),
            1 => rtcp::write_sr(out, sender, ntp, word as u32, 1, 1, &blocks),
            2 | 3 => rtcp::write_nack(out, sender, media, &seqs),
            4 => rtcp::write_pli(out, sender, media),
            5 => rtcp::write_fir(out, sender, media, with),
            6 => rtcp::write_remb(out, sender, word, &ssrcs),
            7 => rtcp::write_bye(out, media),
            _ => rtcp::write_sdes_cname(out, sender, "peer"),
        });
        bytes.into_iter().for_each(|bytes| self.send(number, bytes));
        Some(())
    }

    /// Authentic octets of any kind that begin as RTCP does.
    fn raw_rtcp(&mut self, number: u8, actions: &mut Actions<'_>) {
        let len = usize::from(actions.u8().unwrap_or(0));
        let words = actions.octets(len);
        let bytes = self.clients[usize::from(number)].rtcp(|out| {
            out.get_mut(..8)?.copy_from_slice(&[0x80, 201, 0, 1, 0, 0, 0, number]);
            out.get_mut(8..8 + words.len())?.copy_from_slice(words);
            Some(8 + words.len())
        });
        bytes.into_iter().for_each(|bytes| self.send(number, bytes));
    }
}
