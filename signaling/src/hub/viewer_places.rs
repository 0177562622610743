//! A room at its limit of viewers: those who are silent make place for those who come.
//!
//! WHEP viewers have no login, so nobody can say that a place was the newcomer's before. But who crashed, or
//! whose network is gone, keeps its place until the relay's consent runs out, and comes back long before. So
//! whoever finds all places taken waits while the viewers are asked for a sign of life, as in
//! [`takeovers`](super::takeovers): who shows none for [`SILENCE`] is replaced, the longest silent first.
//!
//! Invariants
//! - Whoever lives keeps its place: every ICE agent answers the relay's Binding request.
//! - No more are displaced than want to come in, and nobody for one that has gone.
//! - Who waits is answered within [`REST`] and [`GIVE_UP`]: after a search that found nobody the next one
//!   begins [`REST`] later, so that those who keep trying do not have the viewers asked all the time.

use super::Hub;
use super::end::end_stream;
use super::http::HttpReply;
use super::relays::Purpose;
use super::takeovers::{self, ANSWER_PATIENCE, GIVE_UP, SILENCE, STEP, UNDER_WAY, probe};
use super::whip_whep::{self, Viewing};
use crate::id::{HttpRequestId, RoomId, StreamKey};
use crate::refusal::{Refusal, StreamEnd};
use crate::timer::{Time, Timer};
use relay_control::ReplyBody;
use std::collections::BTreeMap;
use std::time::Duration;

/// Between a search that found nobody silent and the next one in the same room.
const REST: Duration = Duration::from_secs(2);

/// Viewers that are asked, from a random one on: each is a request to the relay and a Binding request.
const ASKED_MAX: usize = 256;

/// Who may wait for a place in one room.
const CLAIMANTS_MAX: usize = 64;

#[derive(Default)]
pub(super) struct ViewerPlaces {
    all: BTreeMap<RoomId, Search>,
}

struct Search {
    /// In the order of coming.
    claimants: Vec<(HttpRequestId, Box<Viewing>)>,
    /// `None`: a search found nobody a moment ago.
    asks: Option<Asks>,
}

struct Asks {
    since: Time,
    /// When the relay last heard of each; `None` until it has said so.
    heard: BTreeMap<StreamKey, Option<Time>>,
}

impl ViewerPlaces {
    /// Sizes of the table.
    pub(super) fn ledger(&self) -> [(&'static str, usize); 1] {
        let size = |search: &Search| {
            1 + search.claimants.len() + search.asks.as_ref().map_or(0, |asks| asks.heard.len())
        };
        [("searches for viewers' places", self.all.values().map(size).sum())]
    }
}

impl Asks {
    fn lives(&self, heard: Option<Time>) -> bool {
        heard.is_some_and(|heard| heard > self.since + UNDER_WAY)
    }

    /// Those that showed no sign of life, the longest silent first.
    fn silent(&self, now: Time) -> Vec<StreamKey> {
        if now < self.since + ANSWER_PATIENCE {
            return Vec::new();
        }
        let is_silent = |heard: Time| !self.lives(Some(heard)) && now >= heard + SILENCE;
        let found = self.heard.iter().filter_map(|(key, heard)| Some(((*heard)?, *key)));
        let mut found: Vec<(Time, StreamKey)> = found.filter(|(heard, _)| is_silent(*heard)).collect();
        found.sort_unstable();
        found.into_iter().map(|(_, key)| key).collect()
    }
}

impl Hub {
    /// A WHEP client plays, now or when a place has been found for it.
    pub(super) fn begin_viewing(&mut self, http_request: HttpRequestId, viewing: Viewing) {
        if !viewing.awaited.holds() {
            // Nobody reads it.
            return self.cx.reply(http_request, HttpReply::Refused(Refusal::NoSuchSession));
        }
        let (cx, rooms, streams) = (&mut self.cx, &mut self.rooms, &mut self.streams);
        let begun = whip_whep::play(cx, rooms, streams, &self.relays, http_request, &viewing);
        let Err(refusal) = begun else { return };
        // No other limit of a viewer's has this refusal.
        match self.rooms.named(&viewing.room).filter(|_| matches!(refusal, Refusal::TooManyStreams)) {
            Some(room) => self.claim_viewers_place(room, http_request, viewing),
            None => self.cx.reply(http_request, HttpReply::Refused(refusal)),
        }
    }

