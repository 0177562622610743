//! A picture in YUV 4:2:0, onto which others and names are put.

use super::layout::Rect;

/// Of limited range (ITU-R BT.601).
const WHITE: u8 = 235;
const BLACK: u8 = 16;
const GREY: u8 = 128;

/// How much of each pixel is covered, from 0 to 255. Width and height are even.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Mask {
    pub(super) width: usize,
    pub(super) height: usize,
    pub(super) cover: Vec<u8>,
}

/// See the module.
pub(super) struct Canvas {
    width: usize,
    height: usize,
    /// Y, U and V one after the other.
    bytes: Vec<u8>,
}

/// ITU-R BT.601, limited range.
pub(super) fn yuv([red, green, blue]: [u8; 3]) -> [u8; 3] {
    let [red, green, blue] = [red, green, blue].map(i32::from);
    let scaled = |r: i32, g: i32, b: i32, zero: i32| {
        let value = (r * red + g * green + b * blue + 128) >> 8;
        u8::try_from(value + zero).unwrap_or(0)
    };
    [scaled(66, 129, 25, 16), scaled(-38, -74, 112, 128), scaled(112, -94, -18, 128)]
}

/// Octets of a picture.
pub(super) const fn bytes_of(width: usize, height: usize) -> usize {
    width * height + 2 * (width / 2) * (height / 2)
}

/// A plane of a picture: where it begins, and its size.
fn planes(width: usize, height: usize) -> [(usize, usize, usize); 3] {
    let (half_width, half_height) = (width / 2, height / 2);
    let (luma, chroma) = (width * height, half_width * half_height);
    [(0, width, 1), (luma, half_width, 2), (luma + chroma, half_width, 2)]
}

/// A rectangle in usize.
fn of(rect: Rect) -> [usize; 4] {
    [rect.x, rect.y, rect.width, rect.height].map(|n| n as usize)
}

impl Canvas {
    pub(super) fn new(width: u32, height: u32) -> Self {
        let (width, height) = (width as usize, height as usize);
        Self { width, height, bytes: vec![0; bytes_of(width, height)] }
    }

    pub(super) fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    pub(super) fn whole(&self) -> Rect {
        Rect { x: 0, y: 0, width: self.width as u32, height: self.height as u32 }
    }

    /// One colour.
    pub(super) fn fill(&mut self, rect: Rect, colour: [u8; 3]) {
        self.rows(rect, |_, plane, row| row.fill(colour[plane]));
    }

    /// A picture of the rectangle's size.
    pub(super) fn put(&mut self, rect: Rect, picture: &[u8]) {
        let [_, _, width, height] = of(rect);
        let from = planes(width, height);
        self.rows(rect, |y, plane, row| {
            let (begin, stride, _) = from[plane];
            row.copy_from_slice(&picture[begin + y * stride..][..row.len()]);
        });
    }

    /// White text on what is there, made darker.
    pub(super) fn write(&mut self, x: u32, y: u32, mask: &Mask) {
        let rect = Rect { x, y, width: mask.width as u32, height: mask.height as u32 };
        self.rows(rect, |y, plane, row| {
            let step = if plane == 0 { 1 } else { 2 };
            let (dark, light) = if plane == 0 { (BLACK, WHITE) } else { (GREY, GREY) };
            let covers = mask.cover[y * step * mask.width..].iter().step_by(step);
            for (pixel, cover) in row.iter_mut().zip(covers) {
                let shaded = (u32::from(*pixel) + u32::from(dark)) / 2;
                let cover = u32::from(*cover);
                *pixel = ((shaded * (255 - cover) + u32::from(light) * cover) / 255) as u8;
            }
        });
    }

    /// Each row of each plane of a rectangle.
    fn rows(&mut self, rect: Rect, mut change: impl FnMut(usize, usize, &mut [u8])) {
        let [x, y, width, height] = of(rect);
        debug_assert!(x + width <= self.width && y + height <= self.height, "within the picture");
        for (plane, (begin, stride, step)) in planes(self.width, self.height).into_iter().enumerate() {
            for row in 0..height / step {
                let at = begin + (y / step + row) * stride + x / step;
                change(row, plane, &mut self.bytes[at..at + width / step]);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn colours() {
        for (rgb, want) in [
            ([0, 0, 0], [16, 128, 128]),
            ([255, 255, 255], [235, 128, 128]),
            ([255, 0, 0], [82, 90, 240]),
            ([0, 0, 255], [41, 240, 110]),
        ] {
            assert_eq!(yuv(rgb), want, "{rgb:?}");
        }
    }

    #[test]
    fn pictures_and_text_stay_in_their_place() {
        let mut canvas = Canvas::new(8, 4);
        canvas.fill(canvas.whole(), [16, 128, 128]);
        let rect = Rect { x: 4, y: 2, width: 4, height: 2 };
        let picture: Vec<u8> = [vec![100; 8], vec![50; 2], vec![200; 2]].concat();
        canvas.put(rect, &picture);
        let planes = |canvas: &Canvas| {
            let bytes = canvas.bytes();
            (bytes[..32].to_vec(), bytes[32..40].to_vec(), bytes[40..].to_vec())
        };
        let (y, u, v) = planes(&canvas);
        assert_eq!(y[16..], [16, 16, 16, 16, 100, 100, 100, 100, 16, 16, 16, 16, 100, 100, 100, 100]);
        assert!(y[..16].iter().all(|y| *y == 16));
        assert_eq!(
            (u, v),
            (vec![128, 128, 128, 128, 128, 128, 50, 50], vec![128, 128, 128, 128, 128, 128, 200, 200])
        );
        canvas.write(4, 2, &Mask { width: 2, height: 2, cover: vec![255, 0, 0, 0] });
        let (y, u, _) = planes(&canvas);
        assert_eq!(y[20..24], [235, 58, 100, 100]);
        assert_eq!(u[6..], [128, 50]);
    }
}
