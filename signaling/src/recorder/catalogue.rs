//! What is known of all recordings, by id, by time and by the names of finished files; and what has changed of
//! it lately, for those who have seen it.
//!
//! Invariants
//! - Only the name of a recording that is ready leads to a file.
//! - There is a bound on them; for one more the oldest that has ended is forgotten here, and stays where it
//!   is.
//! - A page costs what is on it: of a room or a state only that is looked through.
//! - Each change has a number, greater than those before. What is gone is remembered for a while; who has
//!   seen only what was before that has to look at all again.

use recorder_control::{Recording, State, is_file_name, is_id};
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet, VecDeque};
use std::ops::Bound;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Recordings that are kept in mind: some hundred bytes each.
const RECORDINGS_MAX: usize = 100_000;
/// Recordings that are gone of which is remembered that they are.
const GONE_MAX: usize = 10_000;

/// Which recordings are asked for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Filter {
    pub room: Option<String>,
    pub state: Option<State>,
    /// Begun at this moment or later, in milliseconds since the Unix epoch.
    pub from_ms: Option<u64>,
    /// Begun before this one.
    pub until_ms: Option<u64>,
}

impl Filter {
    fn passes(&self, recording: &Recording) -> bool {
        let begun = recording.started_at_ms;
        self.room.as_ref().is_none_or(|room| *room == recording.room)
            && self.state.is_none_or(|state| state == recording.state)
            && self.from_ms.is_none_or(|from| begun >= from)
            && self.until_ms.is_none_or(|until| begun < until)
    }
}

/// Some of them, the newest first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Page {
    pub recordings: Vec<Arc<Recording>>,
    /// Where the next page begins; `None`: this is the last.
    pub next: Option<Place>,
}

/// What has changed since somebody looked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Changes {
    /// As they are now, in the order in which they changed last.
    pub recordings: Vec<Arc<Recording>>,
    /// Ids of those that are gone.
    pub gone: Vec<String>,
    /// The number of the latest change that is told here.
    pub seen: u64,
}

/// Its beginning and its id, by which they are in order.
pub type Place = (u64, String);

/// How many states there are.
const STATES: usize = State::Failed as usize + 1;

/// All recordings.
#[derive(Debug)]
pub struct Catalogue {
    by_id: HashMap<String, Arc<Recording>>,
    by_place: BTreeMap<Place, Arc<Recording>>,
    by_room: HashMap<String, BTreeSet<Place>>,
    /// By the state's number.
    by_state: [BTreeSet<Place>; STATES],
    /// Ids by the number of their latest change, and the other way round.
    by_change: BTreeMap<u64, String>,
    changed: HashMap<String, u64>,
    /// The number of the latest change.
    latest: u64,
    gone: VecDeque<(u64, String)>,
    /// Who has seen changes up to this one, and no later, does not hear of all that is gone.
    gone_since: u64,
    /// Ids by the names of finished files.
    by_file: HashMap<String, String>,
    /// Where finished files are, as the recorder said last.
    directory: Option<Arc<Path>>,
    is_up: bool,
    /// What the recorder has told since it came, until it has told all.
    told: Option<HashSet<String>>,
    max: usize,
    forgotten: u64,
}

impl Default for Catalogue {
    fn default() -> Self {
        Self {
            by_id: HashMap::new(),
            by_place: BTreeMap::new(),
            by_room: HashMap::new(),
            by_state: Default::default(),
            by_change: BTreeMap::new(),
            changed: HashMap::new(),
            latest: 0,
            gone: VecDeque::new(),
            gone_since: 0,
            by_file: HashMap::new(),
            directory: None,
            is_up: false,
            told: None,
            max: RECORDINGS_MAX,
            forgotten: 0,
        }
    }
}

impl Catalogue {
    /// By its id.
    pub fn get(&self, id: &str) -> Option<&Arc<Recording>> {
        self.by_id.get(id)
    }

    /// Each.
    pub fn all(&self) -> Vec<Arc<Recording>> {
        self.by_id.values().cloned().collect()
    }

