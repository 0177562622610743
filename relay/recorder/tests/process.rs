//! The program before a relay's port and a controller that the test plays: killed, started again, stopped.

mod support;

use recorder_control::{Notice, Order, State};
use std::io::{Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::time::Instant;
use support::bed::{Bed, ROOM, STREAM, part_ms, recorder, spawn, until};

#[test]
fn a_killed_recorder_loses_half_a_second_and_goes_on() {
    let mut bed = Bed::start(&[]);
    let records = bed.records();
    let (mut port, mut controller) = (bed.port(), bed.controller());
    port.begin(1, &[STREAM, ROOM]);
    port.send_until(1, "two seconds are recorded", || part_ms(&records, ROOM, 1) >= 2_000);
    let written = controller.until(ROOM, |one| one.duration_ms >= 1_000);
    assert_eq!((written.state, written.tracks.len()), (State::Recording, 1));
    let sent_ms = port.sent * 20;
    bed.kill_and_start();
    let lost_ms = sent_ms.saturating_sub(part_ms(&records, ROOM, 1));
    // Two cores that do other things as well; what waits in memory is a unit test's.
    assert!(lost_ms <= 1_000, "{lost_ms} ms are lost");

    let (mut port, mut controller) = (bed.port(), bed.controller());
    port.began = Instant::now();
    port.begin(1, &[STREAM, ROOM]);
    port.send_until(1, "it goes on in another part", || part_ms(&records, ROOM, 2) >= 500);
    assert_eq!(controller.until(ROOM, |one| one.duration_ms > 0).interruptions, 1);
    for id in [STREAM, ROOM] {
        controller.order(&Order::End { id: id.into() });
        let ended = controller.until(id, |one| one.state == State::Finishing);
        assert_eq!(ended.interruptions, 1);
    }
}

#[test]
fn a_recording_is_ready_and_deleted_and_a_stop_loses_nothing() {
    for io in ["auto", "plain"] {
        let mut bed = Bed::start(&["--io", io]);
        let records = bed.records();
        let (mut port, mut controller) = (bed.port(), bed.controller());
        port.begin(1, &[ROOM]);
        port.send_until(1, "a second is recorded", || part_ms(&records, ROOM, 1) >= 1_000);
        let mut second = bed.controller();
        second.order(&Order::End { id: ROOM.into() });
        let ready = controller.until(ROOM, |one| one.state == State::Ready);
        assert_eq!((ready.file.as_str(), ready.interruptions), ("lobby.mkv", 0));
        assert!(ready.duration_ms >= 1_000 && records.join("lobby.mkv.json").exists());
        // The program that ships with it is started then.
        let ready = controller.until(ROOM, |one| one.mixed.is_some());
        assert_eq!(ready.mixed.as_deref(), Some("lobby.mp4"));

        // What is live when it is stopped goes on, and what is ready is known, when it is started again.
        port.begin(3, &[STREAM]);
        port.send_until(3, "the stream is recorded", || part_ms(&records, STREAM, 1) >= 500);
        let pid = nix::unistd::Pid::from_raw(bed.child.id().cast_signed());
        nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGTERM).expect("running");
        assert!(bed.child.wait().expect("ended").success());
        bed.child = spawn(bed.folder.path(), &["--io", io]);
        let mut controller = bed.controller();
        assert_eq!(controller.until(STREAM, |_| true).state, State::Recording);
        assert_eq!(controller.until(ROOM, |_| true), ready);
        controller.order(&Order::Delete { id: ROOM.into() });
        until("it is gone", || (!records.join("lobby.mkv").exists()).then_some(()));
        until("the mix too", || (!records.join("lobby.mp4").exists()).then_some(()));
        until("its description too", || (!records.join("lobby.mkv.json").exists()).then_some(()));
    }
}

