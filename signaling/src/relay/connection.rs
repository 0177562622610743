//! One connection to the relay's control socket, from greeting to end.

use super::failure::LinkFailure;
use super::{Link, LinkCommand, LinkEvent, SHUTDOWN_LIMIT};
use relay_control::{
    CONTROL_VERSION, Command, CommandError, ErrorCode, Event, EventBody, FrameDecoder, FromRelay,
    GetInventory, Hello, Inventory, Outgoing, Reply, ReplyBody, Request, Shutdown, Welcome, encode_frame,
};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;
use tokio::sync::oneshot;
use tokio::time::Instant;

/// The relay greets at once, or something else listens there.
const GREETING_LIMIT: Duration = Duration::from_secs(5);

/// Before a page for which the relay had no room is asked for again.
const PAGE_PAUSE: Duration = Duration::from_millis(50);

/// Events that come while an inventory is being gathered wait for it.
const EARLY_EVENTS_MAX: usize = 1 << 18;

/// Transports of a relay: some more than its shards together may have.
const TRANSPORTS_MAX: usize = 2_000_000;

/// Our own request ids; the hub's start at `1 << 32`.
const HELLO: u64 = 1;
const INVENTORY: u64 = 2;
const SHUTDOWN: u64 = 3;

/// How the connection ended.
pub(super) enum Ended {
    Lost(LinkFailure),
    Superseded,
    Shutdown(oneshot::Sender<()>),
    HubGone,
}

/// An inventory that is being gathered, page by page.
#[derive(Default)]
struct Gathering {
    inventory: Inventory,
    /// Events that came meanwhile. They are told behind the inventory: each is newer than what the pages
    /// show, or says the same.
    early: Vec<EventBody>,
    /// Events were lost meanwhile, so the pages before may be wrong.
    incomplete: bool,
}

pub(super) struct ControlConnection<'a> {
    link: &'a mut Link,
    stream: UnixStream,
    decoder: FrameDecoder,
    out: Vec<u8>,
    welcome: Option<Welcome>,
    /// `None`: the hub has it.
    gathering: Option<Gathering>,
    next_event: Option<u64>,
    /// When to ask again for the page that was refused.
    page_again: Option<Instant>,
    /// The hub was told that the relay is there.
    is_up: bool,
    deadline: Option<Instant>,
    done: Option<oneshot::Sender<()>>,
}

impl<'a> ControlConnection<'a> {
    pub(super) fn new(link: &'a mut Link, stream: UnixStream) -> Self {
        Self {
            link,
            stream,
            decoder: FrameDecoder::default(),
            out: Vec::new(),
            welcome: None,
            gathering: Some(Gathering::default()),
            next_event: None,
            page_again: None,
            is_up: false,
            deadline: Some(Instant::now() + GREETING_LIMIT),
            done: None,
        }
    }

    /// How it ended, and whether the hub was told that the relay is there.
    pub(super) async fn run(mut self) -> (Ended, bool) {
        let (epoch, instance) = (self.link.epoch, self.link.instance);
        let name = "ringvox-signaling".to_owned();
        self.request(HELLO, Command::Hello(Hello { version: CONTROL_VERSION, epoch, name, instance }));
        if let Some(done) = self.link.shutdown.take() {
            self.shut_down(done);
        }
        let ended = self.pump().await.err().unwrap_or(Ended::Lost(LinkFailure::Closed));
        let ended = match (self.done, ended) {
            (Some(done), _) => Ended::Shutdown(done),
            (None, ended) => ended,
        };
        (ended, self.is_up)
    }

