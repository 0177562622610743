//! Where on the picture everybody is.
//!
//! Invariants
//! - All numbers are even, as half of the pixels have a colour of their own.
//! - Places do not overlap, and lie within the picture.
//! - Places of a grid have the picture's own shape, so that two, three and four people have them of one size
//!   and nobody's decoder starts anew between them.

use super::settings::{Align, MixSettings};

/// Pictures that are shown at a time at most; more people are heard only.
pub(super) const CELLS_MAX: usize = 36;
/// Of those, screens.
pub(super) const SCREENS_MAX: usize = 4;
/// The part of the picture that the others have beside a screen.
const STRIP: u32 = 5;

/// A place, in pixels.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Rect {
    pub(super) x: u32,
    pub(super) y: u32,
    pub(super) width: u32,
    pub(super) height: u32,
}

/// The places of so many screens, then of so many others.
pub(super) fn places(settings: &MixSettings, screens: usize, others: usize) -> Vec<Rect> {
    let whole = Rect { x: 0, y: 0, width: settings.width, height: settings.height };
    let mut places = Vec::new();
    if screens == 0 {
        grid(whole, others, &mut places);
    } else if others == 0 {
        grid(whole, screens, &mut places);
    } else {
        let (large, strip) = split(whole, settings.align);
        grid(large, screens, &mut places);
        row(strip, others, &mut places);
    }
    places.into_iter().map(|place| inset(place, settings.padding)).collect()
}

const fn even(n: u32) -> u32 {
    n & !1
}

fn inset(place: Rect, padding: u32) -> Rect {
    let by = even(padding / 2).min(even(place.width.min(place.height) / 4));
    let (width, height) = (place.width - 2 * by, place.height - 2 * by);
    Rect { x: place.x + by, y: place.y + by, width, height }
}

/// The screen's part, and that of the others.
fn split(whole: Rect, align: Align) -> (Rect, Rect) {
    let Rect { width, height, .. } = whole;
    let (strip_width, strip_height) = (even(width / STRIP), even(height / STRIP));
    let (large_width, large_height) = (width - strip_width, height - strip_height);
    let side = |x, large_x| {
        (Rect { x: large_x, width: large_width, ..whole }, Rect { x, width: strip_width, ..whole })
    };
    let edge = |y, large_y| {
        (Rect { y: large_y, height: large_height, ..whole }, Rect { y, height: strip_height, ..whole })
    };
    match align {
        Align::Left => side(large_width, 0),
        Align::Right => side(0, strip_width),
        Align::Top => edge(large_height, 0),
        Align::Bottom => edge(0, strip_height),
    }
}

/// As many columns as rows, or one more; what is left of the height is above and below.
fn grid(area: Rect, count: usize, places: &mut Vec<Rect>) {
    let count = u32::try_from(count).unwrap_or(u32::MAX);
    let columns = (1..=count).find(|columns| columns * columns >= count).unwrap_or(1);
    let rows = count.div_ceil(columns);
    let (width, height) = (even(area.width / columns), even(area.height / columns));
    let top = area.y + even((area.height - rows * height) / 2);
    for row in 0..rows {
        let in_row = (count - row * columns).min(columns);
        let left = area.x + even((area.width - in_row * width) / 2);
        for column in 0..in_row {
            places.push(Rect { x: left + column * width, y: top + row * height, width, height });
        }
    }
}

/// One column, or row, or as many as it takes, of the shape of the area's picture.
fn row(area: Rect, count: usize, places: &mut Vec<Rect>) {
    let count = u32::try_from(count).unwrap_or(u32::MAX);
    let is_column = area.height > area.width;
    for lanes in 1..=count {
        // 16:9 across the strip.
        let (width, height) = if is_column {
            let width = even(area.width / lanes);
            (width, even(width * 9 / 16))
        } else {
            let height = even(area.height / lanes);
            (even(height * 16 / 9), height)
        };
        let length = if is_column { area.height / height.max(2) } else { area.width / width.max(2) };
        if length * lanes < count && lanes < count {
            continue;
        }
        for n in 0..count {
            let (lane, at) = (n % lanes, n / lanes);
            let (column, row) = if is_column { (lane, at) } else { (at, lane) };
            places.push(Rect { x: area.x + column * width, y: area.y + row * height, width, height });
        }
        return;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rects(settings: &MixSettings, screens: usize, others: usize) -> Vec<(u32, u32, u32, u32)> {
        let places = places(settings, screens, others);
        places.into_iter().map(|Rect { x, y, width, height }| (x, y, width, height)).collect()
    }

    #[test]
    fn a_grid_of_who_is_there() {
        let settings = MixSettings::default();
        for (others, want) in [
            (0, vec![]),
            (1, vec![(0, 0, 1280, 720)]),
            (2, vec![(0, 180, 640, 360), (640, 180, 640, 360)]),
            (3, vec![(0, 0, 640, 360), (640, 0, 640, 360), (320, 360, 640, 360)]),
        ] {
            assert_eq!(rects(&settings, 0, others), want, "{others}");
        }
        assert_eq!(rects(&settings, 0, 5)[3], (214, 360, 426, 240));
    }

    #[test]
    fn a_screen_is_large_and_the_others_beside_it() {
        let mut settings = MixSettings::default();
        for (align, want) in [
            (Align::Left, [(0, 0, 1024, 720), (1024, 0, 256, 144), (1024, 144, 256, 144)]),
            (Align::Right, [(256, 0, 1024, 720), (0, 0, 256, 144), (0, 144, 256, 144)]),
            (Align::Top, [(0, 0, 1280, 576), (0, 576, 256, 144), (256, 576, 256, 144)]),
            (Align::Bottom, [(0, 144, 1280, 576), (0, 0, 256, 144), (256, 0, 256, 144)]),
        ] {
            settings.align = align;
            assert_eq!(rects(&settings, 1, 2), want, "{align:?}");
        }
        assert_eq!(rects(&settings, 1, 0), [(0, 0, 1280, 720)]);
        assert_eq!(rects(&settings, 2, 0).len(), 2);
    }

    #[test]
    fn places_are_even_within_the_picture_and_apart() {
        for (width, height) in [(1280, 720), (640, 360), (64, 64), (360, 640), (1918, 1078)] {
            for align in [Align::Left, Align::Top] {
                for padding in [0, 10] {
                    let settings = MixSettings { width, height, align, padding, ..MixSettings::default() };
                    for screens in 0..=SCREENS_MAX {
                        for others in 0..=CELLS_MAX - screens {
                            let places = places(&settings, screens, others);
                            assert_eq!(places.len(), screens + others);
                            assert_good(&places, width, height);
                        }
                    }
                }
            }
        }
    }

    fn assert_good(places: &[Rect], width: u32, height: u32) {
        for (n, a) in places.iter().enumerate() {
            assert!([a.x, a.y, a.width, a.height].iter().all(|n| n % 2 == 0), "{a:?}");
            assert!(a.width >= 2 && a.height >= 2, "{a:?}");
            assert!(a.x + a.width <= width && a.y + a.height <= height, "{a:?} of {width}x{height}");
            for b in &places[..n] {
                let apart = a.x + a.width <= b.x
                    || b.x + b.width <= a.x
                    || a.y + a.height <= b.y
                    || b.y + b.height <= a.y;
                assert!(apart, "{a:?} {b:?}");
            }
        }
    }
}
