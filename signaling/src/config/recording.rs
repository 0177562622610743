//! `[recording]`, as far as it is signaling's: what is recorded, what files are called, and who is told. How
//! files are written and kept is the recorder's part of the table.

use super::HookUrl;
use crate::file_name::Template;
use relay_settings::{Accepts, path, recording_directory, settings, single, truth};
use std::path::PathBuf;

settings! {
    /// `[recording]`
    pub struct Recording in "recording" {
        /// Whether to start the recorder when directory is set and no recorder is there.
        start_recorder: bool = true, truth();
        /// The recorder's program. The default is ringvox-recorder beside ringvox-signaling.
        recorder_binary: Option<PathBuf> = (None, "/usr/local/bin/ringvox-recorder"), path("a program").map(Some);
        /// Whether every published stream is recorded, by whatever it is published. Else those whose client
        /// asks for it ("record": true, or ?record=true of WHIP) and may, and those that an operator names.
        record_all_streams: bool = false, truth();
        /// Whether every room is recorded as a whole. Else those whose first member asks for it and may, and
        /// those that an operator names.
        record_all_rooms: bool = false, truth();
        /// What the file of a stream is called, without its ending. {room}, {login}, {stream} (what its page
        /// calls it, as "screenShare", else "video" or "audio"), {streamName} (its whole name), {sessionId},
        /// {mediaSessionId}, {startTime} (20260131T235959Z), {startTimeMillis} (of the Unix epoch),
        /// {audioCodec}, {videoCodec} and {id} (16 random digits). What is no letter or digit of ASCII, - or
        /// _ becomes _, long ones are cut, and the id is put behind where it is not named.
        stream_record_policy_template: Template = "{room}-{login}-{stream}-{startTime}", template();
        /// Whether the file of each stream begins when the first stream of its room began, with a black
        /// picture and silence until its own beginning. Such files can be laid over each other as they are.
        enable_empty_shift_writer: bool = false, truth();
        /// Whether recordings can be fetched at /records/ by those who may.
        serve: bool = true, truth();
        /// Where it is POSTed that a recording is ready or has failed.
        webhook: Option<HookUrl> = (None, "https://example.com/recordings"), single(
            "http://host:port/path or https://host/path, without user, query and fragment",
            "URL",
            HookUrl::parse,
        ).map(Some);
        /// A secret with which that is signed: at least 16 bytes; a line break at its end does not count.
        webhook_secret: Option<PathBuf> = (None, "/etc/ringvox/webhook.key"),
            path("a file with the secret").map(Some);
        with directory: Option<PathBuf> = None, recording_directory;
    }
}

impl Recording {
    /// Whether anything can be recorded.
    pub fn is_on(&self) -> bool {
        self.directory.is_some()
    }
}

fn template() -> Accepts<Template> {
    single(
        "1 to 100 letters, digits, - and _, and elements such as {stream}; {endTime}, {endTimeMillis} and \
         {duration} cannot be had, as a file is named when its recording begins",
        "TEXT",
        Template::parse,
    )
}