    /// Moves bytes and commands until something ends it. Reading never waits for writing: the relay may be
    /// writing to us at the same time.
    async fn pump(&mut self) -> Result<(), Ended> {
        let mut buffer = vec![0; 64 << 10];
        loop {
            self.send_requests();
            let (mut reader, mut writer) = self.stream.split();
            let forever = Instant::now() + Duration::from_secs(3600);
            let again = self.link.requests.poll_timeout().unwrap_or(forever);
            tokio::select! {
                read = reader.read(&mut buffer) => match read {
                    Ok(0) | Err(_) => return Err(Ended::Lost(LinkFailure::Closed)),
                    Ok(n) => self.received(buffer.get(..n).unwrap_or_default()).await?,
                },
                written = writer.write(&self.out), if !self.out.is_empty() => match written {
                    Ok(n) => drop(self.out.drain(..n)),
                    Err(_) => return Err(Ended::Lost(LinkFailure::Closed)),
                },
                command = self.link.commands.recv() => self.command_received(command).await?,
                () = tokio::time::sleep_until(again), if self.welcome.is_some() => {}
                () = tokio::time::sleep_until(self.page_again.unwrap_or(forever)) => self.ask_page_again(),
                () = tokio::time::sleep_until(self.deadline.unwrap_or(forever)) => {
                    if self.deadline.is_some() {
                        return Err(Ended::Lost(LinkFailure::Silent));
                    }
                }
            }
        }
    }

    /// Before the greeting requests are only kept: it is not yet clear whom we talk to.
    fn send_requests(&mut self) {
        while self.welcome.is_some()
            && let Some((id, command)) = self.link.requests.next_ready(Instant::now())
        {
            self.request(id, command);
        }
    }

    fn request(&mut self, request_id: u64, command: Command) {
        let request = Request { request_id, command: Some(command) };
        if let Err(why) = encode_frame(&request, &mut self.out) {
            tracing::error!("request cannot be sent: {why}");
        }
    }

    async fn command_received(&mut self, command: Option<LinkCommand>) -> Result<(), Ended> {
        match command {
            None => return Err(Ended::HubGone),
            Some(LinkCommand::Ask(id, command)) => {
                self.link.remember(id, command).await.ok_or(Ended::HubGone)?;
            }
            Some(LinkCommand::Shutdown(done)) => self.shut_down(done),
        }
        Ok(())
    }

    fn shut_down(&mut self, done: oneshot::Sender<()>) {
        self.done = Some(done);
        self.deadline = Some(Instant::now() + SHUTDOWN_LIMIT);
        // Before the greeting nothing of ours is obeyed.
        if self.welcome.is_some() {
            self.request(SHUTDOWN, Command::Shutdown(Shutdown {}));
        }
    }

    async fn received(&mut self, bytes: &[u8]) -> Result<(), Ended> {
        self.decoder.push(bytes);
        loop {
            match self.decoder.next::<FromRelay>() {
                Ok(None) => return Ok(()),
                Ok(Some(FromRelay { outgoing: Some(Outgoing::Reply(reply)) })) => {
                    self.reply_received(reply).await?
                }
                Ok(Some(FromRelay { outgoing: Some(Outgoing::Event(event)) })) => {
                    self.event_received(event).await?
                }
                Ok(Some(FromRelay { outgoing: None })) => {}
                Err(why) => return Err(Ended::Lost(LinkFailure::Malformed(why.to_string()))),
            }
        }
    }

    async fn reply_received(&mut self, reply: Reply) -> Result<(), Ended> {
        let Some(body) = reply.body else { return Ok(()) };
        match (reply.request_id, body) {
            (HELLO, ReplyBody::Error(error)) if error.code() == ErrorCode::StaleEpoch => {
                Err(self.link.refused_as_stale(error.highest_epoch))
            }
            (_, ReplyBody::Error(error)) if error.code() == ErrorCode::StaleEpoch => Err(Ended::Superseded),
            (HELLO, ReplyBody::Welcome(welcome)) => self.welcomed(welcome).await,
            (HELLO, ReplyBody::Error(CommandError { message, .. })) => {
                Err(Ended::Lost(LinkFailure::Refused(message)))
            }
            (INVENTORY, ReplyBody::Inventory(page)) => self.page_received(page).await,
            // A full mailbox: until the deadline of the page.
            (INVENTORY, ReplyBody::Error(error)) if error.code() == ErrorCode::Busy => {
                self.page_again = Some(Instant::now() + PAGE_PAUSE);
                Ok(())
            }
            (INVENTORY, ReplyBody::Error(CommandError { message, .. })) => {
                Err(Ended::Lost(LinkFailure::NoInventory(message)))
            }
            (SHUTDOWN, _) => Ok(()),
            (HELLO | INVENTORY, _) => Err(Ended::Lost(LinkFailure::Malformed("another answer".to_owned()))),
            (id, body) => {
                if self.link.requests.answered(id, &body, Instant::now()) {
                    self.tell(LinkEvent::Reply(id, Ok(body))).await?;
                }
                Ok(())
            }
        }
    }

