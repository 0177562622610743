//! Log lines about what clients can cause as often as they like are written at a limited rate, with a count:
//! nobody can fill the disk with them.

use crate::timer::Time;
use std::time::Duration;

/// From one line to the next.
const PAUSE: Duration = Duration::from_secs(10);

/// How often something happened since it was last logged.
#[derive(Debug, Default)]
pub(crate) struct LogLimit {
    unsaid: u64,
    said: Option<Time>,
}

impl LogLimit {
    /// It happened once more. `Some`: how often since the last line, and now is the time for the next one.
    pub(crate) fn note(&mut self, now: Time) -> Option<u64> {
        self.unsaid += 1;
        if self.said.is_some_and(|said| now < said + PAUSE) {
            return None;
        }
        self.said = Some(now);
        Some(std::mem::take(&mut self.unsaid))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_is_said_at_once_and_the_next_with_their_number() {
        let mut limit = LogLimit::default();
        let at = |secs| Time::from_secs(secs);
        let said = [0, 1, 9, 10, 11, 25].map(|secs| limit.note(at(secs)));
        assert_eq!(said, [Some(1), None, None, Some(3), None, Some(2)]);
    }
}
