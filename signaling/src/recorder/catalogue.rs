//! What is known of all recordings, by id, by time and by the names of finished files.
//!
//! Invariants
//! - Only the name of a recording that is ready leads to a file.
//! - There is a bound on them; for one more the oldest that has ended is forgotten here, and stays where it
//!   is.

use recorder_control::{Recording, State, is_file_name, is_id};
use std::collections::{BTreeMap, HashMap, HashSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Recordings that are kept in mind: some hundred bytes each.
const RECORDINGS_MAX: usize = 100_000;

/// Which recordings are asked for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Filter {
    pub room: Option<String>,
    pub state: Option<State>,
}

/// Some of them, the newest first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Page {
    pub recordings: Vec<Arc<Recording>>,
    /// Where the next page begins; `None`: this is the last.
    pub next: Option<Place>,
}

/// Its beginning and its id, by which they are in order.
pub type Place = (u64, String);

/// All recordings.
#[derive(Debug)]
pub struct Catalogue {
    by_id: HashMap<String, Arc<Recording>>,
    by_place: BTreeMap<Place, Arc<Recording>>,
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
        let before = match after {
            Some(place) => self.by_place.range(..place.clone()),
            None => self.by_place.range::<Place, _>(..),
        };
        let wanted = |recording: &Arc<Recording>| {
            filter.room.as_ref().is_none_or(|room| *room == recording.room)
                && filter.state.is_none_or(|state| state == recording.state)
        };
        let mut found = before.rev().map(|(_, recording)| recording).filter(|recording| wanted(recording));
        let recordings: Vec<_> = found.by_ref().take(limit).cloned().collect();
        let more = found.next().is_some();
        let next = recordings.last().filter(|_| more).map(|last| place(last));
        Page { recordings, next }
    }

    pub(super) fn came_up(&mut self, directory: PathBuf) {
        self.directory = Some(directory.into());
        self.is_up = true;
        self.told = Some(HashSet::new());
    }

    /// Whether it was up.
    pub(super) fn went_down(&mut self) -> bool {
        self.told = None;
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
        self.remove(&recording.id);
        let forgot = if self.by_id.len() >= self.max { self.forget_one() } else { None };
        let recording = Arc::new(recording);
        if recording.state == State::Ready {
            for name in [Some(&recording.file), recording.mixed.as_ref()].into_iter().flatten() {
                self.by_file.insert(name.clone(), recording.id.clone());
            }
        }
        self.by_place.insert(place(&recording), Arc::clone(&recording));
        self.by_id.insert(recording.id.clone(), recording);
        forgot
    }

    pub(super) fn remove(&mut self, id: &str) {
        let Some(recording) = self.by_id.remove(id) else { return };
        self.by_place.remove(&place(&recording));
        for name in [Some(&recording.file), recording.mixed.as_ref()].into_iter().flatten() {
            if self.by_file.get(name).is_some_and(|of| of == id) {
                self.by_file.remove(name);
            }
        }
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
        let odd = Filter { room: Some("room1".into()), state: Some(State::Ready) };
        let page = catalogue.page(&odd, None, 5);
        assert_eq!((ids(&page), page.next), (vec![9, 7, 5, 3, 1], None));
        let written = Filter { state: Some(State::Recording), ..all };
        assert_eq!(ids(&catalogue.page(&written, None, 5)), [10]);
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
