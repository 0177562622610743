//! `offline_mixer.json`: how a room is mixed.
//!
//! Keys are WCS's where it has one, and a plain one beside it where that is long. Unknown keys are told and
//! do nothing; a bad value is refused with what the key accepts.

use serde_json::{Map, Value};
use std::fmt::Display;
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::str::FromStr;

/// Where the screen is when there is one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Align {
    /// Left, the others beside it.
    Left,
    /// Right.
    Right,
    /// Above the others.
    Top,
    /// Below them.
    Bottom,
}

/// How everybody is mixed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MixSettings {
    /// Whether there are pictures.
    pub has_video: bool,
    /// Whether there is sound.
    pub has_audio: bool,
    /// Whether names are shown.
    pub shows_names: bool,
    /// Of the picture, in pixels; even.
    pub width: u32,
    /// Of the picture, in pixels; even.
    pub height: u32,
    /// Pictures a second.
    pub fps: u32,
    /// Pixels around each picture; even.
    pub padding: u32,
    /// Pictures fill their place and lose their edges, instead of being whole between bars.
    pub crops: bool,
    /// Where a screen is.
    pub align: Align,
    /// A stream whose name contains one of these is a screen.
    pub screen_keywords: Vec<String>,
    /// Of H.264: how thorough the encoder is.
    pub preset: String,
    /// Of H.264: less is better and larger.
    pub crf: u32,
    /// Of H.264: no more than this.
    pub video_kbps: Option<u32>,
    /// Of AAC.
    pub audio_kbps: u32,
    /// Red, green, blue.
    pub background: [u8; 3],
    /// Names are written in it.
    pub font: Option<PathBuf>,
    /// After so long without a frame a picture is not shown any more.
    pub silent_ms: u64,
}

impl Default for MixSettings {
    fn default() -> Self {
        Self {
            has_video: true,
            has_audio: true,
            shows_names: true,
            width: 1280,
            height: 720,
            fps: 25,
            padding: 0,
            crops: false,
            align: Align::Left,
            screen_keywords: vec!["screenShare".into()],
            preset: "ultrafast".into(),
            crf: 25,
            video_kbps: None,
            audio_kbps: 128,
            background: [0x10, 0x12, 0x16],
            font: None,
            silent_ms: 3_000,
        }
    }
}

const PRESETS: [&str; 8] =
    ["ultrafast", "superfast", "veryfast", "faster", "fast", "medium", "slow", "slower"];
/// Space around pictures in WCS's grid.
const GRID_PADDING: u32 = 10;

/// A value of JSON as text: WCS has numbers and booleans as strings as well.
fn text(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.trim().to_owned()),
        Value::Number(number) => Some(number.to_string()),
        Value::Bool(flag) => Some(flag.to_string()),
        _ => None,
    }
}

fn number<T>(value: &str, bounds: RangeInclusive<T>) -> Result<T, String>
where
    T: FromStr + PartialOrd + Display,
{
    let read = value.parse().ok().filter(|n| bounds.contains(n));
    read.ok_or_else(|| format!("a number from {} to {}", bounds.start(), bounds.end()))
}

fn even(value: &str, bounds: RangeInclusive<u32>) -> Result<u32, String> {
    let read = number(value, bounds.clone()).ok().filter(|n| n % 2 == 0);
    read.ok_or_else(|| format!("an even number from {} to {}", bounds.start(), bounds.end()))
}

fn truth(value: &str) -> Result<bool, String> {
    value.parse().map_err(|_| "true or false".to_owned())
}

/// `#RRGGBB` or `0xRRGGBB`, as WCS has colours.
fn colour(value: &str) -> Result<[u8; 3], String> {
    let digits = value.strip_prefix('#').or_else(|| value.strip_prefix("0x")).filter(|d| d.len() == 6);
    let read = digits.and_then(|digits| u32::from_str_radix(digits, 16).ok());
    let [_, red, green, blue] = read.ok_or("a colour such as \"#101216\"")?.to_be_bytes();
    Ok([red, green, blue])
}

