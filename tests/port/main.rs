//! A process at a local port, for tests with browsers: records a video to a file, or plays one from a file.
//!
//! ```text
//! ringvox-port record PORT-SOCKET NAME FILE.ivf FRAMES
//! ringvox-port play CONTROL-SOCKET NAME FILE.ivf      offer on standard input, answer on standard output
//! ```

mod ivf;
mod play;
mod record;
mod vp8;

use std::error::Error;
use std::io::Write as _;
use std::path::Path;
use std::process::ExitCode;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let result: Result<(), Box<dyn Error>> = match arguments[..] {
        ["record", socket, name, file, frames] => match frames.parse() {
            Ok(frames) => record::record(Path::new(socket), name, Path::new(file), frames),
            Err(_) => Err("FRAMES is no number".into()),
        },
        ["play", socket, name, file] => play::play(Path::new(socket), name, Path::new(file)),
        _ => Err("record PORT-SOCKET NAME FILE FRAMES, or play CONTROL-SOCKET NAME FILE".into()),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            let _ = writeln!(std::io::stderr(), "ringvox-port: {why}");
            ExitCode::FAILURE
        }
    }
}