    /// By the name of a file that is finished, its own or the mixed one's.
    pub fn of_file(&self, name: &str) -> Option<&Arc<Recording>> {
        self.get(self.by_file.get(name)?)
    }

    /// Where finished files are; `None`: no recorder has been there.
    pub fn directory(&self) -> Option<Arc<Path>> {
        self.directory.clone()
    }

    /// Whether a recorder is there that takes orders.
    pub fn is_up(&self) -> bool {
        self.is_up
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.by_id.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.by_id.is_empty()
    }

    /// The newest of those that `filter` lets through and that come behind `after`, the newest first.
    pub fn page(&self, filter: &Filter, after: Option<&Place>, limit: usize) -> Page {
        let from = Bound::Included((filter.from_ms.unwrap_or(0), String::new()));
        let until = filter.until_ms.map(|until| (until, String::new()));
        let before = match (after, &until) {
            (Some(after), Some(until)) => Some(after.min(until)),
            (after, until) => after.or(until.as_ref()),
        };
        let range = (from, before.map_or(Bound::Unbounded, |place| Bound::Excluded(place.clone())));
        let is_empty =
            matches!((&range.0, &range.1), (Bound::Included(from), Bound::Excluded(to)) if from >= to);
        if is_empty {
            return Page { recordings: Vec::new(), next: None };
        }
        let none = BTreeSet::new();
        let some = match (&filter.room, filter.state) {
            (Some(room), _) => Some(self.by_room.get(room).unwrap_or(&none)),
            (None, Some(state)) => self.by_state.get(state as usize),
            (None, None) => None,
        };
        let found: Box<dyn Iterator<Item = &Arc<Recording>>> = match some {
            Some(some) => Box::new(some.range(range).rev().filter_map(|place| self.by_place.get(place))),
            None => Box::new(self.by_place.range(range).rev().map(|(_, recording)| recording)),
        };
        let mut found = found.filter(|recording| filter.passes(recording));
        let recordings: Vec<_> = found.by_ref().take(limit).cloned().collect();
        let more = found.next().is_some();
        let next = recordings.last().filter(|_| more).map(|last| place(last));
        Page { recordings, next }
    }

    /// The number of the latest change.
    pub fn latest(&self) -> u64 {
        self.latest
    }

    /// What has changed since this number, `limit` recordings at most; those of a room alone if one is named,
    /// and whatever is gone. `None`: that is not known any more.
    pub fn changes(&self, seen: u64, room: Option<&str>, limit: usize) -> Option<Changes> {
        if seen < self.gone_since || seen > self.latest {
            return None;
        }
        let behind = (Bound::Excluded(seen), Bound::Unbounded);
        let changed = self.by_change.range(behind).filter_map(|(at, id)| Some((*at, self.by_id.get(id)?)));
        let mut changed = changed.filter(|(_, recording)| room.is_none_or(|room| room == recording.room));
        let some: Vec<(u64, &Arc<Recording>)> = changed.by_ref().take(limit).collect();
        let seen_now = match some.last() {
            Some((at, _)) if changed.next().is_some() => *at,
            _ => self.latest,
        };
        let gone = self.gone.iter().filter(|(at, _)| (seen + 1..=seen_now).contains(at));
        let gone = gone.map(|(_, id)| id.clone()).collect();
        let recordings = some.into_iter().map(|(_, recording)| Arc::clone(recording)).collect();
        Some(Changes { recordings, gone, seen: seen_now })
    }

    pub(super) fn came_up(&mut self, directory: PathBuf) {
        self.directory = Some(directory.into());
        self.is_up = true;
        self.latest += 1;
        self.told = Some(HashSet::new());
    }

    /// Whether it was up.
    pub(super) fn went_down(&mut self) -> bool {
        self.told = None;
        self.latest += u64::from(self.is_up);
        std::mem::take(&mut self.is_up)
    }