/// Killed at some moment of it, or before it: the next process has it.
#[test]
fn a_mix_outlives_the_recorder() {
    let mut bed = Bed::start(&[]);
    let records = bed.records();
    let (mut port, mut controller) = (bed.port(), bed.controller());
    port.begin(1, &[ROOM]);
    port.send_until(1, "a second is recorded", || part_ms(&records, ROOM, 1) >= 1_000);
    controller.order(&Order::End { id: ROOM.into() });
    controller.until(ROOM, |one| one.state == State::Ready);
    bed.kill_and_start();
    let mixed = bed.controller().until(ROOM, |one| one.mixed.is_some());
    let bytes = std::fs::metadata(records.join("lobby.mp4")).expect("there").len();
    assert_eq!((mixed.mixed.as_deref(), mixed.mixed_bytes), (Some("lobby.mp4"), bytes));
    until("nothing else is left of it", || {
        let is_over = |name: &str| !records.join(name).exists();
        (is_over(".lobby.mp4.mixing") && is_over(&format!(".work/{ROOM}.hook"))).then_some(())
    });
}

/// Signals that we take do not reach the programs that we start as blocked or ignored ones.
#[test]
fn a_hook_can_be_ended_by_a_signal() {
    let bed = Bed::start_by(|folder| {
        let hook = folder.join("hook.sh");
        let script = "#!/bin/sh\nsh -c 'kill -TERM $$; sleep 60'; echo \"$?\" >said.new\n\
                      sh -c 'kill -INT $$; sleep 60'; echo \"$? $1\" >>said.new\nmv said.new said\n";
        std::fs::write(&hook, script).expect("written");
        std::fs::set_permissions(&hook, std::fs::Permissions::from_mode(0o755)).expect("set");
        let settings = format!("[recording]\non_record_hook_script = \"{}\"\n", hook.display());
        std::fs::write(folder.join("ringvox.toml"), settings).expect("written");
        recorder(folder, &[])
    });
    let records = bed.records();
    let mut port = bed.port();
    port.begin(1, &[STREAM]);
    port.send_until(1, "it is recorded", || part_ms(&records, STREAM, 1) >= 500);
    bed.controller().order(&Order::End { id: STREAM.into() });
    let said = until("the hook has ended", || std::fs::read_to_string(records.join("said")).ok());
    // As a shell has it: 128 and the signal's number.
    assert_eq!(said, "143\n130 lobby-alice-1f2e-camera\n");
}

/// A second recorder waits until the first one ends.
#[test]
fn one_recorder_has_a_directory() {
    let mut bed = Bed::start(&[]);
    drop(bed.controller());
    let other = bed.folder.path().join("other.sock");
    let socket = other.display().to_string();
    let mut second = spawn(bed.folder.path(), &["--control-socket", &socket]);
    assert!(!other.exists());
    assert!(second.try_wait().expect("a child").is_none(), "it waits");
    bed.child.kill().expect("running");
    bed.child.wait().expect("ended");
    until("the second has it", || UnixStream::connect(&other).ok());
    second.kill().expect("running");
    second.wait().expect("ended");
}

#[test]
fn who_says_nonsense_is_cut_off_and_others_are_not() {
    let bed = Bed::start(&[]);
    let mut good = bed.controller();
    for nonsense in [b"nonsense\n".to_vec(), vec![b' '; recorder_control::LINE_BYTES_MAX + 2]] {
        let mut bad = bed.controller();
        // It may be cut off before all is taken.
        let _ = bad.lines.get_mut().write_all(&nonsense);
        let mut rest = Vec::new();
        until("it is cut off", || match bad.lines.read_to_end(&mut rest) {
            Ok(_) => Some(()),
            Err(why) => (why.kind() == std::io::ErrorKind::ConnectionReset).then_some(()),
        });
    }
    good.order(&Order::End { id: ROOM.into() });
    good.lines.get_mut().write_all(b"{\"order\":\"something new\"}\n").expect("taken");
    assert_eq!(good.read(), Notice::Synced);
}

#[test]
fn a_directory_that_cannot_be_used_is_named_with_its_key() {
    let folder = tempfile::tempdir().expect("a folder");
    std::fs::write(folder.path().join("file"), "").expect("written");
    for directory in ["/proc/x".into(), folder.path().join("file"), folder.path().join("file/below")] {
        let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_ringvox-recorder"));
        command.current_dir(folder.path()).arg("--directory").arg(&directory);
        let ended = command.arg("--port-socket").arg(folder.path().join("t-ports.sock")).output();
        let ended = ended.expect("started");
        let said = String::from_utf8_lossy(&ended.stderr);
        assert_eq!(ended.status.code(), Some(1), "{said}");
        let want = format!("recording.directory = {} cannot be used: ", directory.display());
        assert!(said.contains(&want) && said.contains("or name another one"), "{said}");
    }
}