impl MixSettings {
    /// Puts the keys of a file's text on top of these settings; the words about keys that mean nothing here.
    ///
    /// # Errors
    /// In words for people: the first thing that is wrong.
    pub fn read(&mut self, json: &str) -> Result<Vec<String>, String> {
        let keys: Map<String, Value> =
            serde_json::from_str(json).map_err(|why| format!("it is not a JSON object: {why}"))?;
        let mut told = Vec::new();
        // A layout has a padding of its own, which another key may change wherever it stands.
        let is_layout = |key: &str| key == "layout" || key == "mixerLayoutClass";
        let (layouts, others): (Vec<_>, Vec<_>) = keys.iter().partition(|(key, _)| is_layout(key));
        for (key, value) in layouts.into_iter().chain(others) {
            let value = text(value).ok_or_else(|| format!("{key}: give a plain value"))?;
            match self.set(key, &value) {
                Ok(true) => {}
                Ok(false) => told.push(format!("{key} means nothing here")),
                Err(accepted) => return Err(format!("{key} = {value:?}: give {accepted}")),
            }
        }
        match (self.has_video, self.has_audio) {
            (false, false) => Err("hasVideo and hasAudio are both false: give one of them".into()),
            _ => Ok(told),
        }
    }

    /// Sets one key. `false`: it means nothing here.
    ///
    /// # Errors
    /// What the key accepts.
    pub fn set(&mut self, key: &str, value: &str) -> Result<bool, String> {
        match key {
            "hasVideo" => self.has_video = truth(value)?,
            "hasAudio" => self.has_audio = truth(value)?,
            "mixerDisplayStreamName" => self.shows_names = truth(value)?,
            "width" | "mixerVideoWidth" => self.width = even(value, 64..=3_840)?,
            "height" | "mixerVideoHeight" => self.height = even(value, 64..=2_160)?,
            "fps" | "mixerVideoFps" => self.fps = number(value, 1..=60)?,
            "layout" | "mixerLayoutClass" => self.set_layout(value)?,
            "padding" | "mixerVideoGridLayoutMiddlePadding" => self.padding = even(value, 0..=64)?,
            "desktopAlign" | "mixerDesktopAlign" => self.align = align(value)?,
            "screenKeyword" | "mixerVideoLayoutDesktopKeyWord" => self.add_keyword(value)?,
            "videoCodec" => one_of(value, &["h264"]).map(drop)?,
            "preset" => self.preset = one_of(value, &PRESETS)?,
            "crf" | "mixerVideoQuality" => self.crf = number(value, 0..=51)?,
            "videoBitrateKbps" | "mixerVideoBitrateKbps" => {
                self.video_kbps = Some(number(value, 50..=100_000)?);
            }
            "audioBitrateKbps" => self.audio_kbps = number(value, 24..=512)?,
            "backgroundColour" | "backgroundColor" => self.background = colour(value)?,
            "font" => self.font = Some(PathBuf::from(value)),
            "silentSeconds" => self.silent_ms = number(value, 1..=60)? * 1_000,
            _ => return Ok(false),
        }
        Ok(true)
    }

    /// Our words, and the names of WCS's classes with whatever package in front.
    fn set_layout(&mut self, value: &str) -> Result<(), String> {
        (self.padding, self.crops) = match value.rsplit('.').next().unwrap_or_default() {
            "grid" | "CenterNoPaddingGridLayout" => (0, false),
            "padded" | "GridLayout" => (GRID_PADDING, false),
            "crop" | "CropNoPaddingGridLayout" => (0, true),
            _ => {
                return Err("\"grid\", \"padded\" or \"crop\", or WCS's CenterNoPaddingGridLayout, \
                            GridLayout or CropNoPaddingGridLayout"
                    .into());
            }
        };
        Ok(())
    }

    fn add_keyword(&mut self, value: &str) -> Result<(), String> {
        if value.is_empty() || value.len() > 64 {
            return Err("1 to 64 characters of a stream's name".into());
        }
        self.screen_keywords.push(value.to_owned());
        Ok(())
    }

    /// Whether a stream of this name is a screen.
    #[must_use]
    pub fn is_screen(&self, stream: &str) -> bool {
        self.screen_keywords.iter().any(|keyword| stream.contains(keyword.as_str()))
    }
}

fn align(value: &str) -> Result<Align, String> {
    match value.to_ascii_uppercase().as_str() {
        "LEFT" | "CENTER" => Ok(Align::Left),
        "RIGHT" => Ok(Align::Right),
        "TOP" => Ok(Align::Top),
        "BOTTOM" => Ok(Align::Bottom),
        _ => Err("LEFT, RIGHT, TOP or BOTTOM".into()),
    }
}

