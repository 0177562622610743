//! The line to the relay, against a relay that says what a test wants. Time is tokio's own and does not pass
//! by itself.

use relay_control::{
    AddDownTrack, Command, CommandError, Done, DownTrackAdded, ErrorCode, Event, EventBody, FrameDecoder,
    FromRelay, GetInventory, Hello, Inventory, Outgoing, PortInfo, Reply, ReplyBody, Request, SetLabel,
    TransportInfo, TransportState, TransportStateChanged, Welcome, encode_frame,
};
use signaling::hub::ANSWER_LIMIT;
use signaling::relay::{BUSY_LIMIT, LinkCommand, LinkEvent, LinkSettings, run};
use std::fs::{self, Permissions};
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::Path;
use std::time::Duration;
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;
use tokio::time::Instant;

/// One connection of the link, from the relay's side.
pub(crate) struct Line {
    stream: UnixStream,
    decoder: FrameDecoder,
}

impl Line {
    /// `None`: the link closed it.
    pub(crate) async fn next(&mut self) -> Option<(u64, Command)> {
        loop {
            if let Some(request) = self.decoder.next::<Request>().expect("well formed") {
                return Some((request.request_id, request.command.expect("a command")));
            }
            let mut buffer = [0; 4096];
            match self.stream.read(&mut buffer).await {
                Ok(0) | Err(_) => return None,
                Ok(n) => self.decoder.push(&buffer[..n]),
            }
        }
    }

    async fn hello(&mut self) -> (u64, Hello) {
        match self.next().await {
            Some((id, Command::Hello(hello))) => (id, hello),
            other => panic!("no greeting: {other:?}"),
        }
    }

    pub(crate) async fn say(&mut self, outgoing: Outgoing) {
        let mut out = Vec::new();
        encode_frame(&FromRelay { outgoing: Some(outgoing) }, &mut out).expect("small");
        // It may have gone already.
        let _ = self.stream.write_all(&out).await;
    }

    pub(crate) async fn answer(&mut self, request_id: u64, body: ReplyBody) {
        self.say(Outgoing::Reply(Reply { request_id, body: Some(body) })).await;
    }

    /// Up to the inventory, which is empty.
    pub(crate) async fn welcome(&mut self, boot_id: u64) -> Hello {
        let (id, hello) = self.hello().await;
        self.answer(id, ReplyBody::Welcome(Welcome { boot_id, epoch: hello.epoch, ..Welcome::default() }))
            .await;
        hello
    }
}

pub(crate) fn refusal(code: ErrorCode, highest_epoch: u64) -> ReplyBody {
    ReplyBody::Error(CommandError { code: code.into(), message: "says the test".to_owned(), highest_epoch })
}

/// A link and the place where it looks for its relay.
pub(crate) struct World {
    listener: UnixListener,
    pub(crate) commands: mpsc::Sender<LinkCommand>,
    pub(crate) events: mpsc::Receiver<LinkEvent>,
    link: JoinHandle<()>,
    _dir: TempDir,
}

impl World {
    pub(crate) fn new() -> Self {
        Self::with(|path| UnixListener::bind(path).expect("binds"))
    }

    fn with(bind: impl FnOnce(&Path) -> UnixListener) -> Self {
        let dir = tempfile::tempdir().expect("directory");
        let control_socket = dir.path().join("relay.sock");
        let listener = bind(&control_socket);
        let (commands, link_commands) = mpsc::channel(1024);
        let (link_events, events) = mpsc::channel(4096);
        let settings = LinkSettings { control_socket, program: None };
        let link = tokio::spawn(run(settings, link_commands, link_events));
        Self { listener, commands, events, link, _dir: dir }
    }

    pub(crate) async fn accept(&self) -> Line {
        let (stream, _) = self.listener.accept().await.expect("accepts");
        Line { stream, decoder: FrameDecoder::default() }
    }

    /// A connection on which the relay is up.
    pub(crate) async fn up(&mut self) -> Line {
        let mut line = self.accept().await;
        line.welcome(1).await;
        let Some((id, Command::GetInventory(_))) = line.next().await else { panic!("no inventory wanted") };
        line.answer(id, ReplyBody::Inventory(Inventory { boot_id: 1, ..Inventory::default() })).await;
        let event = self.events.recv().await;
        assert!(matches!(event, Some(LinkEvent::Up(..))), "{event:?}");
        line
    }
}

