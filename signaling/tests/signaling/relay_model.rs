//! A relay without media: it keeps transports and tracks and answers commands as the language of the boundary
//! says.

use recorder_control::PORT_NAME;
use relay_control::{
    AddDownTrack, AddTap, AddUpTrack, CandidateAddress, Command, CommandError, Done, DownTrackAdded,
    DownTrackInfo, ErrorCode, Inventory, LABEL_BYTES_MAX, MediaKind, PortInfo, Priority, ReplyBody, Stats,
    TransportInfo, TransportOpened, TransportProbed, TransportState, UpTrackAdded, UpTrackInfo, Welcome,
};
use std::collections::BTreeMap;
use std::time::Duration;

#[derive(Default)]
pub(crate) struct RelayModel {
    pub(crate) boot_id: u64,
    pub(crate) transports: BTreeMap<u64, TransportInfo>,
    /// Everything it was asked, in order.
    pub(crate) asked: Vec<Command>,
    pub(crate) started_by_signaling: bool,
    /// A newer controller has been here.
    pub(crate) superseded: bool,
    /// No client of it ever proves an address.
    pub(crate) silent: bool,
    /// It opens no transport, for this reason.
    pub(crate) refuses: Option<ErrorCode>,
    /// The recorder is at its port.
    pub(crate) recorder: bool,
    /// What goes to the recorder: the tap's label, by track.
    pub(crate) taps: BTreeMap<u64, Vec<u8>>,
    /// It orders no taps, for this reason.
    pub(crate) refuses_taps: Option<ErrorCode>,
    /// When something authentic of a transport's peer came last; `None`: it comes all the time. Of those that
    /// are not here nothing ever came.
    pub(crate) peers: BTreeMap<u64, Option<Duration>>,
    pub(crate) now: Duration,
    restarts: u64,
    restarted: BTreeMap<u64, String>,
}

impl RelayModel {
    pub(crate) fn new(boot_id: u64) -> Self {
        Self { boot_id, ..Self::default() }
    }

    pub(crate) fn welcome(&self) -> Welcome {
        Welcome {
            version: relay_control::CONTROL_VERSION,
            boot_id: self.boot_id,
            fingerprint_sha256: vec![0xab; 32],
            shards: 1,
            io_backend: "model".to_owned(),
            next_event_seq: 1,
            epoch: 1,
            max_receive_bitrate_bps: 4_000_000,
            started_by_signaling: self.started_by_signaling,
        }
    }

    pub(crate) fn inventory(&self) -> Inventory {
        let transports = self.transports.values().cloned().collect();
        let recorder = PortInfo { port: PORT_NAME.to_owned(), ..PortInfo::default() };
        let ports = self.recorder.then_some(recorder).into_iter().collect();
        Inventory { boot_id: self.boot_id, transports, ports, ..Inventory::default() }
    }

    pub(crate) fn handle(&mut self, command: Command) -> ReplyBody {
        self.asked.push(command.clone());
        if self.superseded {
            return error(ErrorCode::StaleEpoch);
        }
        match command {
            Command::Hello(_) => ReplyBody::Welcome(self.welcome()),
            Command::GetInventory(_) => ReplyBody::Inventory(self.inventory()),
            Command::GetStats(_) => ReplyBody::Stats(Stats::default()),
            Command::OpenTransport(_) if self.refuses.is_some() => {
                error(self.refuses.unwrap_or(ErrorCode::Busy))
            }
            Command::OpenTransport(open) => {
                let opened = opened(open.transport_id, 0);
                let info = TransportInfo {
                    transport_id: open.transport_id,
                    room_id: open.room_id,
                    label: open.label,
                    opened: Some(opened.clone()),
                    ..TransportInfo::default()
                };
                self.transports.entry(open.transport_id).or_insert(info);
                ReplyBody::TransportOpened(opened)
            }
            Command::RestartIce(restart) => match self.transports.get_mut(&restart.transport_id) {
                None => error(ErrorCode::UnknownTransport),
                // A repeated one is answered as the first.
                Some(info) if self.restarted.get(&restart.transport_id) == Some(&restart.remote_ufrag) => {
                    ReplyBody::TransportOpened(info.opened.clone().unwrap_or_default())
                }
                Some(info) => {
                    self.restarted.insert(restart.transport_id, restart.remote_ufrag);
                    self.restarts += 1;
                    let opened = opened(restart.transport_id, self.restarts);
                    info.opened = Some(opened.clone());
                    ReplyBody::TransportOpened(opened)
                }
            },
            Command::ProbeTransport(probe) => {
                let transport_id = probe.transport_id;
                let silent = match self.peers.get(&transport_id) {
                    Some(Some(last)) => self.now.saturating_sub(*last),
                    Some(None) => Duration::ZERO,
                    None => self.now,
                };
                let silent_ms = u64::try_from(silent.as_millis()).unwrap_or(u64::MAX);
                ReplyBody::TransportProbed(TransportProbed { transport_id, silent_ms })
            }
            Command::CloseTransport(close) => {
                let closed = self.transports.remove(&close.transport_id);
                for track in closed.iter().flat_map(|info| &info.up_tracks) {
                    self.taps.remove(&track.track_id);
                }
                ReplyBody::Done(Done {})
            }
            Command::AddUpTrack(add) => self.add_up(add),
            Command::AddDownTrack(add) => self.add_down(add),
            Command::SetLabel(set) => match self.transports.get_mut(&set.transport_id) {
                None => error(ErrorCode::UnknownTransport),
                Some(info) => {
                    info.label = set.label;
                    ReplyBody::Done(Done {})
                }
            },
            Command::AddTap(tap) => self.add_tap(tap),
            Command::RemoveTap(tap) => {
                self.taps.remove(&tap.track_id);
                ReplyBody::Done(Done {})
            }
            Command::RemoveTrack(_)
            | Command::RequestKeyframe(_)
            | Command::AddSource(_)
            | Command::RemoveSource(_)
            | Command::Shutdown(_) => ReplyBody::Done(Done {}),
        }
    }

