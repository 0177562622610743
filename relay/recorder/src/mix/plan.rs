//! Who is where on the picture, and when.
//!
//! Invariants
//! - Scenes follow each other without a gap from the first to the last picture.
//! - A scene lasts at least [`SCENE_MS_MIN`] (the last one may be shorter): however often people come and
//!   go, their number is bounded by the time.
//! - Everybody keeps the order in which they came first.

use super::layout::{CELLS_MAX, Rect, SCREENS_MAX, places};
use super::settings::MixSettings;
use super::source::{Line, Span};
use recorder_control::Recorded;
use std::collections::{BTreeMap, BTreeSet};

/// Shortest scene; what changes meanwhile is seen a moment later.
const SCENE_MS_MIN: u64 = 400;

/// Somebody's stream: what has one name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Person {
    /// What is shown.
    pub(super) label: String,
    is_screen: bool,
    /// Numbers of lines, in the order of the file.
    lines: Vec<usize>,
}

/// What is in a place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Content {
    /// A picture: the line, and which span of it.
    Picture(usize, Span),
    /// Only the name: somebody is heard and not seen.
    Name,
}

/// A place that somebody has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Cell {
    pub(super) person: usize,
    pub(super) rect: Rect,
    pub(super) content: Content,
}

/// A time without a change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Scene {
    /// Its first picture.
    pub(super) begin: u64,
    /// The first picture of the next one.
    pub(super) end: u64,
    pub(super) cells: Vec<Cell>,
}

/// See the module.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Plan {
    pub(super) people: Vec<Person>,
    pub(super) scenes: Vec<Scene>,
    /// Somebody had no place.
    pub(super) is_crowded: bool,
}

/// The number of the picture that is closest to a time.
pub(super) const fn picture_at(ms: u64, fps: u32) -> u64 {
    (ms * fps as u64 + 500) / 1_000
}

/// A stream's login and name, from the name of its tracks: by those that are known, else at its last `/`, as
/// a stream's name has none in our pages.
fn login_and_stream<'a>(name: &'a str, known: &'a [Recorded]) -> (&'a str, &'a str) {
    let found = of_name(name, known).next().map(|track| (track.login.as_str(), track.stream.as_str()));
    found.or_else(|| name.rsplit_once('/')).unwrap_or((name, ""))
}

/// The known tracks whose name is this one.
fn of_name<'a>(name: &'a str, known: &'a [Recorded]) -> impl Iterator<Item = &'a Recorded> {
    known.iter().filter(move |track| {
        let rest = name.strip_prefix(track.login.as_str()).and_then(|rest| rest.strip_prefix('/'));
        rest == Some(track.stream.as_str())
    })
}

/// Everybody who is in the file. `known`: what is known of its tracks.
pub(super) fn people(lines: &[Line], settings: &MixSettings, known: &[Recorded]) -> Vec<Person> {
    let mut by_name: BTreeMap<&str, Vec<usize>> = BTreeMap::new();
    for (at, line) in lines.iter().enumerate().filter(|(_, line)| !line.spans.is_empty()) {
        by_name.entry(line.track.name.as_str()).or_default().push(at);
    }
    let mut streams: BTreeMap<&str, usize> = BTreeMap::new();
    for name in by_name.keys() {
        *streams.entry(login_and_stream(name, known).0).or_default() += 1;
    }
    let mut people: Vec<(u64, Person)> = Vec::new();
    for (name, lines_of) in by_name {
        let (login, stream) = login_and_stream(name, known);
        // Who shows more than one thing is told apart.
        let is_one = streams.get(login) == Some(&1) || stream.is_empty();
        let label = if is_one { login.to_owned() } else { format!("{login} / {stream}") };
        let first = lines_of.iter().filter_map(|at| lines[*at].spans.first()).map(|span| span.begin_ms).min();
        let is_screen = settings.is_screen(stream) || of_name(name, known).any(|track| track.screen);
        people.push((first.unwrap_or_default(), Person { label, is_screen, lines: lines_of }));
    }
    people.sort_by_key(|(first, _)| *first);
    people.into_iter().map(|(_, person)| person).collect()
}