#[tokio::test(start_paused = true)]
async fn a_clock_that_is_behind_keeps_nobody_out() {
    let mut world = World::new();
    let highest = 1 << 60;
    let mut line = world.accept().await;
    let (id, before) = line.hello().await;
    line.answer(id, refusal(ErrorCode::StaleEpoch, highest)).await;
    let mut line = world.accept().await;
    let hello = line.welcome(1).await;
    assert_eq!((hello.epoch, hello.instance), (highest + 1, before.instance));
    assert!(hello.instance != 0);
    let Some((id, Command::GetInventory(_))) = line.next().await else { panic!("no inventory wanted") };
    line.answer(id, ReplyBody::Inventory(Inventory { boot_id: 1, ..Inventory::default() })).await;
    assert!(matches!(world.events.recv().await, Some(LinkEvent::Up(..))));
}

#[tokio::test(start_paused = true)]
async fn who_was_in_command_does_not_fight_back() {
    let mut world = World::new();
    let line = world.up().await;
    drop(line);
    let mut line = world.accept().await;
    let (id, hello) = line.hello().await;
    line.answer(id, refusal(ErrorCode::StaleEpoch, hello.epoch + 1)).await;
    assert!(matches!(world.events.recv().await, Some(LinkEvent::Down)));
    assert!(matches!(world.events.recv().await, Some(LinkEvent::Superseded)));
    world.link.await.expect("it ended");
}

#[tokio::test(start_paused = true)]
async fn of_those_that_start_at_the_same_moment_each_goes_above_what_it_is_refused_for() {
    let world = World::new();
    let mut highest = 1 << 50;
    for _ in 0..5 {
        let mut line = world.accept().await;
        let (id, hello) = line.hello().await;
        // Another one was faster.
        highest = highest.max(hello.epoch);
        line.answer(id, refusal(ErrorCode::StaleEpoch, highest)).await;
    }
    assert_eq!(world.accept().await.welcome(1).await.epoch, highest + 1);
}

fn state(transport_id: u64, seq: u64) -> Outgoing {
    let (state, reason) = (TransportState::Failed.into(), 0);
    let change = TransportStateChanged { transport_id, state, reason };
    Outgoing::Event(Event { seq, body: Some(EventBody::TransportState(change)) })
}

#[tokio::test(start_paused = true)]
async fn the_pages_come_first_then_what_happened_meanwhile_and_a_lost_event_begins_anew() {
    const TRANSPORTS: u64 = 20_000;
    const PAGE: u64 = 64;
    let mut world = World::new();
    let mut line = world.accept().await;
    line.welcome(1).await;
    let (mut seq, mut rounds) = (0, 0);
    loop {
        let Some((id, Command::GetInventory(GetInventory { after }))) = line.next().await else {
            panic!("no page wanted")
        };
        rounds += u64::from(after == 0);
        // One event a page; one of them is lost in the first round.
        line.say(state(after + 1, seq)).await;
        seq += 1 + u64::from(rounds == 1 && after == PAGE * 10);
        let ids = after + 1..=(after + PAGE).min(TRANSPORTS);
        let transports = ids.map(|transport_id| TransportInfo { transport_id, ..TransportInfo::default() });
        let (boot_id, transports) = (1, transports.collect());
        let next = if after + PAGE < TRANSPORTS { after + PAGE } else { 0 };
        line.answer(id, ReplyBody::Inventory(Inventory { boot_id, transports, next, ports: Vec::new() }))
            .await;
        if rounds == 2 && next == 0 {
            break;
        }
    }
    let event = world.events.recv().await;
    let Some(LinkEvent::Up(_, inventory)) = event else { panic!("{event:?}") };
    let ids: Vec<u64> = inventory.transports.iter().map(|info| info.transport_id).collect();
    assert!(ids.iter().copied().eq(1..=TRANSPORTS), "{} listed", ids.len());
    let event = world.events.recv().await;
    assert!(matches!(event, Some(LinkEvent::Event(EventBody::TransportState(_)))), "{event:?}");
}

#[tokio::test(start_paused = true)]
async fn a_page_that_finds_a_full_mailbox_is_asked_for_again_on_the_same_line() {
    let mut world = World::new();
    let mut line = world.accept().await;
    line.welcome(1).await;
    let info = |transport_id| TransportInfo { transport_id, ..TransportInfo::default() };
    for (page, next) in [(0, 64), (64, 0)] {
        for round in 0..5 {
            let Some((id, Command::GetInventory(GetInventory { after }))) = line.next().await else {
                panic!("the line broke")
            };
            assert_eq!(after, page);
            let (boot_id, transports) = (1, vec![info(after + 1)]);
            // Those at local ports are on the first page.
            let recorder = PortInfo { port: "recorder".to_owned(), ..PortInfo::default() };
            let ports = if after == 0 { vec![recorder] } else { Vec::new() };
            let whole = ReplyBody::Inventory(Inventory { boot_id, transports, next, ports });
            line.answer(id, if round < 4 { refusal(ErrorCode::Busy, 0) } else { whole }).await;
        }
    }
    let event = world.events.recv().await;
    let Some(LinkEvent::Up(_, inventory)) = event else { panic!("{event:?}") };
    let ids: Vec<u64> = inventory.transports.iter().map(|info| info.transport_id).collect();
    assert_eq!(ids, [1, 65]);
    assert_eq!(inventory.ports.iter().map(|port| &*port.port).collect::<Vec<_>>(), ["recorder"]);
}

