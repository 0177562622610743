//! Who needs a keyframe, when a publisher is asked for one, and who waits until it comes.
//!
//! A subscriber's video begins with a keyframe, so it waits for one ([`Gate`](crate::down::Gate)) when it is
//! new, when another source continues the track, and when it was withheld. Whoever waits has one asked for;
//! so does a subscriber by PLI or FIR, within its own bounds ([`KeyframeBudget`](crate::down::KeyframeBudget)),
//! and a jump of the publisher's numbering. All requests for a track are merged
//! ([`KeyframeRequests`](crate::up::KeyframeRequests)), which decides when one leaves.

use crate::down::Grant;
use crate::id::Ssrc;
use crate::keys::{DownKey, LayerKey, UpKey};
use crate::media::MediaKind;
use crate::outbox::Outbox;
use crate::ports::Ports;
use crate::stats::{Count, Counters, DropReason};
use crate::time::Time;
use crate::timers::{Deadlines, TimerOwner};
use crate::track::{DownTimer, Listener, Source, Tracks, UpTrack};
use crate::transport::Transport;
use crate::transports::Transports;
use crate::up::{Accepted, Asker};
use crate::wire::rtcp;
use relay_port::{PortId, PortKind};
use std::ops::Range;

/// The publisher's numbering jumped. The subscribers' goes on; what is missing only a keyframe can mend.
pub(super) fn on_accepted(now: Time, up: &mut UpTrack, layer: u8, accepted: &Accepted) {
    if accepted.resync && up.params.kind == MediaKind::Video && up.is_wanted() {
        up.layers[usize::from(layer)].stream.keyframes.request(now, Asker::Newcomer);
    }
}

/// A subscriber asks, by PLI or FIR. Not for what is withheld: that begins with one when it is taken back.
pub(super) fn on_request(
    now: Time,
    subscriber: &Transport,
    media: Ssrc,
    tracks: &mut Tracks,
    deadlines: &mut Deadlines<TimerOwner>,
    counters: &mut Counters,
) -> Result<(), DropReason> {
    let down_key = tracks.down_by_ssrc(&subscriber.downs, media).ok_or(DropReason::RtcpForeignSsrc)?;
    let down = tracks.down(down_key);
    if tracks.is_shed(down) {
        return Err(DropReason::KeyframeShed);
    }
    let layer = down.layer;
    let is_waiting = tracks.layer(layer).stream.keyframes.is_waiting();
    let down = &mut tracks.downs[down_key];
    if is_waiting {
        // One is on its way already. Who has no picture yet asks again and again until it comes.
        if !down.stream.awaits_keyframe() {
            down.keyframes.served(now);
        }
        counters.add(Count::KeyframesMerged, 1);
        return Ok(());
    }
    match down.keyframes.request(now) {
        Grant::First => want(now, layer, Asker::Newcomer, tracks, deadlines, counters),
        Grant::Again => want(now, layer, Asker::Again, tracks, deadlines, counters),
        Grant::Later(due) => {
            counters.add(Count::KeyframesDeferred, 1);
            down.timers.set(DownTimer::Keyframe, due);
            down.arm(down_key, deadlines);
        }
    }
    Ok(())
}

/// The time of a subscriber's request that had to wait has come.
pub(super) fn on_due(
    now: Time,
    down_key: DownKey,
    tracks: &mut Tracks,
    deadlines: &mut Deadlines<TimerOwner>,
    counters: &mut Counters,
) {
    let layer = tracks.down(down_key).layer;
    let last_keyframe = tracks.layer(layer).stream.keyframes.last_keyframe();
    let down = &mut tracks.downs[down_key];
    if down.keyframes.grant_waiting(now, last_keyframe) && !tracks.is_shed(tracks.down(down_key)) {
        want(now, layer, Asker::Again, tracks, deadlines, counters);
    }
}

/// What is behind a port asks. Another shard has merged the requests of its own subscribers, each within its
/// bounds; a local process has a budget on each track that it listens to.
pub(super) fn on_port_request(
    now: Time,
    from: PortId,
    up_key: UpKey,
    tracks: &mut Tracks,
    deadlines: &mut Deadlines<TimerOwner>,
    counters: &mut Counters,
) {
    let layer = LayerKey::first(up_key);
    if from.kind != PortKind::Local || tracks.layer(layer).stream.keyframes.is_waiting() {
        return want(now, layer, Asker::Newcomer, tracks, deadlines, counters);
    }
    let up = &mut tracks.ups[up_key];
    let Some(listener) = up.ports.iter_mut().find(|listener| listener.port == from) else { return };
    match listener.keyframes.request(now) {
        Grant::First => want(now, layer, Asker::Newcomer, tracks, deadlines, counters),
        Grant::Again => want(now, layer, Asker::Again, tracks, deadlines, counters),
        Grant::Later(_) => {
            counters.add(Count::KeyframesDeferred, 1);
            up.arm(up_key, deadlines);
        }
    }
}

