//! FFmpeg as it is started here, and what it is fed with.
//!
//! Invariants
//! - No name of a user is part of an argument: names go by files, media by pipes.
//! - It may open pipes and the files of its own folder, and nothing of the network.
//! - Who reads of it waits for [`SILENT`] at most; who is done with it kills it.

use super::source::Source;
use crate::matroska::{Block, DocType, Muxer, Track, Written, blocks};
use relay_port::MediaTime;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use std::collections::HashMap;
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::Arc;
use std::thread::JoinHandle;

/// How long nothing may come while something is waited for.
const SILENT: Timespec = Timespec { tv_sec: 120, tv_nsec: 0 };
/// Room in a pipe, so that both sides have something to do.
const PIPE_BYTES: usize = 1 << 20;

/// Where FFmpeg is, and the folder in which it works.
#[derive(Clone, Debug)]
pub(super) struct Ffmpeg {
    program: PathBuf,
    pub(super) work: PathBuf,
}

impl Ffmpeg {
    pub(super) fn new(program: &Path, work: &Path) -> io::Result<Self> {
        // A path is one from here, a bare name is looked for as ever.
        let is_path = program.components().count() > 1;
        let program = if is_path { program.canonicalize()? } else { program.to_owned() };
        Ok(Self { program, work: work.canonicalize()? })
    }

    pub(super) fn command(&self) -> Command {
        let mut command = Command::new(&self.program);
        command.env_clear().envs(std::env::var_os("PATH").map(|path| ("PATH", path)));
        command.current_dir(&self.work).args(["-v", "error", "-nostdin", "-protocol_whitelist", "file,pipe"]);
        command
    }
}

/// What is fed: blocks of some lines from a moment on.
#[derive(Clone, Debug)]
pub(super) struct Feed {
    /// Numbers of lines; FFmpeg finds them in this order.
    pub(super) lines: Vec<usize>,
    /// The first cluster.
    pub(super) cluster: usize,
    /// Time of the first and of the last block.
    pub(super) from_ms: u64,
    pub(super) until_ms: u64,
    /// Where the time begins that FFmpeg sees.
    pub(super) zero_ms: u64,
}

impl Feed {
    /// Writes it as a Matroska stream.
    fn write(&self, source: &Source, out: &mut impl Write) -> io::Result<()> {
        let ms = |ms: u64| MediaTime::from_nanos(i64::try_from(ms).unwrap_or(0).saturating_mul(1_000_000));
        let mut muxer = Muxer::new(DocType::Matroska, Some(ms(self.zero_ms)));
        let mut numbers = HashMap::new();
        for (uid, line) in (1..).zip(&self.lines) {
            let found = &source.lines[*line].track;
            let Some(media) = found.media.clone() else { continue };
            let track = Track { uid, name: String::new(), media };
            numbers.insert(found.number, muxer.add_track(&track).map_err(io::Error::other)?);
        }
        let mut cluster = self.cluster;
        while !source.is_behind(cluster, self.until_ms) {
            let Some(bytes) = source.cluster(cluster)? else { break };
            cluster += 1;
            for block in blocks(&bytes).filter(|b| (self.from_ms..=self.until_ms).contains(&b.at_ms)) {
                let Some(track) = numbers.get(&block.track).copied() else { continue };
                let (time, keyframe, bytes) = (ms(block.at_ms), block.keyframe, block.bytes.to_vec());
                // One that goes back in time is none of ours.
                let _ = muxer.handle_block(Block { track, time, keyframe, bytes });
            }
            drain(&mut muxer, out)?;
        }
        muxer.handle_end();
        drain(&mut muxer, out)
    }
}

fn drain(muxer: &mut Muxer, out: &mut impl Write) -> io::Result<()> {
    while let Some(written) = muxer.poll_written() {
        match written {
            // All tracks are known, so there is one, and it comes first.
            Written::Head(bytes) | Written::Cluster(bytes) => out.write_all(&bytes)?,
        }
    }
    Ok(())
}