#[tokio::test(start_paused = true)]
async fn a_relay_that_stays_busy_is_left_in_time() {
    let world = World::new();
    let mut line = world.accept().await;
    line.welcome(1).await;
    let mut rounds = 0;
    while let Some((id, _)) = line.next().await {
        line.answer(id, refusal(ErrorCode::Busy, 0)).await;
        rounds += 1;
        assert!(rounds < 1_000, "it goes on for ever");
    }
    assert!(rounds > 1);
}

/// What is wrong with the relay.
#[derive(Clone, Copy, Debug)]
enum Wrong {
    Closes,
    ClosesWhenUp,
    Garbage,
    Foreign,
    Language,
    NoInventory,
    Mute,
}

async fn misbehave(mut line: Line, wrong: Wrong) {
    match wrong {
        Wrong::Closes => {}
        Wrong::Garbage => drop(line.stream.write_all(&[0, 0, 0, 4, 0xff, 0xff, 0xff, 0xff]).await),
        Wrong::Foreign => drop(line.stream.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").await),
        Wrong::Language => {
            let (id, _) = line.hello().await;
            line.answer(id, refusal(ErrorCode::BadRequest, 0)).await;
        }
        Wrong::NoInventory => {
            line.welcome(1).await;
            let Some((id, _)) = line.next().await else { return };
            line.answer(id, refusal(ErrorCode::LimitReached, 0)).await;
        }
        Wrong::ClosesWhenUp => {
            line.welcome(1).await;
            let Some((id, _)) = line.next().await else { return };
            line.answer(id, ReplyBody::Inventory(Inventory { boot_id: 1, ..Inventory::default() })).await;
            return;
        }
        Wrong::Mute => {}
    }
    if !matches!(wrong, Wrong::Closes) {
        // The link is the one that ends it.
        while line.next().await.is_some() {}
    }
}

#[tokio::test(start_paused = true)]
async fn what_goes_wrong_is_tried_again_with_growing_pauses() {
    const LOOKED: Duration = Duration::from_secs(300);
    const MANY: usize = 1_000;
    for wrong in [
        Wrong::Closes,
        Wrong::ClosesWhenUp,
        Wrong::Garbage,
        Wrong::Foreign,
        Wrong::Language,
        Wrong::NoInventory,
        Wrong::Mute,
    ] {
        let mut world = World::new();
        let (until, mut attempts) = (Instant::now() + LOOKED, 0);
        while attempts < MANY {
            tokio::select! {
                line = world.accept() => {
                    attempts += 1;
                    misbehave(line, wrong).await;
                }
                () = tokio::time::sleep_until(until) => break,
            }
            while world.events.try_recv().is_ok() {}
        }
        assert!((25..160).contains(&attempts), "{wrong:?}: {attempts} attempts in {LOOKED:?}");
        // Well again, it serves as if nothing had been.
        world.up().await;
    }
}

#[tokio::test(start_paused = true)]
async fn an_order_to_end_the_relay_waits_for_no_pause() {
    let world = World::new();
    for _ in 0..20 {
        misbehave(world.accept().await, Wrong::NoInventory).await;
    }
    let (done, ended) = oneshot::channel();
    let asked = Instant::now();
    world.commands.send(LinkCommand::Shutdown(done)).await.expect("taken");
    let mut line = world.accept().await;
    line.welcome(1).await;
    assert!(matches!(line.next().await, Some((_, Command::Shutdown(_)))));
    drop(line);
    assert!(ended.await.is_err(), "dropped when it is done");
    assert!(asked.elapsed() < Duration::from_secs(1), "{:?}", asked.elapsed());
}

/// A room that fills faster than the pipe to its second shard is emptied.
#[tokio::test(start_paused = true)]
async fn a_full_pipe_costs_a_large_room_no_play() {
    const PLAYS: u64 = 500;
    /// Of the pipe, that are taken out of it every few milliseconds.
    const PLACES: usize = 20;
    let mut world = World::new();
    let mut line = world.up().await;
    for play in 0..PLAYS {
        let transport_id = play + 1;
        let add = AddDownTrack { transport_id, track_id: PLAYS + play, ..AddDownTrack::default() };
        let label = SetLabel { transport_id, label: Vec::new() };
        for (kind, command) in (0..).zip([Command::AddDownTrack(add), Command::SetLabel(label)]) {
            let id = (1 << 32) + play * 2 + kind;
            world.commands.send(LinkCommand::Ask(id, command)).await.expect("taken");
        }
    }
    let (mut free, mut refused, mut answers) = (PLACES, 0, Vec::new());
    let mut played = std::collections::HashSet::new();
    let mut emptied = tokio::time::interval(Duration::from_millis(20));
    while answers.len() < 2 * PLAYS as usize {
        tokio::select! {
            request = line.next() => match request.expect("the line stays") {
                (id, Command::AddDownTrack(add)) if free > 0 => {
                    free -= 1;
                    played.insert(add.transport_id);
                    line.answer(id, ReplyBody::DownTrackAdded(DownTrackAdded::default())).await;
                }
                (id, Command::AddDownTrack(_)) => {
                    refused += 1;
                    line.answer(id, refusal(ErrorCode::Busy, 0)).await;
                }
                (id, Command::SetLabel(label)) => {
                    assert!(played.contains(&label.transport_id), "it got in front");
                    line.answer(id, ReplyBody::Done(Done {})).await;
                }
                (_, other) => panic!("{other:?}"),
            },
            _ = emptied.tick() => free = PLACES,
            event = world.events.recv() => match event {
                Some(LinkEvent::Reply(id, Ok(ReplyBody::DownTrackAdded(_) | ReplyBody::Done(_)))) => {
                    answers.push(id);
                }
                other => panic!("{other:?}"),
            },
        }
    }
    assert!(refused > PLAYS as usize / 2, "{refused}: it was full for a while");
}

#[tokio::test(start_paused = true)]
async fn a_pipe_that_stays_full_is_told_in_time() {
    let mut world = World::new();
    let mut line = world.up().await;
    let add = AddDownTrack { transport_id: 1, track_id: 2, ..AddDownTrack::default() };
    world.commands.send(LinkCommand::Ask(1 << 32, Command::AddDownTrack(add))).await.expect("taken");
    let begun = Instant::now();
    let event = loop {
        tokio::select! {
            request = line.next() => {
                let (id, _) = request.expect("the line stays");
                line.answer(id, refusal(ErrorCode::Busy, 0)).await;
            }
            event = world.events.recv() => break event,
        }
    };
    let Some(LinkEvent::Reply(id, Ok(ReplyBody::Error(error)))) = event else { panic!("{event:?}") };
    assert_eq!((id, error.code()), (1 << 32, ErrorCode::Busy));
    assert!(begun.elapsed() >= BUSY_LIMIT && begun.elapsed() < ANSWER_LIMIT);
}

/// Nobody in particular, for tests that root runs.
const NOBODY: u32 = 65_534;

/// What the link says instead of anything to who listens there.
async fn refused(mut world: World) -> String {
    let event = world.events.recv().await;
    let Some(LinkEvent::NotStarted(why)) = event else { panic!("{event:?}") };
    // Neither now nor later.
    let until = Instant::now() + Duration::from_secs(60);
    loop {
        let (events, listener) = (&mut world.events, &world.listener);
        tokio::select! {
            () = tokio::time::sleep_until(until) => return why,
            _ = events.recv() => {}
            accepted = listener.accept() => {
                let (mut stream, _) = accepted.expect("accepts");
                assert_eq!(stream.read(&mut [0; 1]).await.expect("closed"), 0, "something was said");
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn nothing_is_said_where_another_user_could_listen() {
    let world = World::with(|path| {
        let listener = UnixListener::bind(path).expect("binds");
        fs::set_permissions(path.parent().expect("parent"), Permissions::from_mode(0o777)).expect("chmod");
        listener
    });
    let why = refused(world).await;
    assert!(why.contains("chmod 700") && why.contains("relay.control_socket"), "{why}");
    if !rustix::process::geteuid().is_root() {
        return eprintln!("only root can be two users: not tested");
    }
    // He was faster with the directory.
    let world = World::with(|path| {
        let listener = UnixListener::bind(path).expect("binds");
        chown(path.parent().expect("parent"), Some(NOBODY), None).expect("chown");
        listener
    });
    let why = refused(world).await;
    assert!(why.contains("belongs to user 65534") && why.contains("relay.control_socket"), "{why}");
    // He listens in a place for all, as /tmp.
    let world = World::with(|path| {
        fs::set_permissions(path.parent().expect("parent"), Permissions::from_mode(0o1777)).expect("chmod");
        let path = path.to_owned();
        let bound = std::thread::spawn(move || {
            rustix::thread::set_thread_uid(rustix::process::Uid::from_raw(NOBODY)).expect("this thread only");
            std::os::unix::net::UnixListener::bind(path).expect("binds")
        });
        let listener = bound.join().expect("bound");
        listener.set_nonblocking(true).expect("set");
        UnixListener::from_std(listener).expect("a listener")
    });
    let why = refused(world).await;
    assert!(why.contains("a process of user 65534 listens"), "{why}");
}