/// The span of a line that has a picture.
fn span_at(line: &Line, picture: u64, fps: u32) -> Option<Span> {
    let begun = line.spans.partition_point(|span| picture_at(span.begin_ms, fps) <= picture);
    let span = line.spans.get(begun.checked_sub(1)?)?;
    (picture < picture_at(span.end_ms, fps)).then_some(*span)
}

/// What is shown of somebody at a picture; `None`: they are not there.
fn content_at(person: &Person, lines: &[Line], picture: u64, fps: u32) -> Option<Content> {
    let (mut shown, mut is_heard) = (None, false);
    for at in &person.lines {
        let line = &lines[*at];
        let Some(span) = span_at(line, picture, fps) else { continue };
        if !line.track.is_video {
            is_heard = true;
        } else if shown.is_none_or(|(_, other): (usize, Span)| span.begin_ms >= other.begin_ms) {
            // Who comes back while the one before has not ended is the later one.
            shown = Some((*at, span));
        }
    }
    let picture = shown.map(|(at, span)| Content::Picture(at, span));
    picture.or_else(|| is_heard.then_some(Content::Name))
}

/// The scenes of `pictures` pictures.
pub(super) fn plan(lines: &[Line], people: Vec<Person>, settings: &MixSettings, pictures: u64) -> Plan {
    let fps = settings.fps;
    let spans = people.iter().flat_map(|person| &person.lines).flat_map(|at| &lines[*at].spans);
    let changes: BTreeSet<u64> = spans
        .flat_map(|span| [picture_at(span.begin_ms, fps), picture_at(span.end_ms, fps)])
        .filter(|at| *at < pictures)
        .collect();
    let shortest = picture_at(SCENE_MS_MIN, fps).max(1);
    let (mut scenes, mut is_crowded): (Vec<Scene>, bool) = (Vec::new(), false);
    let mut next = Some(0);
    while let Some(begin) = next {
        let (cells, lacks) = cells_at(lines, &people, settings, begin);
        is_crowded |= lacks;
        if scenes.last().is_none_or(|last| last.cells != cells) {
            scenes.push(Scene { begin, end: pictures, cells });
        }
        // What changes before the scene may end is seen when it ends.
        let earliest = scenes.last().map_or(0, |last| last.begin + shortest);
        next = changes.range(begin + 1..).next().map(|at| (*at).max(earliest)).filter(|at| *at < pictures);
    }
    let begins: Vec<u64> = scenes.iter().skip(1).map(|scene| scene.begin).collect();
    scenes.iter_mut().zip(begins).for_each(|(scene, end)| scene.end = end);
    Plan { people, scenes, is_crowded }
}

fn cells_at(lines: &[Line], people: &[Person], settings: &MixSettings, at: u64) -> (Vec<Cell>, bool) {
    let there = people.iter().enumerate().filter_map(|(person, who)| {
        content_at(who, lines, at, settings.fps).map(|content| (person, who.is_screen, content))
    });
    // A screen that is only heard is not large.
    let is_large = |(_, is_screen, content): &(usize, bool, Content)| *is_screen && *content != Content::Name;
    let (mut screens, mut others): (Vec<_>, Vec<_>) = there.partition(is_large);
    let count = screens.len() + others.len();
    screens.truncate(SCREENS_MAX);
    others.truncate(CELLS_MAX - screens.len());
    let places = places(settings, screens.len(), others.len());
    let shown = screens.into_iter().chain(others);
    let cell = |((person, _, content), rect)| Cell { person, rect, content };
    let cells: Vec<Cell> = shown.zip(places).map(cell).collect();
    let lacks = cells.len() < count;
    (cells, lacks)
}

#[cfg(test)]
mod tests;