    /// All that there are have been told: the others are gone, and these are their ids.
    pub(super) fn synced(&mut self) -> Vec<String> {
        let Some(told) = self.told.take() else { return Vec::new() };
        let gone: Vec<String> = self.by_id.keys().filter(|id| !told.contains(*id)).cloned().collect();
        gone.iter().for_each(|id| self.remove(id));
        gone
    }

    /// It is there, or has changed. `Some`: others were forgotten for it, so many in all, and it is time to
    /// say so. What has a name that none may have is passed over.
    pub(super) fn put(&mut self, recording: Recording) -> Option<u64> {
        let named = [Some(&recording.file), recording.mixed.as_ref()];
        if !is_id(&recording.id) || !named.into_iter().flatten().all(|name| is_file_name(name)) {
            return None;
        }
        if let Some(told) = &mut self.told {
            told.insert(recording.id.clone());
        }
        self.take(&recording.id);
        let forgot = if self.by_id.len() >= self.max { self.forget_one() } else { None };
        let recording = Arc::new(recording);
        if recording.state == State::Ready {
            for name in [Some(&recording.file), recording.mixed.as_ref()].into_iter().flatten() {
                self.by_file.insert(name.clone(), recording.id.clone());
            }
        }
        self.latest += 1;
        self.changed.insert(recording.id.clone(), self.latest);
        self.by_change.insert(self.latest, recording.id.clone());
        self.by_room.entry(recording.room.clone()).or_default().insert(place(&recording));
        if let Some(places) = self.by_state.get_mut(recording.state as usize) {
            places.insert(place(&recording));
        }
        self.by_place.insert(place(&recording), Arc::clone(&recording));
        self.by_id.insert(recording.id.clone(), recording);
        forgot
    }

    pub(super) fn remove(&mut self, id: &str) {
        if !self.take(id) {
            return;
        }
        self.latest += 1;
        self.gone.push_back((self.latest, id.to_owned()));
        if self.gone.len() > GONE_MAX
            && let Some((at, _)) = self.gone.pop_front()
        {
            self.gone_since = at;
        }
    }

    /// Out of all tables. False: it was not there.
    fn take(&mut self, id: &str) -> bool {
        let Some(recording) = self.by_id.remove(id) else { return false };
        let place = place(&recording);
        self.by_place.remove(&place);
        if let Some(change) = self.changed.remove(id) {
            self.by_change.remove(&change);
        }
        if let Some(places) = self.by_state.get_mut(recording.state as usize) {
            places.remove(&place);
        }
        if let Some(places) = self.by_room.get_mut(&recording.room) {
            places.remove(&place);
            if places.is_empty() {
                self.by_room.remove(&recording.room);
            }
        }
        for name in [Some(&recording.file), recording.mixed.as_ref()].into_iter().flatten() {
            if self.by_file.get(name).is_some_and(|of| of == id) {
                self.by_file.remove(name);
            }
        }
        true
    }

    fn forget_one(&mut self) -> Option<u64> {
        let has_ended = |recording: &Recording| matches!(recording.state, State::Ready | State::Failed);
        let has_failed = |recording: &Recording| recording.state == State::Failed;
        // One without a file goes before one with a file.
        let failed = self.by_place.values().find(|recording| has_failed(recording));
        let ended = || self.by_place.values().find(|recording| has_ended(recording));
        let oldest = failed.or_else(ended)?.id.clone();
        self.remove(&oldest);
        self.forgotten += 1;
        self.forgotten.is_power_of_two().then_some(self.forgotten)
    }
}

fn place(recording: &Recording) -> Place {
    (recording.started_at_ms, recording.id.clone())
}

#[cfg(test)]
mod tests {
    use super::*;
    use recorder_control::Kind;

    fn recording(number: u64, state: State) -> Recording {
        let (id, file) = (format!("{number:016x}"), format!("{number}.webm"));
        let one = Recording::new(&id, Kind::Stream, &file, 1_000 + number);
        Recording { state, room: format!("room{}", number % 2), login: Some("alice".into()), ..one }
    }

