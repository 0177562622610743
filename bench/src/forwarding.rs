//! One packet of a publisher to its subscribers: all of the core, nothing of the kernel.

use relay_core::outbox::{NullOutbox, Path};
use relay_core::time::Time;
use std::time::Duration;
use tests::World;

/// How fast the publisher's time goes: well below the rate that the shard holds it to.
const BITRATE_BPS: u64 = 2_000_000;

/// A real shard with one publisher and its subscribers, and an outbox that forgets.
pub struct FanOut {
    world: World,
    publisher: u32,
    subscribers: u64,
    path: Path,
    outbox: NullOutbox,
    now: Time,
}

impl FanOut {
    /// Everybody connected, the first keyframe forwarded.
    pub fn new(subscribers: u64) -> Self {
        let mut world = World::new(1);
        let publisher = world.join(1);
        world.publish(publisher, 1);
        for _ in 0..subscribers {
            let subscriber = world.join(1);
            world.subscribe(subscriber, publisher);
        }
        world.run(Duration::from_secs(2));
        let path = Path { remote: world.peers[publisher as usize].address, local: None };
        let now = world.now;
        Self { world, publisher, subscribers, path, outbox: NullOutbox::default(), now }
    }

    /// The publisher's next frame, `packets` packets of `len` octets of payload, when it is time for it.
    pub fn frame(&mut self, packets: usize, len: usize) -> Vec<Vec<u8>> {
        let bits = (packets * (len + 64) * 8) as u64;
        self.now += Duration::from_micros(bits * 1_000_000 / BITRATE_BPS);
        let peer = &mut self.world.peers[self.publisher as usize];
        for _ in 0..packets {
            peer.send_packet(self.now, len);
        }
        peer.take_out()
    }

    /// From the receive buffer to the send slots of all subscribers.
    pub fn forward(&mut self, frame: &mut [Vec<u8>]) {
        let wanted = self.outbox.datagrams + self.subscribers * frame.len() as u64;
        for packet in frame {
            self.world.shard.handle_datagram(self.now, &self.path, packet, &mut self.outbox);
        }
        self.world.shard.forward_pending(&mut self.outbox);
        assert!(self.outbox.datagrams >= wanted, "{} are missing", wanted - self.outbox.datagrams);
    }
}
