//! The programs that the settings name, looked for at the start: one that is missing is else missed when the
//! first recording has ended.

use crate::config::{Recording as Settings, RoomScript};
use crate::finish::HOOK_PATH;
use std::ffi::OsStr;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

/// What is not there or cannot be started, in words.
pub(crate) fn missing(settings: &Settings) -> Vec<String> {
    missing_in(settings, &std::env::var_os("PATH").unwrap_or_default())
}

fn missing_in(settings: &Settings, path: &OsStr) -> Vec<String> {
    let room = match &settings.on_multiple_record_hook_script {
        RoomScript::Path(program) => Some(program.as_path()),
        RoomScript::Own | RoomScript::No => None,
    };
    let hook = OsStr::new(HOOK_PATH);
    let wanted = [
        ("ffmpeg", Some(settings.ffmpeg.as_path()), path, "MP4 files are not finished, and rooms not mixed"),
        (
            "on_record_hook_script",
            settings.on_record_hook_script.as_deref(),
            hook,
            "nothing happens when files of streams are ready",
        ),
        ("on_multiple_record_hook_script", room, hook, "nothing happens when files of rooms are ready"),
    ];
    let told = wanted.into_iter().filter_map(|(key, program, path, what)| {
        let program = program.filter(|program| !is_there(program, path))?.display();
        Some(format!("recording.{key}: there is no program {program} that can be started: without it {what}"))
    });
    told.collect()
}

fn is_there(program: &Path, path: &OsStr) -> bool {
    let can_start = |program: &Path| {
        fs::metadata(program).is_ok_and(|meta| meta.is_file() && meta.permissions().mode() & 0o111 != 0)
    };
    if program.components().count() > 1 {
        can_start(program)
    } else {
        std::env::split_paths(path).any(|folder| can_start(&folder.join(program)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn programs_that_are_missing_are_named_with_their_keys() {
        let folder = tempfile::tempdir().expect("a folder");
        let program = folder.path().join("ffmpeg");
        fs::write(&program, "").expect("written");
        let path = folder.path().as_os_str();
        let keys = |settings: &Settings| -> Vec<String> {
            let told = missing_in(settings, path);
            told.iter().map(|told| told.split(':').next().unwrap_or_default().to_owned()).collect()
        };
        let settings = Settings::default();
        assert_eq!(keys(&settings), ["recording.ffmpeg"], "it cannot be executed");
        fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).expect("set");
        assert!(keys(&settings).is_empty());
        let settings = Settings {
            ffmpeg: "/nowhere/ffmpeg".into(),
            on_record_hook_script: Some("/nowhere/hook".into()),
            on_multiple_record_hook_script: RoomScript::Path(folder.path().into()),
            ..settings
        };
        let all = ["ffmpeg", "on_record_hook_script", "on_multiple_record_hook_script"];
        assert_eq!(keys(&settings), all.map(|key| format!("recording.{key}")));
        assert!(missing_in(&settings, path)[0].contains("/nowhere/ffmpeg"));
        let settings = Settings { on_multiple_record_hook_script: RoomScript::No, ..Settings::default() };
        assert!(keys(&settings).is_empty());
    }
}
