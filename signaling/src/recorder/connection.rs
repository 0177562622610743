//! One connection to the recorder's control socket: lines of JSON, each way.

use super::{Link, LinkFailure, RecorderCommand, RecorderEvent};
use recorder_control::{LINE_BYTES_MAX, Notice, Order, RECORDER_CONTROL_VERSION};
use std::path::{Path, PathBuf};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;
use tokio::sync::oneshot;
use tokio::time::Instant;

/// The recorder greets at once, or something else listens there.
const GREETING_LIMIT: Duration = Duration::from_secs(5);
/// Octets read at a time.
const READ_BYTES: usize = 64 << 10;

/// How the connection ended.
pub(super) enum Ended {
    Lost(LinkFailure),
    /// We were told to end the recorder.
    Told(oneshot::Sender<()>),
    HubGone,
}

/// From greeting to end. Reading never waits for writing: the recorder may be writing to us at the same time.
pub(super) async fn converse(link: &mut Link, mut stream: UnixStream) -> Ended {
    let mut buffer = vec![0; READ_BYTES];
    let (mut lines, mut out) = (Lines::default(), Vec::new());
    let mut greeted = false;
    let deadline = Instant::now() + GREETING_LIMIT;
    write_line(&mut out, &Order::Hello { version: RECORDER_CONTROL_VERSION });
    loop {
        while greeted && let Some(order) = link.orders.pop_front() {
            write_line(&mut out, &order);
        }
        let (mut reader, mut writer) = stream.split();
        tokio::select! {
            read = reader.read(&mut buffer) => {
                let Ok(n @ 1..) = read else { return Ended::Lost(LinkFailure::Closed) };
                lines.push(buffer.get(..n).unwrap_or_default());
                loop {
                    let line = match lines.next() {
                        Ok(Some(line)) => line,
                        Ok(None) => break,
                        Err(why) => return Ended::Lost(why),
                    };
                    match handle_line(link, &line, greeted).await {
                        Ok(()) => greeted = true,
                        Err(why) => return Ended::Lost(why),
                    }
                }
            }
            written = writer.write(&out), if !out.is_empty() => match written {
                Ok(n) => drop(out.drain(..n)),
                Err(_) => return Ended::Lost(LinkFailure::Closed),
            },
            command = link.commands.recv() => match command {
                None => return Ended::HubGone,
                Some(RecorderCommand::Order(order)) => link.remember(order),
                Some(RecorderCommand::End(done)) => {
                    // One that has not said which directory it has may be another server's.
                    link.pid = link.pid.filter(|_| greeted);
                    return Ended::Told(done);
                }
            },
            () = tokio::time::sleep_until(deadline), if !greeted => return Ended::Lost(LinkFailure::Silent),
        }
    }
}

fn write_line(out: &mut Vec<u8>, order: &Order) {
    // Strings and numbers: there is nothing that could go wrong.
    if serde_json::to_writer(&mut *out, order).is_ok() {
        out.push(b'\n');
    }
}

/// The recorder says it without links and in full.
fn check_directory(theirs: &str, ours: &Path) -> Result<(), LinkFailure> {
    let whole = ours.canonicalize().or_else(|_| std::path::absolute(ours)).unwrap_or_else(|_| ours.into());
    if whole == Path::new(theirs) { Ok(()) } else { Err(LinkFailure::OtherDirectory(theirs.into(), whole)) }
}

async fn handle_line(link: &mut Link, line: &[u8], greeted: bool) -> Result<(), LinkFailure> {
    let notice = match serde_json::from_slice::<Notice>(line) {
        Ok(notice) => notice,
        // A newer recorder may tell more than we know.
        Err(why) if greeted && why.is_data() => {
            tracing::debug!("passed over what the recorder says: {why}");
            return Ok(());
        }
        Err(why) => return Err(LinkFailure::Malformed(why.to_string())),
    };
    let event = match notice {
        Notice::Hello { version, directory } if !greeted => {
            check_directory(&directory, &link.directory)?;
            tracing::info!(version, directory, "connected to the recorder");
            link.recordings.write().came_up(PathBuf::from(directory));
            RecorderEvent::Up
        }
        _ if !greeted => return Err(LinkFailure::Malformed("no greeting".to_owned())),
        Notice::Hello { .. } => return Err(LinkFailure::Malformed("a second greeting".to_owned())),
        Notice::Recording(recording) => {
            if let Some(forgotten) = link.recordings.write().put((*recording).clone()) {
                tracing::warn!(forgotten, "there are more recordings than are kept in mind here");
            }
            RecorderEvent::Recording(recording)
        }
        Notice::Deleted { id } => {
            link.recordings.write().remove(&id);
            RecorderEvent::Deleted(id)
        }
        Notice::Synced => {
            let gone = link.recordings.write().synced();
            for id in gone {
                link.tell(RecorderEvent::Deleted(id)).await;
            }
            RecorderEvent::Synced
        }
    };
    link.recordings.changed();
    link.tell(event).await;
    Ok(())
}

/// Cuts what comes into lines.
#[derive(Debug, Default)]
struct Lines {
    octets: Vec<u8>,
    /// Of them, what is known to hold no end of a line.
    looked_at: usize,
}

impl Lines {
    fn push(&mut self, octets: &[u8]) {
        self.octets.extend_from_slice(octets);
    }

    fn next(&mut self) -> Result<Option<Vec<u8>>, LinkFailure> {
        let unseen = self.octets.get(self.looked_at..).unwrap_or_default();
        let Some(at) = unseen.iter().position(|octet| *octet == b'\n') else {
            self.looked_at = self.octets.len();
            let too_long = self.octets.len() > LINE_BYTES_MAX;
            return if too_long {
                Err(LinkFailure::Malformed("a line without an end".to_owned()))
            } else {
                Ok(None)
            };
        };
        let line: Vec<u8> = self.octets.drain(..=self.looked_at + at).collect();
        self.looked_at = 0;
        Ok(Some(line))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_cut_wherever_they_were_cut_before() {
        let text = b"one\n\ntwo three\nfo";
        for step in 1..text.len() {
            let (mut lines, mut found) = (Lines::default(), Vec::new());
            for part in text.chunks(step) {
                lines.push(part);
                while let Some(line) = lines.next().expect("short") {
                    found.push(line);
                }
            }
            assert_eq!(found, [&b"one\n"[..], b"\n", b"two three\n"], "{step}");
        }
    }

    #[test]
    fn a_line_without_an_end_is_refused() {
        let mut lines = Lines::default();
        lines.push(&vec![b' '; LINE_BYTES_MAX]);
        assert_eq!(lines.next(), Ok(None));
        lines.push(b"  ");
        assert!(lines.next().is_err());
    }
}