fn one_of(value: &str, choices: &[&str]) -> Result<String, String> {
    let found = choices.iter().find(|choice| **choice == value);
    found.map(|choice| (*choice).to_owned()).ok_or_else(|| format!("\"{}\"", choices.join("\", \"")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(json: &str) -> Result<(MixSettings, Vec<String>), String> {
        let mut settings = MixSettings::default();
        settings.read(json).map(|told| (settings, told))
    }

    #[test]
    fn the_file_of_wcs_is_read() {
        let json = r#"{"hasVideo": "true", "hasAudio": "false", "mixerDisplayStreamName": false}"#;
        let (settings, told) = read(json).expect("good");
        assert_eq!((settings.has_video, settings.has_audio, settings.shows_names), (true, false, false));
        assert!(told.is_empty());
    }

    #[test]
    fn every_key_is_understood() {
        let json = r##"{
            "padding": 4, "width": 640, "height": "360", "fps": 30, "layout": "com.x.CropNoPaddingGridLayout",
            "mixerDesktopAlign": "TOP", "screenKeyword": "desktop", "videoCodec": "h264", "preset": "veryfast",
            "crf": 20, "mixerVideoBitrateKbps": 2000, "audioBitrateKbps": 64, "backgroundColour": "#ff0080",
            "font": "/f.ttf", "silentSeconds": 5
        }"##;
        let (settings, told) = read(json).expect("good");
        let want = MixSettings {
            width: 640,
            height: 360,
            fps: 30,
            padding: 4,
            crops: true,
            align: Align::Top,
            screen_keywords: vec!["screenShare".into(), "desktop".into()],
            preset: "veryfast".into(),
            crf: 20,
            video_kbps: Some(2_000),
            audio_kbps: 64,
            background: [255, 0, 128],
            font: Some("/f.ttf".into()),
            silent_ms: 5_000,
            ..MixSettings::default()
        };
        assert_eq!((settings, told), (want, Vec::new()));
    }

    #[test]
    fn layouts_of_wcs_have_their_like() {
        for (layout, want) in [
            ("com.flashphoner.media.mixer.video.presentation.GridLayout", (10, false)),
            ("CenterNoPaddingGridLayout", (0, false)),
            ("com.flashphoner.mixerlayout.CropNoPaddingGridLayout", (0, true)),
            ("padded", (10, false)),
        ] {
            let (settings, _) = read(&format!(r#"{{"mixerLayoutClass": "{layout}"}}"#)).expect(layout);
            assert_eq!((settings.padding, settings.crops), want, "{layout}");
        }
    }

    #[test]
    fn what_is_unknown_is_told_and_what_is_bad_is_refused() {
        let (_, told) = read(r#"{"callbackUrl": "http://x", "mixerIdleTimeout": 5}"#).expect("not fatal");
        assert_eq!(told, ["callbackUrl means nothing here", "mixerIdleTimeout means nothing here"]);
        for (json, want) in [
            ("[]", "it is not a JSON object"),
            ("{", "it is not a JSON object"),
            (r#"{"hasVideo": "yes"}"#, r#"hasVideo = "yes": give true or false"#),
            (r#"{"width": 641}"#, "width = \"641\": give an even number from 64 to 3840"),
            (r#"{"fps": 0}"#, "fps = \"0\": give a number from 1 to 60"),
            (r#"{"layout": "speaker"}"#, "layout = \"speaker\": give \"grid\", \"padded\" or \"crop\""),
            (r#"{"crf": [1]}"#, "crf: give a plain value"),
            (r#"{"preset": "x -y"}"#, "preset = \"x -y\": give \"ultrafast\""),
            (r#"{"videoCodec": "h265"}"#, "videoCodec = \"h265\": give \"h264\""),
            (r#"{"backgroundColour": "red"}"#, "backgroundColour = \"red\": give a colour"),
            (r#"{"hasVideo": false, "hasAudio": false}"#, "hasVideo and hasAudio are both false"),
        ] {
            let refused = read(json).expect_err(json);
            assert!(refused.starts_with(want), "{json}: {refused}");
        }
    }
}