    fn claim_viewers_place(&mut self, room: RoomId, http_request: HttpRequestId, viewing: Viewing) {
        let begins = !self.viewer_places.all.contains_key(&room);
        let new = || Search { claimants: Vec::new(), asks: None };
        let search = self.viewer_places.all.entry(room).or_insert_with(new);
        if search.claimants.len() >= CLAIMANTS_MAX {
            return self.cx.reply(http_request, HttpReply::Refused(Refusal::TooManyStreams));
        }
        search.claimants.push((http_request, Box::new(viewing)));
        if begins {
            self.search_viewers_place(room);
        }
    }

    /// Begins the search, or asks once more those who have not shown that they live.
    pub(super) fn search_viewers_place(&mut self, room: RoomId) {
        let start = StreamKey(self.cx.random_id());
        let Some(search) = self.viewer_places.all.get_mut(&room) else { return };
        if search.claimants.is_empty() {
            self.viewer_places.all.remove(&room);
            return;
        }
        let viewers = self.rooms.get(room).into_iter().flat_map(|room| room.viewers_from(start));
        let asks = search.asks.get_or_insert_with(|| {
            let heard = viewers.take(ASKED_MAX).map(|key| (key, None)).collect();
            Asks { since: self.cx.now, heard }
        });
        asks.heard.retain(|key, _| self.streams.contains(*key));
        let unknown = asks.heard.iter().filter(|(_, heard)| !asks.lives(**heard));
        for key in unknown.map(|(key, _)| *key) {
            probe(&mut self.cx, &self.streams, key, Purpose::ProbeViewer(room, key));
        }
        self.judge_viewers(room);
    }

    /// When the relay last heard of a viewer.
    pub(super) fn viewer_probed(&mut self, room: RoomId, key: StreamKey, reply: &Result<ReplyBody, ()>) {
        let now = self.cx.now;
        let search = self.viewer_places.all.get_mut(&room);
        let Some(asks) = search.and_then(|search| search.asks.as_mut()) else { return };
        let Some(heard) = asks.heard.get_mut(&key) else { return };
        let said = takeovers::heard(now, reply);
        *heard = Some(heard.map_or(said, |before| before.max(said)));
        if asks.heard.values().all(|heard| asks.lives(*heard)) {
            self.judge_viewers(room);
        }
    }

    fn judge_viewers(&mut self, room: RoomId) {
        let now = self.cx.now;
        let Some(search) = self.viewer_places.all.get(&room) else { return };
        let Some(asks) = &search.asks else { return };
        let all_live = asks.heard.values().all(|heard| asks.lives(*heard));
        let silent = asks.silent(now);
        let wanted = search.claimants.iter().filter(|(_, viewing)| viewing.awaited.holds()).count();
        for key in silent.iter().take(wanted) {
            tracing::info!(?room, ?key, "a silent viewer makes place for another");
            let (cx, rooms, streams) = (&mut self.cx, &mut self.rooms, &mut self.streams);
            end_stream(cx, rooms, streams, *key, StreamEnd::Replaced);
        }
        let has_place = !self.is_full_of_viewers(room);
        if has_place || all_live || now >= asks.since + GIVE_UP {
            self.end_search(room, has_place);
        } else {
            self.cx.timers.set(Timer::ViewerPlaces(room), now + STEP);
        }
    }

    /// Those who wait take what places there are; the others are refused.
    fn end_search(&mut self, room: RoomId, has_place: bool) {
        self.cx.timers.clear(Timer::ViewerPlaces(room));
        let Some(search) = self.viewer_places.all.remove(&room) else { return };
        if !has_place {
            self.viewer_places.all.insert(room, Search { claimants: Vec::new(), asks: None });
            self.cx.timers.set(Timer::ViewerPlaces(room), self.cx.now + REST);
        }
        for (http_request, viewing) in search.claimants {
            if self.is_full_of_viewers(room) {
                self.cx.reply(http_request, HttpReply::Refused(Refusal::TooManyStreams));
            } else {
                self.begin_viewing(http_request, *viewing);
            }
        }
    }

    fn is_full_of_viewers(&self, room: RoomId) -> bool {
        let max_viewers = self.cx.config.rooms.max_viewers;
        self.rooms.get(room).is_some_and(|room| room.viewers() >= max_viewers)
    }
}
