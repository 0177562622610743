use recorder::matroska::{Block, DocType, HEAD_BYTES, Media, Muxer, Scanned, Track, Written, scan};
use relay_port::MediaTime;

/// Files of recordings. An odd first octet: blocks of three tracks in any order of time, four octets each
/// (track and flags, step in milliseconds, length); what the muxer took comes back by the reader. An even
/// one: any octets behind a head, or in its place; the reader takes no more than there is, and can finish
/// it.
pub fn matroska(data: &[u8]) {
    let Some((kind, rest)) = data.split_first() else { return };
    if kind & 1 == 1 {
        return blocks(rest);
    }
    let mut muxer = muxer();
    muxer.handle_block(Block { track: 1, time: at(0), keyframe: true, bytes: vec![1] }).expect("the first");
    muxer.handle_end();
    let mut file = written(&mut muxer);
    if kind & 2 == 2 {
        file.extend_from_slice(rest);
    } else {
        let begin = usize::from(kind >> 2) * 4;
        let end = (begin + rest.len()).min(file.len());
        file[begin..end].copy_from_slice(&rest[..end - begin]);
    }
    if let Ok(scanned) = read(&file) {
        assert!(scanned.end as usize <= file.len());
        assert_eq!(scanned.index().0.len(), HEAD_BYTES);
        // What is finished reads the same.
        let mut finished = file[..scanned.end as usize].to_vec();
        let (head, cues) = scanned.index();
        finished[..HEAD_BYTES].copy_from_slice(&head);
        finished.extend(cues);
        assert_eq!(read(&finished).expect("it was read before"), scanned);
    }
}

fn at(ms: i64) -> MediaTime {
    MediaTime::from_nanos(1_790_000_000_000_000_000 + ms * 1_000_000)
}

fn muxer() -> Muxer {
    let mut muxer = Muxer::new(DocType::Matroska, Some(at(0)));
    for (uid, media) in (1..).zip([Media::Vp8 { width: 16, height: 16 }, Media::Opus, Media::Pcmu]) {
        muxer.add_track(&Track { uid, name: String::new(), media }).expect("room");
    }
    muxer
}

fn blocks(mut rest: &[u8]) {
    let (mut muxer, mut now_ms, mut taken, mut size) = (muxer(), 0i64, [0; 3], 0);
    while let Some(([head, step, len, many], behind)) = rest.split_first_chunk::<4>() {
        rest = behind;
        now_ms += i64::from(step.cast_signed());
        let track = head % 3 + 1;
        let bytes = vec![*len; usize::from(*len) * (1 + usize::from(many & 3))];
        let block = Block { track, time: at(now_ms), keyframe: head & 0x80 != 0, bytes };
        size += block.bytes.len() + 64;
        taken[usize::from(track) - 1] += u64::from(muxer.handle_block(block).is_ok());
        if head & 0x40 != 0 {
            muxer.handle_timeout(at(now_ms));
        }
    }
    muxer.handle_end();
    assert_eq!(muxer.poll_timeout(), None);
    let file = written(&mut muxer);
    if file.len() > HEAD_BYTES {
        let scanned = read(&file).expect("ours");
        assert_eq!((scanned.end as usize, &scanned.blocks[..]), (file.len(), &taken[..]));
        assert!(file.len() <= HEAD_BYTES + size);
    }
}

fn written(muxer: &mut Muxer) -> Vec<u8> {
    let mut file = vec![0; HEAD_BYTES];
    while let Some(written) = muxer.poll_written() {
        match written {
            Written::Head(head) => file[..HEAD_BYTES].copy_from_slice(&head),
            Written::Cluster(cluster) => file.extend(cluster),
        }
    }
    file
}

fn read(file: &[u8]) -> Result<Scanned, recorder::matroska::ScanError> {
    scan(|at, out| {
        let part = usize::try_from(at).ok().and_then(|at| file.get(at..)).unwrap_or_default();
        let count = part.len().min(out.len());
        out[..count].copy_from_slice(&part[..count]);
        Ok(count)
    })
}
