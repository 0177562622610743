//! The program and a disk that is full, or gone: what is recorded pauses, and goes on.

mod support;

use recorder_control::{FailureCode, Recording, State};
use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;
use support::bed::{Bed, ROOM, STREAM, part_ms, recorder};

/// Octets of the disk.
const DISK_BYTES: usize = 16 << 20;

/// With a disk of its own, which is small; `settings` stand in its file.
fn on_a_small_disk(settings: &str) -> (Bed, PathBuf) {
    let bed = Bed::start_by(|folder| {
        let records = folder.join("records");
        fs::create_dir(&records).expect("made");
        fs::write(folder.join("ringvox.toml"), settings).expect("written");
        let mount = format!("mount -t tmpfs -o size={DISK_BYTES},mode=750 none \"$0\" && exec \"$@\"");
        let inner = recorder(folder, &[]);
        let mut command = Command::new("unshare");
        command.args(["--mount", "--user", "--map-root-user", "sh", "-c", &mount]).arg(&records);
        command.arg(inner.get_program()).args(inner.get_args()).current_dir(folder);
        command
    });
    // `unshare` and `sh` have become it; what it sees is here.
    let seen = format!("/proc/{}/root{}", bed.child.id(), bed.records().display());
    (bed, PathBuf::from(seen))
}

/// Takes all the room but so many octets.
fn fill(records: &Path, but: usize) -> PathBuf {
    let path = records.join("filler");
    let mut file = File::create(&path).expect("created");
    let room = rustix::fs::statvfs(records).map(|disk| disk.f_bavail * disk.f_frsize).expect("a disk");
    let mut rest = usize::try_from(room).expect("a small disk").saturating_sub(but);
    let some = vec![7; 64 << 10];
    while rest > 0
        && let Ok(written @ 1..) = file.write(&some[..rest.min(some.len())])
    {
        rest -= written;
    }
    path
}

fn is_paused_for_room(one: &Recording) -> bool {
    one.state == State::Paused
        && one.failure.as_ref().is_some_and(|failure| failure.code == FailureCode::DiskFull)
}

/// Below `min_free`, and where nothing is kept free until the disk refuses.
#[test]
fn a_full_disk_pauses_what_is_recorded_until_there_is_room() {
    for (settings, but) in [("[recording]\nmin_free = \"5%\"\n", 300_000), ("[recording]\nmin_free = 0\n", 0)]
    {
        let (bed, records) = on_a_small_disk(settings);
        let (mut port, mut controller) = (bed.port(), bed.controller());
        port.begin(1, &[STREAM, ROOM]);
        port.send_until(1, "it is recorded", || part_ms(&records, ROOM, 1) >= 500);
        let filler = fill(&records, but);
        let mut paused = 0;
        let told = controller.watch();
        port.send_until(1, "both are paused", || {
            paused += told.try_iter().filter(is_paused_for_room).count();
            paused >= 2
        });
        fs::remove_file(filler).expect("there");
        port.send_until(1, "both go on in another part", || {
            [STREAM, ROOM].iter().all(|id| (2..9).any(|part| part_ms(&records, id, part) >= 300))
        });
        let going: Vec<Recording> = told.try_iter().collect();
        assert!(going.iter().any(|one| one.state == State::Recording && one.interruptions >= 1), "{going:?}");
        // What was written before is whole.
        assert!(part_ms(&records, ROOM, 1) >= 500, "{settings}");
    }
}

#[test]
fn a_directory_that_is_gone_pauses_what_is_recorded_until_it_is_back() {
    let bed = Bed::start(&[]);
    let records = bed.records();
    let (mut port, mut controller) = (bed.port(), bed.controller());
    port.begin(1, &[STREAM]);
    port.send_until(1, "it is recorded", || part_ms(&records, STREAM, 1) >= 500);
    let away = records.with_file_name("away");
    fs::rename(&records, &away).expect("moved");
    let told = controller.watch();
    port.send_until(1, "it is paused", || told.try_iter().any(|one| one.state == State::Paused));
    fs::rename(&away, &records).expect("moved");
    port.send_until(1, "it goes on in another part", || part_ms(&records, STREAM, 2) >= 300);
}