    /// Of the video that it was asked to take, in order.
    pub(crate) fn priorities(&self) -> Vec<Priority> {
        let video = self.asked.iter().filter_map(|command| match command {
            Command::AddUpTrack(up) if up.rtp.kind() == MediaKind::Video => Some(up.priority()),
            _ => None,
        });
        video.collect()
    }

    fn add_tap(&mut self, tap: AddTap) -> ReplyBody {
        assert_eq!(tap.port, PORT_NAME);
        assert!(tap.label.len() <= LABEL_BYTES_MAX, "{} octets", tap.label.len());
        let mut tracks = self.transports.values().flat_map(|info| &info.up_tracks);
        if !self.recorder {
            return error(ErrorCode::UnknownPort);
        }
        if !tracks.any(|track| track.track_id == tap.track_id) {
            return error(ErrorCode::UnknownTrack);
        }
        if let Some(code) = self.refuses_taps {
            return error(code);
        }
        self.taps.insert(tap.track_id, tap.label);
        ReplyBody::Done(Done {})
    }

    fn add_up(&mut self, add: AddUpTrack) -> ReplyBody {
        let Some(info) = self.transports.get_mut(&add.transport_id) else {
            return error(ErrorCode::UnknownTransport);
        };
        let track = UpTrackInfo {
            track_id: add.track_id,
            rtp: add.rtp,
            ssrc: add.ssrc,
            priority: add.priority,
            ..UpTrackInfo::default()
        };
        info.up_tracks.push(track);
        ReplyBody::UpTrackAdded(UpTrackAdded { track_id: add.track_id })
    }

    fn add_down(&mut self, add: AddDownTrack) -> ReplyBody {
        let source = self.transports.values().flat_map(|info| {
            info.up_tracks.iter().map(|track| (info.room_id, track.track_id, track.rtp.codec))
        });
        let source = source.into_iter().find(|(_, id, _)| *id == add.up_track_id);
        let Some(info) = self.transports.get_mut(&add.transport_id) else {
            return error(ErrorCode::UnknownTransport);
        };
        match source {
            None => error(ErrorCode::UnknownTrack),
            Some((room, _, codec)) if room != info.room_id || codec != add.rtp.codec => {
                error(ErrorCode::Mismatch)
            }
            Some(_) => {
                let ssrc = u32::try_from(1000 + info.down_tracks.len()).unwrap_or(1);
                let rtx_ssrc = if add.rtp.rtx_payload_type.is_some() { ssrc + 500 } else { 0 };
                info.down_tracks.push(DownTrackInfo {
                    track_id: add.track_id,
                    up_track_id: add.up_track_id,
                    rtp: add.rtp,
                    ssrc,
                    rtx_ssrc,
                    ..DownTrackInfo::default()
                });
                ReplyBody::DownTrackAdded(DownTrackAdded { track_id: add.track_id, ssrc, rtx_ssrc })
            }
        }
    }

    pub(crate) fn set_state(&mut self, transport: u64, state: TransportState) {
        if let Some(info) = self.transports.get_mut(&transport) {
            info.state = state as i32;
        }
    }
}

fn opened(transport_id: u64, generation: u64) -> TransportOpened {
    TransportOpened {
        transport_id,
        shard: 0,
        local_ufrag: format!("ufrag{generation}"),
        local_pwd: "password-of-the-relay-model".to_owned(),
        candidates: vec![CandidateAddress { ip: "192.0.2.1".to_owned(), port: 10_000 }],
    }
}

fn error(code: ErrorCode) -> ReplyBody {
    let message = "refused by the model".to_owned();
    ReplyBody::Error(CommandError { code: code as i32, message, highest_epoch: 0 })
}
