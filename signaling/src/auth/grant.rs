//! What a session may do. Pure: the edge that reads tokens makes a [`Grant`], the hub obeys it.

use crate::refusal::Refusal;
use relay_control::Priority;
use serde::{Deserialize, Serialize};

/// What a session may do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Grant {
    /// Its name; `None` = any that it gives itself.
    pub login: Option<String>,
    /// Rooms as patterns in which `*` stands for any characters; `None` = all.
    pub rooms: Option<Vec<String>>,
    pub publish: bool,
    pub subscribe: bool,
    /// May have streams and rooms recorded.
    pub record: bool,
    /// Of the video that it publishes; `None` = as usual for what it shows.
    pub priority: Option<Priority>,
}

/// What of a grant decides who may take the place of a silent member of the same login.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Rights {
    /// The operator gave it its login; else it chose one.
    pub named: bool,
    pub publish: bool,
    pub subscribe: bool,
}

impl Rights {
    /// Whether it may do all that another one may, under the same login by the same authority.
    pub fn cover(self, other: Self) -> bool {
        self.named >= other.named && self.publish >= other.publish && self.subscribe >= other.subscribe
    }

    #[allow(clippy::trivially_copy_pass_by_ref, reason = "serde asks by reference")]
    pub(crate) fn is_none(&self) -> bool {
        *self == Self::default()
    }
}

impl Grant {
    pub fn rights(&self) -> Rights {
        Rights { named: self.login.is_some(), publish: self.publish, subscribe: self.subscribe }
    }

    /// For a server that asks nobody, and for sessions that a hook let in.
    pub fn everything() -> Self {
        Self { login: None, rooms: None, publish: true, subscribe: true, record: true, priority: None }
    }

    /// Whether it may be in this room.
    pub fn may_enter(&self, room: &str) -> bool {
        self.rooms.as_ref().is_none_or(|patterns| patterns.iter().any(|pattern| matches(pattern, room)))
    }

    /// The name to go by.
    ///
    /// # Errors
    /// The client gives itself another one.
    pub fn login(&self, given: Option<String>) -> Result<Option<String>, Refusal> {
        match (&self.login, given) {
            (Some(granted), Some(given)) if *granted != given => Err(Refusal::TokenLogin),
            (Some(granted), _) => Ok(Some(granted.clone())),
            (None, given) => Ok(given),
        }
    }
}

/// Whether the pattern covers the whole text. In time of the product of the lengths, whatever they hold: a
/// mismatch goes back to the last `*` only.
fn matches(pattern: &str, text: &str) -> bool {
    let (pattern, text) = (pattern.as_bytes(), text.as_bytes());
    let (mut at, mut p) = (0, 0);
    let mut star: Option<(usize, usize)> = None;
    while at < text.len() {
        match pattern.get(p) {
            Some(b'*') => {
                star = Some((p, at));
                p += 1;
            }
            Some(byte) if Some(byte) == text.get(at) => (at, p) = (at + 1, p + 1),
            _ => {
                let Some((star_at, taken)) = star else { return false };
                star = Some((star_at, taken + 1));
                (at, p) = (taken + 1, star_at + 1);
            }
        }
    }
    pattern.get(p..).unwrap_or_default().iter().all(|byte| *byte == b'*')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_cover_the_whole_name() {
        for (pattern, room, expected) in [
            ("lobby", "lobby", true),
            ("lobby", "lobby2", false),
            ("lobby", "Lobby", false),
            ("", "", true),
            ("", "x", false),
            ("*", "", true),
            ("*", "комната 🎥", true),
            ("team-*", "team-", true),
            ("team-*", "team-a-b", true),
            ("team-*", "my-team-a", false),
            ("*-screen", "a-screen-screen", true),
            ("a*b*c", "aXbXbXc", true),
            ("a*b*c", "aXbXbX", false),
            ("ко*а", "комната", true),
            ("lob?y", "lobby", false),
            (".*", "lobby", false),
        ] {
            assert_eq!(matches(pattern, room), expected, "{pattern} {room}");
        }
    }

    #[test]
    fn a_pattern_of_stars_costs_no_more_than_its_length() {
        let pattern = "*a".repeat(128);
        assert!(!matches(&pattern, &"a".repeat(127)));
        assert!(matches(&pattern, &"ba".repeat(128)));
    }

    #[test]
    fn a_granted_login_is_the_only_one() {
        let alice = Grant { login: Some("alice".to_owned()), ..Grant::everything() };
        let login = |grant: &Grant, given: Option<&str>| grant.login(given.map(str::to_owned));
        assert_eq!(login(&alice, None), Ok(Some("alice".to_owned())));
        assert_eq!(login(&alice, Some("alice")), Ok(Some("alice".to_owned())));
        assert_eq!(login(&alice, Some("bob")), Err(Refusal::TokenLogin));
        assert_eq!(login(&Grant::everything(), Some("bob")), Ok(Some("bob".to_owned())));
        assert_eq!(login(&Grant::everything(), None), Ok(None));
    }
}
