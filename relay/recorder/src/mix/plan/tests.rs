use super::*;
use crate::matroska::{FoundTrack, Media};

fn line(name: &str, is_video: bool, spans: &[(u64, u64)]) -> Line {
    let media = Some(Media::Opus);
    let track = FoundTrack { number: 1, name: name.into(), is_video, media };
    let spans =
        spans.iter().map(|(begin_ms, end_ms)| Span { begin_ms: *begin_ms, end_ms: *end_ms }).collect();
    Line::new(track, spans)
}

/// Each scene: from, to, and who is there: the name, in lower case if there is no picture.
fn shown(lines: &[Line], pictures: u64) -> Vec<(u64, u64, String)> {
    let settings = MixSettings::default();
    let people = people(lines, &settings, &[]);
    let plan = plan(lines, people, &settings, pictures);
    let scene = |scene: &Scene| {
        let names = scene.cells.iter().map(|cell| {
            let label = &plan.people[cell.person].label;
            if cell.content == Content::Name { label.to_lowercase() } else { label.to_uppercase() }
        });
        (scene.begin, scene.end, names.collect::<Vec<_>>().join(" "))
    };
    plan.scenes.iter().map(scene).collect()
}

fn want(scenes: &[(u64, u64, &str)]) -> Vec<(u64, u64, String)> {
    scenes.iter().map(|(begin, end, who)| (*begin, *end, (*who).to_owned())).collect()
}

#[test]
fn people_come_and_go() {
    let lines = [
        line("anna/camera", true, &[(0, 10_000)]),
        line("anna/camera", false, &[(0, 10_000)]),
        line("bert/camera", true, &[(2_000, 4_000), (8_000, 9_000)]),
        line("bert/camera", false, &[(2_000, 9_000)]),
        line("carl/camera", false, &[(3_000, 5_000)]),
    ];
    let scenes = [
        (0, 50, "ANNA"),
        (50, 75, "ANNA BERT"),
        (75, 100, "ANNA BERT carl"),
        (100, 125, "ANNA bert carl"),
        (125, 200, "ANNA bert"),
        (200, 225, "ANNA BERT"),
        (225, 250, "ANNA"),
    ];
    assert_eq!(shown(&lines, 250), want(&scenes));
}

#[test]
fn an_empty_room_has_a_scene() {
    let lines = [line("a/b", true, &[(1_000, 2_000)])];
    assert_eq!(shown(&lines, 75), want(&[(0, 25, ""), (25, 50, "A"), (50, 75, "")]));
}

/// A screen comes first and is large, and its login is told from the camera's.
#[test]
fn a_screen_is_in_front() {
    let lines = [
        line("a/camera", true, &[(0, 2_000)]),
        line("a/screenShare", true, &[(1_000, 2_000)]),
        line("b/c", true, &[(500, 2_000)]),
    ];
    let scenes = [(0, 13, "A / CAMERA"), (13, 25, "A / CAMERA B"), (25, 50, "A / SCREENSHARE A / CAMERA B")];
    assert_eq!(shown(&lines, 50), want(&scenes));
    let settings = MixSettings::default();
    let plan = plan(&lines, people(&lines, &settings, &[]), &settings, 50);
    let widths: Vec<u32> = plan.scenes[2].cells.iter().map(|cell| cell.rect.width).collect();
    assert_eq!(widths, [1024, 256, 256]);
}

fn known(login: &str, stream: &str, screen: bool) -> Recorded {
    let (kind, codec) = ("video".to_owned(), "vp8".to_owned());
    Recorded { login: login.to_owned(), stream: stream.to_owned(), kind, codec, screen, begins_ms: 0 }
}

/// Whatever it is called.
#[test]
fn what_was_published_as_a_screen_is_one() {
    let lines = [line("a/screen", true, &[(0, 2_000)]), line("b/camera", true, &[(0, 2_000)])];
    let settings = MixSettings::default();
    for (screen, want) in [(true, [1024, 256]), (false, [640, 640])] {
        let known = [known("a", "screen", screen), known("b", "camera", false)];
        let plan = plan(&lines, people(&lines, &settings, &known), &settings, 50);
        let widths: Vec<u32> = plan.scenes[0].cells.iter().map(|cell| cell.rect.width).collect();
        assert_eq!(widths, want);
    }
}

/// Who published twice under one name has one place, with the later picture.
#[test]
fn who_comes_back_is_the_same() {
    let lines = [line("a/c", true, &[(0, 3_000)]), line("a/c", true, &[(2_000, 5_000)])];
    let settings = MixSettings::default();
    let plan = plan(&lines, people(&lines, &settings, &[]), &settings, 125);
    assert_eq!(plan.people.len(), 1);
    let pictures: Vec<_> = plan.scenes.iter().map(|scene| (scene.begin, scene.cells[0].content)).collect();
    let of = |line: usize| Content::Picture(line, lines[line].spans[0]);
    assert_eq!(pictures, [(0, of(0)), (50, of(1))]);
}

/// However often somebody comes and goes, a scene is a scene.
#[test]
fn scenes_are_not_too_short() {
    let spans: Vec<(u64, u64)> = (0..500).map(|n| (n * 100, n * 100 + 50)).collect();
    let lines = [line("a/b", true, &[(0, 50_000)]), line("c/d", true, &spans)];
    let scenes = shown(&lines, 1_250);
    assert!(scenes.iter().rev().skip(1).all(|(begin, end, _)| end - begin >= 10), "{scenes:?}");
    assert_eq!((scenes[0].0, scenes.last().map(|last| last.1)), (0, Some(1_250)));
    assert!(scenes.windows(2).all(|pair| pair[0].1 == pair[1].0));
}

#[test]
fn more_than_have_a_place_are_told() {
    let lines: Vec<Line> = (0..50).map(|n| line(&format!("p{n}/c"), true, &[(n, 1_000)])).collect();
    let settings = MixSettings::default();
    let plan = plan(&lines, people(&lines, &settings, &[]), &settings, 25);
    assert!(plan.is_crowded);
    assert_eq!(plan.scenes.last().map(|scene| scene.cells.len()), Some(CELLS_MAX));
}

#[test]
fn names_are_taken_apart_by_what_is_known() {
    let known = [known("a/b", "c/d", false)];
    for (name, want) in [
        ("a/b/c/d", ("a/b", "c/d")),
        ("x/y", ("x", "y")),
        ("x/y/z", ("x/y", "z")),
        ("x", ("x", "")),
        ("/", ("", "")),
        ("", ("", "")),
    ] {
        assert_eq!(login_and_stream(name, &known), want, "{name}");
    }
}
