//! Counters of the process: what happened on the control side. One writer, the control thread.

use relay_control::Counter;

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Seconds since the start.
    pub uptime_s: u64,
    /// Connections open now.
    pub connections_open: u64,
    /// Connections taken since the start.
    pub connections: u64,
    /// Connections refused because there were too many.
    pub refused_limit: u64,
    /// Connections refused because they were another user's.
    pub refused_uid: u64,
    /// Connections closed for a frame that was too long or did not decode.
    pub closed_bad_frame: u64,
    /// Connections closed because they did not read.
    pub closed_slow: u64,
    /// Connections closed because no whole frame came in time.
    pub closed_idle: u64,
    /// Requests that made the router panic.
    pub panicked: u64,
    pub requests: u64,
    /// Requests answered with an error.
    pub errors: u64,
    /// Errors because the connection's epoch is superseded.
    pub stale_epoch: u64,
    /// Errors because a mailbox was full.
    pub busy: u64,
    /// Events sent: those of the shards and those of the control thread itself.
    pub events: u64,
    /// The highest epoch seen.
    pub epoch: u64,
    /// Rooms that have a transport.
    pub rooms: u64,
    pub transports: u64,
    /// Tracks of both directions.
    pub tracks: u64,
}

impl Counts {
    #[must_use]
    pub fn list(&self) -> Vec<Counter> {
        let named = [
            ("process.uptime_s", self.uptime_s),
            ("control.connections_open", self.connections_open),
            ("control.connections", self.connections),
            ("control.refused.limit", self.refused_limit),
            ("control.refused.uid", self.refused_uid),
            ("control.closed.bad_frame", self.closed_bad_frame),
            ("control.closed.slow", self.closed_slow),
            ("control.closed.idle", self.closed_idle),
            ("control.panicked", self.panicked),
            ("control.requests", self.requests),
            ("control.errors", self.errors),
            ("control.errors.stale_epoch", self.stale_epoch),
            ("control.errors.busy", self.busy),
            ("control.events", self.events),
            ("control.epoch", self.epoch),
            ("control.rooms", self.rooms),
            ("control.transports", self.transports),
            ("control.tracks", self.tracks),
        ];
        named.into_iter().map(|(name, value)| Counter { name: name.to_owned(), value }).collect()
    }
}
