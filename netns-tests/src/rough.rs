//! A line between two namespaces that delays, loses, repeats and overtakes.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::net::Ipv4Addr;
use std::os::fd::AsFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use nix::poll::{PollFd, PollFlags, poll};
use podgate_dataplane::mac::Mac;

use crate::Space;
use crate::frame::Wire;
use crate::name::unique;

/// What happens to IPv4 frames; all others are only delayed. Shares are out of a thousand.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Roughness {
    /// How long every frame takes.
    pub delay: Duration,
    /// Frames that are lost.
    pub lost: u64,
    /// Frames that come twice, the second time late.
    pub repeated: u64,
    /// Frames that are late.
    pub late: u64,
    /// The most that a late one takes in addition.
    pub at_most_late: Duration,
}

/// What has happened so far.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Fates {
    /// Frames carried, the second ones included.
    pub carried: u64,
    /// Frames lost.
    pub lost: u64,
    /// Frames that came twice.
    pub repeated: u64,
    /// Frames that were late.
    pub late: u64,
}

/// Two namespaces, and the line between them. Without offloads: every frame is a segment.
#[derive(Debug)]
pub struct RoughLine {
    /// One end, `10.45.0.1` on its `eth0`.
    pub left: Space,
    /// The other end, `10.45.0.2`.
    pub right: Space,
    /// Where the line is; its devices are `left` and `right`.
    pub middle: Space,
    stop: Arc<AtomicBool>,
    told: Arc<[AtomicU64; 4]>,
    thread: Option<JoinHandle<()>>,
}

impl RoughLine {
    /// The left end's address.
    pub const LEFT: Ipv4Addr = Ipv4Addr::new(10, 45, 0, 1);
    /// The right end's address.
    pub const RIGHT: Ipv4Addr = Ipv4Addr::new(10, 45, 0, 2);
    /// The ends' MAC addresses, left and right.
    pub const MACS: [Mac; 2] = [Mac([2, 0x45, 0, 0, 0, 1]), Mac([2, 0x45, 0, 0, 0, 2])];

    /// Draws what happens to frames from `seed`.
    pub fn new(roughness: Roughness, seed: u64) -> Self {
        let middle = Space::create(&unique("pgm"));
        let ends = [(Self::LEFT, "left"), (Self::RIGHT, "right")].map(|(address, device)| {
            let space = Space::create(&unique("pge"));
            let last = address.octets()[3];
            middle.ip_batch(&format!(
                "link add {device} type veth peer name eth0 address 02:45:00:00:00:{last:02x} netns {}\n\
                 link set {device} up\n",
                space.name()
            ));
            space.ip_batch(&format!("addr add {address}/24 dev eth0\nlink set eth0 up\n"));
            space.sh("ethtool -K eth0 tx off tso off gso off gro off");
            space
        });
        let wires = ["left", "right"].map(|device| Wire::open(&middle, device));
        let (stop, told) = (Arc::new(AtomicBool::new(false)), Arc::<[AtomicU64; 4]>::default());
        let thread = std::thread::spawn({
            let (stop, told) = (Arc::clone(&stop), Arc::clone(&told));
            move || carry(&wires, roughness, Draw(seed), &stop, &told)
        });
        let [left, right] = ends;
        Self { left, right, middle, stop, told, thread: Some(thread) }
    }

    /// What has happened so far.
    pub fn fates(&self) -> Fates {
        let [carried, lost, repeated, late] = [0, 1, 2, 3].map(|at| self.told[at].load(Ordering::Relaxed));
        Fates { carried, lost, repeated, late }
    }
}

impl Drop for RoughLine {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// Numbers from a seed (Steele, Lea and Flood, "Fast splittable pseudorandom number generators", 2014).
#[derive(Clone, Debug)]
pub struct Draw(pub u64);

impl Draw {
    /// The next number, below `bound`.
    pub fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ self.0 >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ mixed >> 31) % bound.max(1)
    }

    fn happens(&mut self, of_a_thousand: u64) -> bool {
        self.below(1000) < of_a_thousand
    }
}

/// A frame under way: when it is due, its number, to which end, and the frame.
type UnderWay = Reverse<(Instant, u64, usize, Vec<u8>)>;

fn carry(wires: &[Wire; 2], roughness: Roughness, mut draw: Draw, stop: &AtomicBool, told: &[AtomicU64; 4]) {
    let mut under_way: BinaryHeap<UnderWay> = BinaryHeap::new();
    let mut buffer = vec![0; 1 << 16];
    let mut number = 0;
    while !stop.load(Ordering::Relaxed) {
        let mut fds = [0, 1].map(|end: usize| PollFd::new(wires[end].as_fd(), PollFlags::POLLIN));
        let until_due =
            under_way.peek().map(|Reverse((due, ..))| due.saturating_duration_since(Instant::now()));
        let wait_ms = until_due.map_or(20, |left| left.as_micros().div_ceil(1000).min(20) as u16);
        let _ = poll(&mut fds, wait_ms);
        for (end, wire) in wires.iter().enumerate() {
            while let Some(length) = wire.try_read(&mut buffer) {
                let frame = &buffer[..length];
                // What the line itself sends is read as well.
                if frame.get(6..12) != Some(&RoughLine::MACS[end].0[..]) {
                    continue;
                }
                for due in fate(frame, roughness, &mut draw, told) {
                    number += 1;
                    under_way.push(Reverse((due, number, 1 - end, frame.to_vec())));
                }
            }
        }
        while let Some(Reverse((due, ..))) = under_way.peek()
            && *due <= Instant::now()
        {
            let Some(Reverse((_, _, end, frame))) = under_way.pop() else { break };
            // An end that is gone, or its full queue: lost as well.
            if wires[end].try_send(&frame) {
                told[0].fetch_add(1, Ordering::Relaxed);
            }
        }
    }
}

/// When a frame arrives, each time that it does.
fn fate(frame: &[u8], roughness: Roughness, draw: &mut Draw, told: &[AtomicU64; 4]) -> Vec<Instant> {
    const IPV4: [u8; 2] = [0x08, 0x00];
    let in_time = Instant::now() + roughness.delay;
    if frame.get(12..14) != Some(&IPV4[..]) {
        return vec![in_time];
    }
    let mut late = || in_time + Duration::from_micros(draw.below(roughness.at_most_late.as_micros() as u64));
    let delayed = late();
    let again = late();
    if draw.happens(roughness.lost) {
        told[1].fetch_add(1, Ordering::Relaxed);
        return Vec::new();
    }
    let mut arrivals = vec![in_time];
    if draw.happens(roughness.late) {
        told[3].fetch_add(1, Ordering::Relaxed);
        arrivals = vec![delayed];
    }
    if draw.happens(roughness.repeated) {
        told[2].fetch_add(1, Ordering::Relaxed);
        arrivals.push(again);
    }
    arrivals
}
