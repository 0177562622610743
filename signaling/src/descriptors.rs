//! File descriptors: the limit is raised as far as it goes, and nobody is promised a connection that has
//! none.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// For everything that is no client: listeners, control socket, runtime, files, standard streams.
const RESERVED: usize = 128;
/// TCP connections that are not WebSockets beyond those that may be.
const SPARE_CONNECTIONS: usize = 1_000;
/// TLS handshakes under way, apart from the connections: who never ends his holds no place that others need.
pub(crate) const HANDSHAKES_MAX: usize = 1_000;
/// Connections that are being told that there is no place; those beyond are closed without a word.
const REFUSALS_MAX: usize = 100;

/// How many sockets of each kind there may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Budget {
    /// WebSockets.
    pub(crate) connections: usize,
    /// Other HTTP connections.
    pub(crate) spare: usize,
    /// TLS handshakes under way.
    pub(crate) handshakes: usize,
    /// Connections that are being told that there is no place.
    pub(crate) refusals: usize,
}

impl Budget {
    /// What fits into `limit` descriptors (`None`: any number) of which `others` are for something else.
    pub(crate) fn within(limit: Option<usize>, max_connections: usize, others: usize) -> Self {
        let whole = Self {
            connections: max_connections,
            spare: SPARE_CONNECTIONS,
            handshakes: HANDSHAKES_MAX,
            refusals: REFUSALS_MAX,
        };
        let Some(limit) = limit else { return whole };
        let free = limit.saturating_sub(RESERVED + others);
        if whole.connections + whole.spare + whole.handshakes + whole.refusals <= free {
            return whole;
        }
        // Half for WebSockets, a quarter each for those who come and for what is no WebSocket.
        let handshakes = whole.handshakes.min(free / 4).max(1);
        let refusals = whole.refusals.min(free / 16).max(1);
        let spare = whole.spare.min((free / 4).saturating_sub(refusals)).max(1);
        let connections = free.saturating_sub(handshakes + refusals + spare).clamp(1, max_connections.max(1));
        Self { connections, spare, handshakes, refusals }
    }
}

/// Raises the soft limit to the hard one, which is what the administrator allows; the soft one is 1,024 on
/// most systems for the sake of programs that call `select`. Gives what now holds; `None`: no limit.
pub(crate) fn raise() -> Option<usize> {
    let before = getrlimit(Resource::Nofile);
    let raised = Rlimit { current: before.maximum, maximum: before.maximum };
    if before.current != before.maximum {
        match setrlimit(Resource::Nofile, raised) {
            Ok(()) => {
                tracing::debug!(before = ?before.current, now = ?raised.current, "descriptor limit raised")
            }
            Err(why) => tracing::warn!("cannot raise the limit of file descriptors: {why}"),
        }
    }
    getrlimit(Resource::Nofile).current.and_then(|limit| usize::try_from(limit).ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_budget_never_exceeds_the_limit() {
        let whole = Budget { connections: 10_000, spare: 1_000, handshakes: 1_000, refusals: 100 };
        assert_eq!(Budget::within(None, 10_000, 64), whole);
        assert_eq!(Budget::within(Some(524_288), 10_000, 64), whole);
        for (limit, others) in [(12_292, 64), (12_291, 64), (4_096, 64), (1_024, 64), (300, 64), (256, 0)] {
            let budget = Budget::within(Some(limit), 10_000, others);
            let Budget { connections, spare, handshakes, refusals } = budget;
            let all = connections + spare + handshakes + refusals + RESERVED + others;
            assert!(all <= limit, "{limit}: {budget:?}");
            assert!(connections * 3 >= limit - RESERVED - others, "{limit}: {budget:?}");
        }
        // Too little for anything: one of each, rather than none.
        let least = Budget { connections: 1, spare: 1, handshakes: 1, refusals: 1 };
        assert_eq!(Budget::within(Some(64), 10_000, 64), least);
    }
}