    async fn welcomed(&mut self, welcome: Welcome) -> Result<(), Ended> {
        self.next_event = Some(welcome.next_event_seq);
        self.link.greeted(welcome.boot_id).await.ok_or(Ended::HubGone)?;
        self.link.in_command = true;
        self.welcome = Some(welcome);
        if self.done.is_some() {
            self.request(SHUTDOWN, Command::Shutdown(Shutdown {}));
            return Ok(());
        }
        // What was asked before the connection broke comes first, so that the inventory shows it.
        self.send_requests();
        self.gather_inventory();
        Ok(())
    }

    /// From the first page on.
    fn gather_inventory(&mut self) {
        self.gathering = Some(Gathering::default());
        self.ask_page(0);
    }

    fn ask_page(&mut self, after: u64) {
        if self.done.is_none() {
            self.deadline = Some(Instant::now() + GREETING_LIMIT);
        }
        self.request(INVENTORY, Command::GetInventory(GetInventory { after }));
    }

    /// Under the deadline that it has already.
    fn ask_page_again(&mut self) {
        if let (Some(_), Some(gathering)) = (self.page_again.take(), &self.gathering) {
            let after = gathering.inventory.next;
            self.request(INVENTORY, Command::GetInventory(GetInventory { after }));
        }
    }

    async fn page_received(&mut self, page: Inventory) -> Result<(), Ended> {
        let (Some(gathering), Some(welcome)) = (&mut self.gathering, &self.welcome) else { return Ok(()) };
        let (before, next) = (std::mem::replace(&mut gathering.inventory.next, page.next), page.next);
        gathering.inventory.boot_id = page.boot_id;
        gathering.inventory.transports.extend(page.transports);
        gathering.inventory.ports.extend(page.ports);
        if gathering.inventory.transports.len() > TRANSPORTS_MAX || (next != 0 && next <= before) {
            return Err(Ended::Lost(LinkFailure::Malformed("an inventory without an end".to_owned())));
        }
        if next != 0 {
            self.ask_page(next);
            return Ok(());
        }
        if gathering.incomplete {
            self.gather_inventory();
            return Ok(());
        }
        let (gathering, welcome) = (std::mem::take(gathering), welcome.clone());
        self.gathering = None;
        if self.done.is_none() {
            self.deadline = None;
        }
        self.is_up = true;
        self.tell(LinkEvent::Up(welcome, gathering.inventory)).await?;
        for event in gathering.early {
            self.tell(LinkEvent::Event(event)).await?;
        }
        Ok(())
    }

    async fn event_received(&mut self, event: Event) -> Result<(), Ended> {
        if let Some(expected) = self.next_event.filter(|expected| event.seq > *expected) {
            tracing::warn!(expected, got = event.seq, "events were lost; asking for the inventory");
            match &mut self.gathering {
                Some(gathering) => gathering.incomplete = true,
                None => self.gather_inventory(),
            }
        }
        self.next_event = Some(event.seq + 1);
        match (event.body, &mut self.gathering) {
            (None, _) => Ok(()),
            (Some(EventBody::Superseded(_)), _) => Err(Ended::Superseded),
            (Some(body), Some(gathering)) if gathering.early.len() < EARLY_EVENTS_MAX => {
                gathering.early.push(body);
                Ok(())
            }
            (Some(_), Some(_)) => {
                Err(Ended::Lost(LinkFailure::NoInventory("too much happens meanwhile".to_owned())))
            }
            (Some(body), None) => self.tell(LinkEvent::Event(body)).await,
        }
    }

    async fn tell(&mut self, event: LinkEvent) -> Result<(), Ended> {
        self.link.events.send(event).await.map_err(|_| Ended::HubGone)
    }
}
