//! What is to be told of recordings, and when. Pure: told the time, in milliseconds since the Unix epoch.
//!
//! Invariants
//! - Each thing is told once, whatever is heard of its recording again: it waits, is under way, or is done.
//! - What cannot be told is tried again with growing pauses, for a day.

use recorder_control::{Recording, State};
use serde::{Deserialize, Serialize};
use serde_json::json;
use std::collections::{BTreeSet, HashMap, HashSet};

/// The first pause; each is twice the one before.
const PAUSE_MIN_MS: u64 = 1_000;
/// The longest.
const PAUSE_MAX_MS: u64 = 3_600_000;
/// What could not be told for so long is given up.
const PATIENCE_MS: u64 = 24 * 3_600_000;
/// Events that wait; what is beyond is heard of again when the recorder comes back.
pub(super) const WAITING_MAX: usize = 10_000;

/// Something to be told, as it is kept on the disk.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Event {
    /// The recording's id and what has become of it.
    pub(super) id: String,
    pub(super) created_at_ms: u64,
    /// As it is sent each time.
    pub(super) body: String,
}

/// What becomes of one that was not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fate {
    /// In so many milliseconds.
    Again(u64),
    GivenUp,
}

#[derive(Debug, Default)]
pub(super) struct Queue {
    waiting: HashMap<String, Waiting>,
    /// Those that are not under way, by when they are due.
    due: BTreeSet<(u64, String)>,
    done: HashSet<String>,
}

#[derive(Debug)]
struct Waiting {
    event: Event,
    pause_ms: u64,
}

/// What a recording gives to tell: of which kinds, and the ids of these events.
fn events_of(recording: &Recording) -> impl Iterator<Item = (&'static str, String)> {
    let is_ready = recording.state == State::Ready;
    let happened = [
        ("ready", is_ready),
        ("failed", recording.state == State::Failed),
        ("mixed", is_ready && recording.mixed.is_some()),
    ];
    let happened = happened.into_iter().filter(|(_, happened)| *happened);
    happened.map(|(kind, _)| (kind, format!("{}-{kind}", recording.id)))
}

impl Queue {
    /// Goes on where a former one was.
    pub(super) fn resumed(done: HashSet<String>, waiting: Vec<Event>, now_ms: u64) -> Self {
        let mut queue = Self { done, ..Self::default() };
        for event in waiting {
            if !queue.done.contains(&event.id) {
                queue.push(event, now_ms);
            }
        }
        queue
    }

    /// What a recording gives to tell that has not been told. `links`: of its own file and of the mixed one.
    pub(super) fn news(
        &self,
        now_ms: u64,
        recording: &Recording,
        link: impl Fn(&str, bool) -> String,
    ) -> Vec<Event> {
        let is_new = |id: &String| !self.done.contains(id) && !self.waiting.contains_key(id);
        let event = |(kind, id): (&str, String)| {
            let link = match (kind, &recording.mixed) {
                ("ready", _) => Some(link(&recording.file, false)),
                ("mixed", Some(mixed)) => Some(link(mixed, true)),
                _ => None,
            };
            let body = json!({
                "id": id, "type": format!("recording.{kind}"), "createdAtMs": now_ms, "recording": recording,
                "link": link,
            });
            Event { id, created_at_ms: now_ms, body: body.to_string() }
        };
        events_of(recording).filter(|(_, id)| is_new(id)).map(event).collect()
    }

    /// There is none of it to tell: it was so before anybody wanted to know.
    pub(super) fn pass_over(&mut self, recording: &Recording) {
        self.done.extend(events_of(recording).map(|(_, id)| id));
    }

    /// Whether one more may wait.
    pub(super) fn has_room(&self) -> bool {
        self.waiting.len() < WAITING_MAX
    }

    /// To be told at once.
    pub(super) fn push(&mut self, event: Event, now_ms: u64) {
        self.due.insert((now_ms, event.id.clone()));
        self.waiting.insert(event.id.clone(), Waiting { event, pause_ms: PAUSE_MIN_MS });
    }

    /// When the next is due; `None`: nothing waits but what is under way.
    pub(super) fn poll_timeout(&self) -> Option<u64> {
        self.due.first().map(|(at, _)| *at)
    }

    /// One that is due. It is under way until it has been [`told`](Self::told) or [`failed`](Self::failed).
    pub(super) fn poll_due(&mut self, now_ms: u64) -> Option<Event> {
        let (_, id) = self.due.first().filter(|(at, _)| *at <= now_ms)?.clone();
        self.due.pop_first();
        self.waiting.get(&id).map(|waiting| waiting.event.clone())
    }

    /// It was taken.
    pub(super) fn told(&mut self, id: &str) {
        self.waiting.remove(id);
        self.done.insert(id.to_owned());
    }

