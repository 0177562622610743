//! What orders to shards change in the index.

use crate::control::placement::{Placement, Ticket};
use relay_control::ReplyBody;

/// How an order changes the index: when it is given, and again when it is answered.
#[derive(Clone, Copy, Debug)]
pub(super) enum Change {
    Nothing,
    Open { transport_id: u64, room_id: u64 },
    Close { transport_id: u64 },
    AddTrack { track_id: u64, transport_id: u64 },
    RemoveTrack { track_id: u64 },
}

/// An order was put into a shard's mailbox.
pub(super) fn given(placement: &mut Placement, change: Change, shard: usize, ticket: Ticket) {
    match change {
        Change::Nothing => {}
        Change::Open { transport_id, room_id } => placement.opening(transport_id, room_id, shard, ticket),
        Change::Close { transport_id } => placement.closing(transport_id),
        Change::AddTrack { track_id, transport_id } => placement.adding(track_id, transport_id, ticket),
        Change::RemoveTrack { track_id } => placement.removing(track_id),
    }
}

/// And has answered it. True: it was to open a transport, which is nowhere now, and wanted as before.
pub(super) fn answered(placement: &mut Placement, change: Change, ticket: Ticket, body: &ReplyBody) -> bool {
    let refused = matches!(body, ReplyBody::Error(_));
    match change {
        Change::Open { transport_id, .. } if refused => return placement.not_opened(transport_id, ticket),
        Change::Open { transport_id, .. } => placement.opened(transport_id, ticket),
        Change::AddTrack { track_id, .. } if refused => placement.not_added(track_id, ticket),
        Change::AddTrack { track_id, .. } => placement.added(track_id, ticket),
        // A shard has no reason to refuse these.
        Change::Close { .. } | Change::RemoveTrack { .. } | Change::Nothing => {}
    }
    false
}