/// The time of local processes' requests that had to wait has come.
pub(super) fn on_port_due(now: Time, up: &mut UpTrack) {
    let Some(layer) = up.layers.first_mut() else { return };
    let keyframes = &mut layer.stream.keyframes;
    for Listener { keyframes: budget, .. } in &mut up.ports {
        let is_due = budget.poll_timeout().is_some_and(|due| due <= now);
        if is_due && budget.grant_waiting(now, keyframes.last_keyframe()) {
            keyframes.request(now, Asker::Again);
        }
    }
}

/// Another source continues a track: its subscribers' video waits for that one's keyframe.
pub(super) fn await_from(layer: LayerKey, tracks: &mut Tracks) {
    let Tracks { ups, downs, .. } = tracks;
    for &down_key in &ups[layer.up].layers[usize::from(layer.layer)].subscribers {
        downs[down_key].stream.await_keyframe();
    }
}

/// A subscriber is ready: its video begins at the next keyframe.
pub(super) fn want_all(
    now: Time,
    subscriber: &Transport,
    tracks: &mut Tracks,
    deadlines: &mut Deadlines<TimerOwner>,
    counters: &mut Counters,
) {
    for &down_key in &subscriber.downs {
        let down = tracks.down(down_key);
        if !tracks.is_shed(down) {
            want(now, down.layer, Asker::Newcomer, tracks, deadlines, counters);
        }
    }
}

/// Subscriptions with ranks in `restored` get video again, from a keyframe on.
pub(super) fn want_restored(
    now: Time,
    restored: &Range<u8>,
    tracks: &mut Tracks,
    deadlines: &mut Deadlines<TimerOwner>,
    counters: &mut Counters,
) {
    let waits = |key: &DownKey| {
        let down = tracks.down(*key);
        restored.contains(&down.rank) && down.stream.awaits_keyframe()
    };
    let layers = tracks.layers().filter(|(_, layer)| layer.subscribers.iter().any(waits));
    let layers: Vec<LayerKey> = layers.map(|(key, _)| key).collect();
    for layer in layers {
        want(now, layer, Asker::Newcomer, tracks, deadlines, counters);
    }
}

/// It is asked for when the timer fires, merged with other requests.
pub(super) fn want(
    now: Time,
    key: LayerKey,
    asker: Asker,
    tracks: &mut Tracks,
    deadlines: &mut Deadlines<TimerOwner>,
    counters: &mut Counters,
) {
    let up = &mut tracks.ups[key.up];
    if up.params.kind != MediaKind::Video {
        return;
    }
    if up.layers[usize::from(key.layer)].stream.keyframes.request(now, asker) {
        counters.add(Count::KeyframesMerged, 1);
    }
    up.arm(key.up, deadlines);
}

/// Asks the publisher: by PLI (RFC 4585 §6.3.1), or FIR (RFC 5104 §4.3.1) if that is all it knows. The
/// publisher behind a port is asked by its own side, which merges the requests of all ports once more.
pub(super) fn ask_publisher<O: Outbox>(
    now: Time,
    up: &mut UpTrack,
    transports: &mut Transports,
    ports: &mut Ports,
    counters: &mut Counters,
    outbox: &mut O,
) {
    let key = match up.source {
        Source::Peer(key) => key,
        Source::Port { port, .. } => return ports.ask_for_keyframe(now, up, port, counters),
    };
    let transport = &mut transports[key];
    let sender = transport.rtcp_ssrc;
    for layer in &mut up.layers {
        let (Some(()), Some(media)) = (layer.stream.poll_keyframe(now), layer.ssrc) else { continue };
        let fir_seq = transport.receiving.next_fir_seq();
        counters.add(Count::KeyframesAsked, 1);
        transport.send_rtcp(counters, outbox, |compound| {
            compound.push(|out| rtcp::write_rr(out, sender, &[]));
            if up.params.pli {
                compound.push(|out| rtcp::write_pli(out, sender, media));
            } else if up.params.fir {
                compound.push(|out| rtcp::write_fir(out, sender, media, fir_seq));
            }
        });
    }
}
