//! What this machine could do at best: the same sends without a relay around them.
//!
//! A loop of nothing but the cipher and the send, on one core, to as many destinations as the scenario has subscribers; the
//! relay's figure can only come near. It is measured where the relay would run, in the same session, because machines
//! differ by a factor of three in what a send costs. The workloads stand beside one another: the cipher alone, the bare system
//! call, the relay's own back end, and back end with cipher, which is the limit.
//!
//! Each runs back to back, and at the scenario's pace, asleep between the ticks: cold caches are part of the price.

use crate::args::{LimitArgs, RunArgs};
use crate::clock::thread_cpu_ns;
use crate::engine::nth_address;
use crate::report::median;
use crate::server::placed;
use crate::sink::Sink;
use arrayvec::ArrayVec;
use nix::sys::socket::{ControlMessage, MsgFlags, MultiHeaders, SockaddrStorage, sendmmsg};
use relay_core::fanout::LANES;
use relay_core::id::{Pt, SeqNo, Ssrc};
use relay_core::srtp::{SealContext, SealFour, SrtpProfile};
use relay_core::wire::rtp::{FIXED_HEADER_BYTES, HeaderFields, write_header};
use relay_io::{Io, IoOptions, Route, Run, Setting, choose, socket};
use serde_json::{Map, Value, json};
use std::fs;
use std::io::IoSlice;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket};
use std::os::fd::AsRawFd;
use std::time::{Duration, Instant};

/// Messages in one call.
const CALL_MESSAGES: usize = 64;
/// Destinations have ports from here on; nothing listens there unless they are ours.
const FIRST_PORT: u16 = 40_000;
const TAG_BYTES: usize = 16;
const SSRC: Ssrc = Ssrc(0x52);

/// Sets up the sink and the place, and measures there in a process of its own.
pub(crate) fn run(LimitArgs { run: args, here }: &LimitArgs) -> Result<(), String> {
    if *here {
        println!("{}", measure(args)?);
        return Ok(());
    }
    let sink = args.sink.as_ref().map(|device| Sink::install(device, args.subscriber_ip)).transpose()?;
    let own = std::env::current_exe().map_err(|why| why.to_string())?;
    let mut command = placed(&own, args.server.relay_cores.as_deref(), args.server.relay_netns.as_deref());
    command.args(std::env::args_os().skip(1)).arg("--here");
    let output =
        command.output().map_err(|why| format!("{}: {why}", command.get_program().to_string_lossy()))?;
    drop(sink);
    if !output.status.success() {
        return Err(String::from_utf8_lossy(&output.stderr).trim().to_owned());
    }
    let text = String::from_utf8_lossy(&output.stdout);
    print!("{text}");
    let Some(path) = &args.json else { return Ok(()) };
    fs::write(path, &*text).map_err(|why| format!("{}: {why}", path.display()))
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Workload {
    /// Header and cipher.
    Seal,
    /// `sendmmsg` on what lies there.
    SendMmsg,
    /// The relay's back end on what lies there.
    Send,
    /// Header, cipher and the relay's back end.
    Limit,
}

impl Workload {
    const ALL: [Self; 4] = [Self::Seal, Self::SendMmsg, Self::Send, Self::Limit];

    fn name(self) -> String {
        format!("{self:?}").to_lowercase()
    }
}

/// All workloads in turns, several times; medians in nanoseconds per packet.
fn measure(args: &RunArgs) -> Result<Value, String> {
    let mut bench = Bench::new(args)?;
    let interval = Duration::from_micros(args.burst_interval_us);
    let mut figures = vec![(Vec::new(), Vec::new()); Workload::ALL.len()];
    for _ in 0..args.repeat {
        for (workload, (steady, paced)) in Workload::ALL.into_iter().zip(&mut figures) {
            steady.push(bench.window(workload, args.window, Duration::ZERO)?);
            paced.push(bench.window(workload, args.window, interval)?);
        }
    }
    let mut value = Map::new();
    for (workload, (steady, paced)) in Workload::ALL.into_iter().zip(figures) {
        let figure = json!({"steady_ns": median(steady).round(), "paced_ns": median(paced).round()});
        value.insert(workload.name(), figure);
    }
    value.insert("back_end".to_owned(), bench.io.backend().name().into());
    value.insert("four_key_cipher".to_owned(), four(&bench.sealer.seals[..LANES]).is_some().into());
    Ok(value.into())
}

/// Writes what a tick sends: headers and the shared payload, sealed for each subscriber.
struct Sealer {
    seals: Vec<SealContext>,
    payload: Vec<u8>,
    /// One subscriber's.
    run: Run,
    burst: usize,
}

impl Sealer {
    /// The runs of a group of subscribers, back to back.
    fn seal(&self, group: usize, index: u64, memory: &mut [u8]) {
        let seals = &self.seals[group * LANES..][..LANES];
        let four = four(seals);
        for at in 0..self.burst {
            let index = index + at as u64;
            let slots = memory.chunks_exact_mut(self.run.len);
            let slots = slots.map(|share| &mut share[at * self.run.segment..][..self.run.segment]);
            let Ok(mut slots) = slots.collect::<ArrayVec<&mut [u8], LANES>>().into_inner() else { return };
            slots.iter_mut().for_each(|slot| write(slot, index));
            if let Some(four) = &four {
                four.seal_rtp(slots, FIXED_HEADER_BYTES, [(SSRC, index); LANES], &self.payload);
                continue;
            }
            for (seal, slot) in seals.iter().zip(slots) {
                seal.seal_rtp(slot, FIXED_HEADER_BYTES, SSRC, index, &self.payload);
            }
        }
    }
}

fn four(seals: &[SealContext]) -> Option<SealFour<'_>> {
    let [a, b, c, d] = seals else { return None };
    SealFour::new([a, b, c, d])
}