    fn ids(page: &Page) -> Vec<u64> {
        let number = |recording: &Arc<Recording>| u64::from_str_radix(&recording.id, 16).expect("ours");
        page.recordings.iter().map(number).collect()
    }

    #[test]
    fn pages_go_from_the_newest_to_the_oldest_whatever_comes_meanwhile() {
        let mut catalogue = Catalogue::default();
        (0..10).for_each(|number| assert_eq!(catalogue.put(recording(number, State::Ready)), None));
        let all = Filter::default();
        let first = catalogue.page(&all, None, 4);
        assert_eq!(ids(&first), [9, 8, 7, 6]);
        catalogue.put(recording(10, State::Recording));
        catalogue.remove(&format!("{:016x}", 6));
        let second = catalogue.page(&all, first.next.as_ref(), 4);
        assert_eq!(ids(&second), [5, 4, 3, 2]);
        let last = catalogue.page(&all, second.next.as_ref(), 4);
        assert_eq!((ids(&last), &last.next), (vec![1, 0], &None));
        let odd = Filter { room: Some("room1".into()), state: Some(State::Ready), ..Filter::default() };
        let page = catalogue.page(&odd, None, 5);
        assert_eq!((ids(&page), page.next), (vec![9, 7, 5, 3, 1], None));
        let written = Filter { state: Some(State::Recording), ..all };
        assert_eq!(ids(&catalogue.page(&written, None, 5)), [10]);
    }

    #[test]
    fn pages_are_of_a_room_a_state_and_a_time() {
        let mut catalogue = Catalogue::default();
        (0..10).for_each(|number| assert_eq!(catalogue.put(recording(number, State::Recording)), None));
        catalogue.put(recording(4, State::Ready));
        let time = |from: Option<u64>, until: Option<u64>| Filter {
            from_ms: from.map(|from| 1_000 + from),
            until_ms: until.map(|until| 1_000 + until),
            ..Filter::default()
        };
        for (filter, expected) in [
            (time(Some(7), None), &[9, 8, 7][..]),
            (time(None, Some(2)), &[1, 0]),
            (time(Some(3), Some(6)), &[5, 4, 3]),
            (time(Some(6), Some(3)), &[]),
            (time(Some(6), Some(6)), &[]),
            (Filter { room: Some("room1".into()), ..time(Some(3), Some(8)) }, &[7, 5, 3]),
            (Filter { state: Some(State::Ready), ..time(Some(3), Some(8)) }, &[4]),
            (Filter { state: Some(State::Ready), ..time(Some(5), None) }, &[]),
            (Filter { room: Some("nowhere".into()), ..Filter::default() }, &[]),
        ] {
            assert_eq!(ids(&catalogue.page(&filter, None, 99)), expected, "{filter:?}");
        }
        let first = catalogue.page(&time(Some(3), Some(8)), None, 3);
        let last = catalogue.page(&time(Some(3), Some(8)), first.next.as_ref(), 3);
        assert_eq!((ids(&first), ids(&last), last.next), (vec![7, 6, 5], vec![4, 3], None));
        (0..10).for_each(|number| catalogue.remove(&format!("{number:016x}")));
        assert!(catalogue.by_room.is_empty() && catalogue.by_state.iter().all(BTreeSet::is_empty));
        assert!(catalogue.by_change.is_empty() && catalogue.changed.is_empty());
    }