/// An FFmpeg that is fed by a thread of its own and gives raw pictures or sound.
pub(super) struct Fed {
    child: Child,
    out: ChildStdout,
    feeder: Option<JoinHandle<()>>,
}

impl Fed {
    /// `command` reads `pipe:0` and writes `pipe:1`.
    pub(super) fn start(mut command: Command, source: &Arc<Source>, feed: Feed) -> io::Result<Self> {
        let child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn();
        let mut child = child.map_err(|why| not_started(&command, &why))?;
        let (Some(mut input), Some(out)) = (child.stdin.take(), child.stdout.take()) else {
            return Err(io::ErrorKind::BrokenPipe.into());
        };
        // What has no such pipes does with those that it has.
        let _ = rustix::pipe::fcntl_setpipe_size(&out, PIPE_BYTES);
        let mut fed = Self { child, out, feeder: None };
        let source = Arc::clone(source);
        let feeder = std::thread::Builder::new().name("feeder".into());
        // Who does not want more hangs up.
        fed.feeder = Some(feeder.spawn(move || drop(feed.write(&source, &mut input)))?);
        Ok(fed)
    }

    /// Fills `bytes`; how many there were. Fewer: there are no more.
    pub(super) fn read(&mut self, bytes: &mut [u8]) -> usize {
        let mut filled = 0;
        while filled < bytes.len() {
            let mut ready = [PollFd::new(&self.out, PollFlags::IN)];
            match poll(&mut ready, Some(&SILENT)) {
                Ok(1..) => {}
                Err(rustix::io::Errno::INTR) => continue,
                Ok(0) | Err(_) => {
                    tracing::warn!("FFmpeg said nothing for {} s and is ended", SILENT.tv_sec);
                    let _ = self.child.kill();
                    break;
                }
            }
            match self.out.read(&mut bytes[filled..]) {
                Ok(0) => break,
                Ok(count) => filled += count,
                Err(why) if why.kind() == io::ErrorKind::Interrupted => {}
                Err(_) => break,
            }
        }
        filled
    }
}

impl Drop for Fed {
    fn drop(&mut self) {
        // It may have ended, and then all this says so.
        let _ = self.child.kill();
        let _ = self.child.wait();
        if let Some(feeder) = self.feeder.take() {
            let _ = feeder.join();
        }
    }
}

/// An FFmpeg that takes raw pictures or sound and writes a file.
pub(super) struct Encoder {
    child: Child,
    input: Option<ChildStdin>,
}

impl Encoder {
    /// `command` reads `pipe:0`; what it has to say goes where ours goes.
    pub(super) fn start(mut command: Command) -> io::Result<Self> {
        let child = command.stdin(Stdio::piped()).stdout(Stdio::null()).spawn();
        let mut child = child.map_err(|why| not_started(&command, &why))?;
        let input = child.stdin.take();
        if let Some(input) = &input {
            let _ = rustix::pipe::fcntl_setpipe_size(input, PIPE_BYTES);
        }
        Ok(Self { child, input })
    }

    pub(super) fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.input.as_mut().map_or(Ok(()), |input| input.write_all(bytes))
    }

    /// Waits until its file is whole.
    pub(super) fn end(mut self) -> io::Result<()> {
        drop(self.input.take());
        let status = self.child.wait()?;
        if !status.success() {
            return Err(io::Error::other(format!("FFmpeg could not write: {status}")));
        }
        Ok(())
    }
}

impl Drop for Encoder {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Runs it and gives what it writes to `pipe:1`, up to `len` octets; `None` if it is less or it fails.
pub(super) fn output(mut command: Command, len: usize) -> Option<Vec<u8>> {
    let child = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn();
    let mut child = child.ok()?;
    let mut bytes = vec![0; len];
    let read = child.stdout.take()?.read_exact(&mut bytes);
    let _ = child.kill();
    let _ = child.wait();
    read.ok().map(|()| bytes)
}

fn not_started(command: &Command, why: &io::Error) -> io::Error {
    io::Error::other(format!("{} cannot be started: {why}", command.get_program().display()))
}
