//! Names as they are shown: drawn once by FFmpeg, which shapes and turns scripts as they want it.
//!
//! Invariants
//! - A name reaches FFmpeg in a file and with `expansion=none`: nothing in it is an option, an expression or
//!   a path.
//! - A name that cannot be drawn is not shown, and nothing else depends on it.

use super::canvas::Mask;
use super::program::{Ffmpeg, output};
use std::collections::HashMap;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

/// Longest name that is shown, in characters.
const NAME_CHARS_MAX: usize = 48;
/// Fonts of Debian, in the order in which they are wanted.
const FONTS: [&str; 5] = [
    "/usr/share/fonts/truetype/dejavu/DejaVuSans.ttf",
    "/usr/share/fonts/truetype/noto/NotoSans-Regular.ttf",
    "/usr/share/fonts/truetype/liberation/LiberationSans-Regular.ttf",
    "/usr/share/fonts/truetype/liberation2/LiberationSans-Regular.ttf",
    "/usr/share/fonts/truetype/freefont/FreeSans.ttf",
];
/// Names of files in FFmpeg's folder.
const FONT: &str = "font";
const TEXT: &str = "name.txt";

/// Draws names.
pub(super) struct Names {
    ffmpeg: Ffmpeg,
    drawn: HashMap<(String, u32, u32), Option<Mask>>,
}

impl Names {
    /// `None`: there is no font.
    pub(super) fn new(ffmpeg: &Ffmpeg, font: Option<&Path>) -> Option<Self> {
        let known = FONTS.iter().map(PathBuf::from);
        let font = font.map(Path::to_owned).into_iter().chain(known).find(|path| path.is_file());
        let Some(font) = font.and_then(|font| font.canonicalize().ok()) else {
            tracing::warn!("no names are shown: there is no font; install fonts-dejavu-core");
            return None;
        };
        // By a name of ours, as the path is part of a filter's options.
        symlink(font, ffmpeg.work.join(FONT)).ok()?;
        Some(Self { ffmpeg: ffmpeg.clone(), drawn: HashMap::new() })
    }

    /// A name in letters of this size, cut to this width.
    pub(super) fn draw(&mut self, name: &str, size: u32, width: u32) -> Option<&Mask> {
        let key = (plain(name), size, width);
        if !self.drawn.contains_key(&key) {
            let mask = self.drawn_anew(&key.0, size, width);
            self.drawn.insert(key.clone(), mask);
        }
        self.drawn.get(&key)?.as_ref()
    }

    fn drawn_anew(&self, name: &str, size: u32, width: u32) -> Option<Mask> {
        if name.is_empty() {
            return None;
        }
        fs::write(self.ffmpeg.work.join(TEXT), name).ok()?;
        let height = size * 2;
        let mut command = self.ffmpeg.command();
        command.args(["-f", "lavfi", "-i", &format!("color=c=black:s={width}x{height}:r=1:d=1")]);
        let text = format!(
            "drawtext=fontfile={FONT}:textfile={TEXT}:expansion=none:fontsize={size}:fontcolor=white:\
             x={}:y=(h-text_h)/2,format=gray",
            size / 2
        );
        command.args(["-vf", &text, "-frames:v", "1", "-f", "rawvideo", "pipe:1"]);
        let cover = output(command, (width * height) as usize);
        if cover.is_none() {
            tracing::warn!("a name could not be drawn");
        }
        let mask = Mask { width: width as usize, height: height as usize, cover: cover? };
        Some(cut(mask, (size / 2) as usize))
    }
}

/// One line, of bounded length, without what moves the rest of the text.
fn plain(name: &str) -> String {
    let is_shown = |c: &char| !c.is_control();
    let mut plain: String =
        name.chars().map(|c| if c.is_whitespace() { ' ' } else { c }).filter(is_shown).collect();
    if let Some((at, _)) = plain.char_indices().nth(NAME_CHARS_MAX) {
        plain.truncate(at);
        plain.push('…');
    }
    plain.trim().to_owned()
}

/// Without what is empty at the right, but for a margin.
fn cut(mask: Mask, margin: usize) -> Mask {
    let used = |x: &usize| mask.cover.iter().skip(*x).step_by(mask.width).any(|cover| *cover > 0);
    let last = (0..mask.width).rev().find(used).unwrap_or(0);
    let width = ((last + margin) & !1).clamp(2, mask.width & !1);
    let cover = mask.cover.chunks_exact(mask.width).flat_map(|row| &row[..width]).copied().collect();
    Mask { width, height: mask.height, cover }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_one_line() {
        for (name, want) in [
            ("alice", "alice"),
            (" a\nb\tc\u{7}\0 ", "a b c"),
            ("%{e:'1'}:\\'x'", "%{e:'1'}:\\'x'"),
            ("\n\r", ""),
            (&"ä".repeat(60), &format!("{}…", "ä".repeat(48))),
        ] {
            assert_eq!(plain(name), want);
        }
    }

    #[test]
    fn what_is_empty_is_cut() {
        let mut cover = vec![0; 16];
        cover[2] = 255;
        let mask = cut(Mask { width: 8, height: 2, cover }, 2);
        assert_eq!((mask.width, mask.height, mask.cover), (4, 2, vec![0, 0, 255, 0, 0, 0, 0, 0]));
    }

    /// Whatever they are, they are drawn as they stand there, and no two alike.
    #[test]
    fn names_of_all_kinds_are_drawn() {
        let folder = tempfile::tempdir().expect("a folder");
        fs::write(folder.path().join("secret"), "secret").expect("written");
        let ffmpeg = Ffmpeg::new(Path::new("ffmpeg"), folder.path()).expect("a folder");
        let mut names = Names::new(&ffmpeg, None).expect("fonts-dejavu-core is installed: `make setup`");
        let all = [
            "alice",
            "%{pts}",
            "%{e:1+1}",
            ":textfile=secret",
            "',drawbox=t=fill,'",
            "a\\:b",
            "\\",
            "[x];color=red[y]",
            "שלום עולם",
            "مرحبا",
            "😀",
            "張偉",
            "a\nb",
            "-i",
            "\u{202e}evil",
        ];
        let masks: Vec<Mask> = all.map(|name| names.draw(name, 16, 320).expect(name).clone()).to_vec();
        for (name, mask) in all.iter().zip(&masks) {
            assert!(mask.cover.iter().any(|cover| *cover > 128), "{name}");
            assert_eq!(masks.iter().filter(|other| *other == mask).count(), 1, "{name}");
        }
        assert!(names.draw("", 16, 320).is_none() && names.draw("\n", 16, 320).is_none());
    }
}
