//! Records the first video that is sent to the port.

use crate::{ivf, vp8};
use relay_port::{Frame, Message, connect};
use std::error::Error;
use std::fs;
use std::io::Write as _;
use std::path::Path;

/// What the track says goes on until the relay has written enough frames.
enum Heard {
    Begun(u64),
    Picture { timestamp: u32, frame: Option<Vec<u8>> },
    Ended,
    Else,
}

/// Says `ready` when the relay has taken the name, and ends when so many frames are in the file.
pub(crate) fn record(socket: &Path, name: &str, file: &Path, frames: usize) -> Result<(), Box<dyn Error>> {
    let (mut writer, mut reader) = connect(socket, name)?;
    writeln!(std::io::stdout(), "ready")?;
    let (mut out, mut assembler, mut recorded) = (Vec::new(), vp8::Assembler::default(), 0);
    let mut clock = Clock::default();
    while recorded < frames {
        let heard = reader.read(|frame, payload| match frame {
            Frame::Message(Message::Begin { track_id, .. }) => Heard::Begun(track_id),
            Frame::Message(Message::Packet(packet)) => Heard::Picture {
                timestamp: packet.timestamp,
                frame: assembler.take(packet.seq, packet.marker, payload),
            },
            Frame::Message(Message::End { .. }) => Heard::Ended,
            _ => Heard::Else,
        })?;
        match heard {
            Some(Heard::Begun(track_id)) => {
                writer.send(&Frame::Message(Message::Keyframe { track_id }), &[])?;
            }
            Some(Heard::Picture { timestamp, frame: Some(frame) }) => {
                if out.is_empty() {
                    out = ivf::header(vp8::size(&frame).ok_or("a keyframe without a size")?);
                }
                ivf::push(&mut out, clock.extend(timestamp), &frame);
                recorded += 1;
            }
            Some(Heard::Picture { .. } | Heard::Else) => {}
            Some(Heard::Ended) | None => return Err(format!("it ended after {recorded} frames").into()),
        }
    }
    Ok(fs::write(file, out)?)
}

/// RTP timestamps without their overflow, from zero on.
#[derive(Default)]
struct Clock {
    last: Option<u32>,
    sum: u64,
}

impl Clock {
    fn extend(&mut self, timestamp: u32) -> u64 {
        let passed = self.last.map_or(0, |last| timestamp.wrapping_sub(last));
        self.last = Some(timestamp);
        self.sum += u64::from(passed);
        self.sum
    }
}