    #[test]
    fn who_has_seen_all_hears_what_changes() {
        let mut catalogue = Catalogue::default();
        (0..4).for_each(|number| assert_eq!(catalogue.put(recording(number, State::Recording)), None));
        let seen = catalogue.latest();
        let of = |changes: &Changes| {
            (ids(&Page { recordings: changes.recordings.clone(), next: None }), changes.gone.len())
        };
        let none = catalogue.changes(seen, None, 9).expect("known");
        assert_eq!((of(&none), none.seen), ((vec![], 0), seen));
        (0..3).for_each(|_| assert_eq!(catalogue.put(recording(2, State::Recording)), None));
        catalogue.put(recording(1, State::Ready));
        catalogue.remove(&format!("{:016x}", 0));
        let all = catalogue.changes(seen, None, 9).expect("known");
        assert_eq!((of(&all), all.seen), ((vec![2, 1], 1), catalogue.latest()), "each once");
        let of_room = catalogue.changes(seen, Some("room1"), 9).expect("known");
        assert_eq!(of(&of_room), (vec![1], 1));
        // In steps it is the same.
        let first = catalogue.changes(seen, None, 1).expect("known");
        let rest = catalogue.changes(first.seen, None, 1).expect("known");
        assert_eq!((of(&first), of(&rest), rest.seen), ((vec![2], 0), (vec![1], 1), all.seen));
        assert_eq!(catalogue.changes(catalogue.latest() + 1, None, 9), None, "another catalogue's");
        for number in 10..=10 + GONE_MAX as u64 {
            catalogue.put(recording(number, State::Ready));
            catalogue.remove(&format!("{number:016x}"));
        }
        assert_eq!(catalogue.changes(seen, None, 9), None, "too much is gone since");
        assert!(catalogue.gone.len() <= GONE_MAX);
    }

    #[test]
    fn only_files_that_are_ready_are_found_by_name() {
        let mut catalogue = Catalogue::default();
        for state in [State::Recording, State::Paused, State::Finishing, State::Failed] {
            catalogue.put(recording(1, state));
            assert_eq!(catalogue.of_file("1.webm"), None, "{state:?}");
        }
        catalogue.put(Recording { mixed: Some("1.mp4".into()), ..recording(1, State::Ready) });
        for name in ["1.webm", "1.mp4"] {
            assert_eq!(catalogue.of_file(name).map(|found| found.started_at_ms), Some(1_001), "{name}");
        }
        // A second one of the name takes it over, and the end of the first does not end that.
        catalogue.put(Recording { file: "1.webm".into(), ..recording(2, State::Ready) });
        catalogue.remove(&format!("{:016x}", 1));
        assert_eq!(catalogue.of_file("1.webm").map(|found| found.started_at_ms), Some(1_002));
        assert_eq!(catalogue.of_file("1.mp4"), None);
        for file in ["../a", "a/b", ""] {
            catalogue.put(Recording { file: file.into(), ..recording(3, State::Ready) });
            assert_eq!((catalogue.of_file(file), catalogue.len()), (None, 1), "{file}");
        }
    }

    #[test]
    fn what_a_new_recorder_does_not_tell_is_gone() {
        let mut catalogue = Catalogue::default();
        catalogue.came_up("/records".into());
        (0..3).for_each(|number| assert_eq!(catalogue.put(recording(number, State::Ready)), None));
        assert!(catalogue.synced().is_empty());
        assert!(catalogue.went_down() && !catalogue.went_down());
        assert_eq!(catalogue.len(), 3, "they are kept while it is away");
        catalogue.came_up("/records".into());
        catalogue.put(recording(1, State::Ready));
        let mut gone = catalogue.synced();
        gone.sort();
        assert_eq!(gone, [format!("{:016x}", 0), format!("{:016x}", 2)]);
        assert_eq!((catalogue.len(), catalogue.by_place.len(), catalogue.by_file.len()), (1, 1, 1));
    }

    #[test]
    fn the_oldest_that_has_ended_is_forgotten_for_one_more() {
        let mut catalogue = Catalogue { max: 3, ..Catalogue::default() };
        catalogue.put(recording(0, State::Recording));
        assert!((1..5).map(|number| catalogue.put(recording(number, State::Ready))).eq([
            None,
            None,
            Some(1),
            Some(2)
        ]));
        assert_eq!(ids(&catalogue.page(&Filter::default(), None, 9)), [4, 3, 0]);
        assert_eq!((catalogue.by_place.len(), catalogue.by_file.len()), (3, 2));
    }
}