    /// It was not.
    pub(super) fn failed(&mut self, id: &str, now_ms: u64) -> Fate {
        let Some(waiting) = self.waiting.get_mut(id) else { return Fate::GivenUp };
        if now_ms >= waiting.event.created_at_ms.saturating_add(PATIENCE_MS) {
            self.told(id);
            return Fate::GivenUp;
        }
        let pause = waiting.pause_ms;
        waiting.pause_ms = (pause * 2).min(PAUSE_MAX_MS);
        self.due.insert((now_ms.saturating_add(pause), id.to_owned()));
        Fate::Again(pause)
    }

    /// Forgets what was told of recordings that are gone. What is left of it.
    pub(super) fn keep_done(&mut self, is_there: impl Fn(&str) -> bool) -> &HashSet<String> {
        self.done.retain(|id| id.split_once('-').is_some_and(|(recording, _)| is_there(recording)));
        &self.done
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::Value;

    fn recording(state: &str, mixed: Option<&str>) -> Recording {
        let text = json!({
            "id": "0123456789abcdef", "kind": "room", "state": state, "room": "lobby", "file": "a.mkv",
            "startedAtMs": 1, "mixed": mixed,
        });
        serde_json::from_value(text).expect("a recording")
    }

    fn link(name: &str, mixed: bool) -> String {
        format!("/{name}?{mixed}")
    }

    #[test]
    fn each_end_is_told_once() {
        let mut queue = Queue::default();
        for state in ["recording", "paused", "finishing"] {
            assert_eq!(queue.news(5, &recording(state, None), link), [], "{state}");
        }
        let news = queue.news(5, &recording("ready", None), link);
        let ids: Vec<_> = news.iter().map(|event| event.id.as_str()).collect();
        assert_eq!(ids, ["0123456789abcdef-ready"]);
        let body: Value = serde_json::from_str(&news[0].body).expect("JSON");
        assert_eq!((&body["type"], &body["link"]), (&json!("recording.ready"), &json!("/a.mkv?false")));
        assert_eq!((&body["createdAtMs"], &body["recording"]["room"]), (&json!(5), &json!("lobby")));
        news.into_iter().for_each(|event| queue.push(event, 5));
        assert_eq!(queue.news(6, &recording("ready", None), link), [], "it waits");
        assert_eq!(queue.poll_due(4), None);
        let event = queue.poll_due(5).expect("due");
        assert_eq!((queue.poll_due(5), queue.poll_timeout()), (None, None), "it is under way");
        queue.told(&event.id);
        assert_eq!(queue.news(7, &recording("ready", None), link), [], "it was told");
        let mixed = queue.news(8, &recording("ready", Some("a.mp4")), link);
        assert_eq!((mixed.len(), mixed[0].id.as_str()), (1, "0123456789abcdef-mixed"));
        let failed = queue.news(9, &recording("failed", None), link);
        assert!(failed[0].body.contains("recording.failed") && failed[0].body.contains("\"link\":null"));
    }

    #[test]
    fn pauses_grow_to_an_hour_and_end_after_a_day() {
        let mut queue = Queue::default();
        let event = queue.news(0, &recording("ready", None), link).remove(0);
        queue.push(event.clone(), 0);
        let (mut now, mut pauses) = (0, Vec::new());
        let fate = loop {
            let due = queue.poll_due(now).expect("due");
            match queue.failed(&due.id, now) {
                Fate::Again(pause) => pauses.push(pause),
                Fate::GivenUp => break Fate::GivenUp,
            }
            now = queue.poll_timeout().expect("it waits");
        };
        assert_eq!(fate, Fate::GivenUp);
        assert_eq!(pauses.get(..3), Some(&[1_000, 2_000, 4_000][..]));
        assert_eq!(pauses.iter().max(), Some(&3_600_000));
        assert!((PATIENCE_MS..PATIENCE_MS + PAUSE_MAX_MS).contains(&now), "{now}");
        assert!((30..40).contains(&pauses.len()), "{}", pauses.len());
        assert_eq!(queue.news(now, &recording("ready", None), link), []);
    }

    #[test]
    fn it_goes_on_after_a_start_and_forgets_what_is_gone() {
        let event = Queue::default().news(5, &recording("ready", None), link).remove(0);
        let mut queue = Queue::resumed(HashSet::new(), vec![event.clone()], 9);
        assert_eq!(queue.poll_due(9), Some(event.clone()));
        queue.told(&event.id);
        let done = queue.keep_done(|_| true).clone();
        assert_eq!(done, HashSet::from([event.id.clone()]));
        let mut again = Queue::resumed(done, vec![event], 9);
        assert_eq!(again.poll_due(99), None, "it was told before the end, and not forgotten yet");
        assert!(again.keep_done(|id| id == "fedcba9876543210").is_empty());
        let mut first = Queue::default();
        first.pass_over(&recording("ready", Some("a.mp4")));
        assert_eq!(first.news(5, &recording("ready", Some("a.mp4")), link), []);
    }
}