fn context(n: u32) -> SealContext {
    let (mut key, salt) = ([0x42; 16], [0x17; 12]);
    key[..4].copy_from_slice(&n.to_be_bytes());
    SealContext::new(SrtpProfile::AeadAes128Gcm, &key, &salt).with_lane(&key, &salt)
}

fn write(slot: &mut [u8], index: u64) {
    let fields = HeaderFields {
        marker: false,
        padding: false,
        pt: Pt(96),
        seq: SeqNo(index as u16),
        timestamp: index as u32,
        ssrc: SSRC,
    };
    // Every slot holds a whole packet.
    let _ = write_header(slot, &fields, &[]);
}

struct Bench {
    io: Io,
    sealer: Sealer,
    routes: Vec<Route>,
    /// Where the cipher writes when nothing is sent.
    memory: Vec<u8>,
    bare: Bare,
    index: u64,
    /// Destinations on this machine: bound, never read.
    _deaf: Vec<UdpSocket>,
}

impl Bench {
    fn new(args: &RunArgs) -> Result<Self, String> {
        let wrong = |why: std::io::Error| why.to_string();
        let count = args.subscribers.next_multiple_of(LANES as u32);
        let to =
            |n: u32| SocketAddr::new(nth_address(args.subscriber_ip, n), FIRST_PORT + (n % 20_000) as u16);
        let remotes: Vec<SocketAddr> = (0..count).map(to).collect();
        let deaf: Vec<UdpSocket> = if args.subscriber_ip.is_loopback() {
            remotes.iter().map(UdpSocket::bind).collect::<Result<_, _>>().map_err(wrong)?
        } else {
            Vec::new()
        };
        let local = source_towards(remotes[0]).map_err(wrong)?;
        let options = socket::SocketOptions::new(SocketAddr::new(local, 0));
        let setting: Setting =
            args.server.io.parse().map_err(|()| format!("--io {}: uring, mmsg or auto", args.server.io))?;
        let choice = choose(setting).map_err(|why| why.to_string())?;
        let sending = socket::bind(&options).map_err(wrong)?;
        let io = Io::new(choice.backend, vec![sending], &IoOptions::default()).map_err(wrong)?;
        let burst = usize::from(args.burst.unwrap_or(1));
        let segment = usize::from(args.packet_bytes) + TAG_BYTES;
        let run = Run { start: 0, segment, len: segment * burst };
        let bare = Bare::new(socket::bind(&options).map_err(wrong)?, &remotes, run);
        let payload = vec![0x5a; usize::from(args.packet_bytes) - FIXED_HEADER_BYTES];
        let sealer = Sealer { seals: (0..count).map(context).collect(), payload, run, burst };
        Ok(Self {
            io,
            routes: remotes.iter().map(|remote| Route { remote: *remote, local: Some(local) }).collect(),
            memory: vec![0; run.len * count as usize],
            bare,
            sealer,
            index: 0,
            _deaf: deaf,
        })
    }

