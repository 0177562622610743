//! Which publication a name means.

use super::rooms::Rooms;
use super::streams::Streams;
use crate::id::{RoomId, StreamKey};
use crate::names::NameOf;
use crate::refusal::Refusal;

/// The one on the air that is meant.
pub(super) fn source(
    rooms: &Rooms,
    streams: &Streams,
    room: RoomId,
    name: &str,
    by: NameOf,
) -> Result<StreamKey, Refusal> {
    match by {
        NameOf::Stream => streams.published(room, name),
        NameOf::Login => of_login(rooms, streams, room, name).unwrap_or(Err(Refusal::StreamNotFound)),
        // Logins are the operator's to give, names of streams are their publishers' to choose: so while
        // somebody has this login, it is a stream of his or none, whatever others call theirs.
        NameOf::Either => {
            of_login(rooms, streams, room, name).unwrap_or_else(|| streams.published(room, name))
        }
    }
}

/// What is played of the member with this login: the stream that is called like it, or else its first.
/// `None`: nobody has it.
fn of_login(
    rooms: &Rooms,
    streams: &Streams,
    room: RoomId,
    login: &str,
) -> Option<Result<StreamKey, Refusal>> {
    let member = rooms.get(room).and_then(|room| room.member_named(login))?;
    let on_air = |key: &StreamKey| streams.is_on_air(*key);
    let own = streams.named(room, login).filter(|key| member.publishes.contains(key)).filter(on_air);
    let first = || member.publishes.iter().copied().find(on_air);
    Some(own.or_else(first).ok_or(Refusal::StreamNotReady))
}
