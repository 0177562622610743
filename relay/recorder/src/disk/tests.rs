use super::*;
use crate::matroska::{Block, DocType, HEAD_BYTES, Media, Muxer, Track, scan};
use relay_port::MediaTime;
use std::fs;
use std::os::unix::fs::{FileExt, PermissionsExt};
use std::sync::mpsc::Receiver;
use std::time::Instant;

const ID: &str = "0123456789abcdef";

/// What a recording of some seconds writes.
fn written(seconds: i64) -> Vec<Written> {
    let mut muxer = Muxer::new(DocType::Matroska, None);
    muxer.add_track(&Track { uid: 1, name: String::new(), media: Media::Opus }).expect("room");
    for frame in 0..seconds * 50 {
        let time = MediaTime::from_nanos(frame * 20_000_000);
        let block = Block { track: 1, time, keyframe: true, bytes: vec![0xf8, 0xff, 0xfe] };
        muxer.handle_block(block).expect("times grow");
    }
    muxer.handle_end();
    std::iter::from_fn(|| muxer.poll_written()).collect()
}

/// With each way of writing that there is here.
fn with_each(test: impl Fn(Disk, &Path, Receiver<String>)) {
    for backend in [Backend::Uring, Backend::Plain] {
        let folder = tempfile::tempdir().expect("a folder");
        let (sent, closed) = channel();
        let told: TellClosed = Arc::new(move |id: &str| sent.send(id.to_owned()).expect("heard"));
        match Disk::start(folder.path(), backend, told) {
            Ok(disk) => test(disk, folder.path(), closed),
            // Where the kernel has none, plain files are what there is.
            Err(why) => assert!(backend == Backend::Uring, "{why}"),
        }
    }
}

#[test]
fn parts_are_whole_when_they_are_closed() {
    with_each(|disk, folder, closed| {
        let mut store = disk.stores().store(ID);
        let mut sink = store.create(1).expect("never refused at once");
        written(2).into_iter().for_each(|written| sink.write(written).expect("taken"));
        sink.finish();
        assert_eq!(closed.recv_timeout(Duration::from_secs(20)).as_deref(), Ok(ID));
        let path = part_path(folder, ID, 1);
        let file = File::open(&path).expect("there");
        let scanned = scan(|at, bytes| file.read_at(bytes, at)).expect("ours");
        assert_eq!((scanned.duration_ms, scanned.end), (2_000, file.metadata().expect("there").len()));
        assert_eq!(file.metadata().expect("there").permissions().mode() & 0o777, 0o640);
        disk.end();
    });
}

/// The process ends without a word to the sinks.
#[test]
fn what_was_given_is_written_at_the_end() {
    with_each(|disk, folder, _closed| {
        let mut stores = disk.stores();
        let mut sinks: Vec<DiskSink> =
            (1..=20).map(|part| stores.store(ID).create(part).expect("never refused at once")).collect();
        for sink in &mut sinks {
            written(1).into_iter().for_each(|written| sink.write(written).expect("taken"));
        }
        disk.end();
        for part in 1..=20 {
            let bytes = fs::read(part_path(folder, ID, part)).expect("there");
            let scanned = scan(|at, out| {
                let rest = bytes.get(at as usize..).unwrap_or_default();
                let count = rest.len().min(out.len());
                out[..count].copy_from_slice(&rest[..count]);
                Ok(count)
            });
            assert_eq!(scanned.expect("ours").duration_ms, 1_000);
        }
        let refused = sinks[0].write(Written::Cluster(Vec::new()));
        assert!(matches!(refused, Err(SinkError::Io(_))), "it has ended");
    });
}

#[test]
fn a_disk_that_refuses_or_is_slow_is_an_error_of_the_sink() {
    with_each(|disk, folder, closed| {
        // A part of this name is there already, and stays.
        let path = part_path(folder, ID, 1);
        fs::create_dir_all(path.parent().expect("a folder")).expect("made");
        fs::write(&path, "somebody's").expect("written");
        let mut sink = disk.stores().store(ID).create(1).expect("never refused at once");
        let deadline = Instant::now() + Duration::from_secs(20);
        let refused = loop {
            match sink.write(Written::Cluster(vec![0; 10])) {
                Err(why) => break why,
                Ok(()) => assert!(Instant::now() < deadline, "it is told"),
            }
            std::thread::yield_now();
        };
        assert!(matches!(refused, SinkError::Io(why) if why.kind() == io::ErrorKind::AlreadyExists));
        sink.finish();
        assert_eq!(closed.recv_timeout(Duration::from_secs(20)).as_deref(), Ok(ID));
        assert_eq!(fs::read(&path).expect("there"), b"somebody's");
        let mut sink = disk.stores().store(ID).create(2).expect("never refused at once");
        let most = Written::Cluster(vec![0; QUEUE_BYTES_MAX + 1]);
        assert!(matches!(sink.write(most), Err(SinkError::Full)));
        // As if other files had all of it.
        disk.queued.fetch_add(QUEUES_BYTES_MAX, Ordering::Relaxed);
        assert!(matches!(sink.write(Written::Cluster(vec![0; 10])), Err(SinkError::Full)));
        disk.queued.fetch_sub(QUEUES_BYTES_MAX, Ordering::Relaxed);
        sink.write(Written::Cluster(vec![0; 10])).expect("there is room");
        sink.finish();
        assert_eq!(closed.recv_timeout(Duration::from_secs(20)).as_deref(), Ok(ID));
        assert_eq!(disk.queued.load(Ordering::Relaxed), 0, "nothing waits");
        disk.end();
    });
}

#[test]
fn a_head_and_clusters_that_wait_are_written_together() {
    let mut batch = Batch::default();
    for written in [
        Written::Head(vec![1; HEAD_BYTES]),
        Written::Cluster(vec![2; 3]),
        Written::Head(vec![3; HEAD_BYTES]),
        Written::Cluster(vec![4; 2]),
    ] {
        batch.add(written);
    }
    assert_eq!((batch.head[0], batch.clusters, batch.len), (3, vec![2, 2, 2, 4, 4], 2 * HEAD_BYTES + 5));
}