    /// CPU time for each packet of a window, ticks `interval` apart.
    fn window(&mut self, workload: Workload, window: Duration, interval: Duration) -> Result<f64, String> {
        self.tick(workload)?;
        let (begun, cpu) = (Instant::now(), thread_cpu_ns());
        let mut ticks = 0_u32;
        while begun.elapsed() < window {
            self.tick(workload)?;
            ticks += 1;
            std::thread::sleep((interval * ticks).saturating_sub(begun.elapsed()));
        }
        let packets = f64::from(ticks) * (self.routes.len() * self.sealer.burst) as f64;
        Ok((thread_cpu_ns() - cpu) as f64 / packets)
    }

    fn tick(&mut self, workload: Workload) -> Result<(), String> {
        let share = self.sealer.run.len * LANES;
        match workload {
            Workload::Seal => {
                let groups = self.memory.chunks_exact_mut(share).enumerate();
                groups.for_each(|(group, memory)| self.sealer.seal(group, self.index, memory));
            }
            Workload::SendMmsg => self.bare.send_all()?,
            Workload::Send | Workload::Limit => {
                for (group, routes) in self.routes.chunks_exact(LANES).enumerate() {
                    let memory =
                        self.io.send_queue().lend(share).map_err(|_| "no memory is free".to_owned())?;
                    match workload {
                        Workload::Limit => self.sealer.seal(group, self.index, memory),
                        _ => memory[0] = 0x80,
                    }
                    for (lane, route) in routes.iter().enumerate() {
                        let start = lane * self.sealer.run.len;
                        self.io.send_queue().commit(route, Run { start, ..self.sealer.run });
                    }
                }
                self.io.flush();
            }
        }
        self.index += self.sealer.burst as u64;
        Ok(())
    }
}

struct Bare {
    socket: UdpSocket,
    names: Vec<Option<SockaddrStorage>>,
    memory: Vec<u8>,
    run: Run,
    headers: MultiHeaders<SockaddrStorage>,
}

impl Bare {
    fn new(socket: UdpSocket, remotes: &[SocketAddr], run: Run) -> Self {
        let names = remotes.iter().map(|remote| Some((*remote).into())).collect();
        let control = (run.len > run.segment).then(|| nix::cmsg_space!(u16));
        // What the sink takes for media.
        let memory = vec![0x80; run.len];
        Self { socket, names, memory, run, headers: MultiHeaders::preallocate(CALL_MESSAGES, control) }
    }

    fn send_all(&mut self) -> Result<(), String> {
        let segment = self.run.segment as u16;
        let segments = [ControlMessage::UdpGsoSegments(&segment)];
        let control: &[ControlMessage<'_>] = if self.run.len > self.run.segment { &segments } else { &[] };
        let piece = [IoSlice::new(&self.memory)];
        for names in self.names.chunks(CALL_MESSAGES) {
            let pieces = names.iter().map(|_| &piece);
            sendmmsg(
                self.socket.as_raw_fd(),
                &mut self.headers,
                pieces,
                names,
                control,
                MsgFlags::MSG_DONTWAIT,
            )
            .map_err(|why| format!("sendmmsg: {why}"))?;
        }
        Ok(())
    }
}

/// The address from which datagrams to `remote` leave.
fn source_towards(remote: SocketAddr) -> std::io::Result<IpAddr> {
    let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0))?;
    socket.connect(remote)?;
    Ok(socket.local_addr()?.ip())
}
