//! Numbered datagrams: which were sent when, and which of them came.

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use nix::sys::socket::{setsockopt, sockopt};

use crate::Space;

const BUFFER_BYTES: usize = 16 << 20;

/// Datagrams on their way from one namespace to another, at an even pace, until it is stopped.
#[derive(Debug)]
pub struct Stamped {
    shared: Arc<Shared>,
    sender: Option<JoinHandle<Vec<Instant>>>,
    receiver: Option<JoinHandle<()>>,
}

#[derive(Debug, Default)]
struct Shared {
    stop: AtomicBool,
    stop_receiving: AtomicBool,
    sent: AtomicU64,
    /// One more than the highest number that has come; 0: none has.
    newest: AtomicU64,
    /// In the order in which they came.
    came: Mutex<Vec<u64>>,
}

/// What became of every datagram.
#[derive(Debug)]
pub struct Passage {
    /// When each was sent, by number.
    pub sent: Vec<Instant>,
    /// Whether each has come.
    pub came: Vec<bool>,
}

impl Stamped {
    /// Starts to send to `to`, `port`, which is an address in `there`: `per_second`, a few at a time.
    #[track_caller]
    pub fn start(here: &Space, there: &Space, to: Ipv4Addr, port: u16, per_second: u32) -> Self {
        let source = here.run(|| UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0))).expect("a UDP socket");
        let to = SocketAddr::new(to.into(), port);
        source.connect(to).unwrap_or_else(|error| panic!("{}: {to}: {error}", here.name()));
        let sink = there.run(|| UdpSocket::bind((Ipv6Addr::UNSPECIFIED, port)));
        let sink = sink.unwrap_or_else(|error| panic!("{}: UDP port {port}: {error}", there.name()));
        setsockopt(&sink, sockopt::RcvBufForce, &BUFFER_BYTES).expect("a receive buffer");
        sink.set_read_timeout(Some(Duration::from_millis(50))).expect("a timeout");
        let shared = Arc::new(Shared::default());
        let receiver = std::thread::spawn({
            let shared = Arc::clone(&shared);
            move || receive(&sink, &shared)
        });
        let sender = std::thread::spawn({
            let shared = Arc::clone(&shared);
            move || send(&source, per_second, &shared)
        });
        Self { shared, sender: Some(sender), receiver: Some(receiver) }
    }

    /// How many have been sent.
    pub fn sent(&self) -> u64 {
        self.shared.sent.load(Ordering::Relaxed)
    }

    /// One more than the highest number that has come; 0 if none has.
    pub fn newest(&self) -> u64 {
        self.shared.newest.load(Ordering::Relaxed)
    }

    /// How many have come.
    pub fn arrived(&self) -> u64 {
        self.shared.came.lock().unwrap_or_else(PoisonError::into_inner).len() as u64
    }

    /// Ends it; what was under way has come when `quiet` has passed without an arrival.
    #[track_caller]
    pub fn stop(mut self, quiet: Duration) -> Passage {
        self.shared.stop.store(true, Ordering::Relaxed);
        let sent = self.sender.take().expect("it runs").join().expect("the sender ends");
        let (mut last, mut since) = (self.arrived(), Instant::now());
        while since.elapsed() < quiet {
            std::thread::sleep(Duration::from_millis(5));
            let arrived = self.arrived();
            if arrived != last {
                (last, since) = (arrived, Instant::now());
            }
        }
        let mut came = vec![false; sent.len()];
        for &number in &*self.shared.came.lock().unwrap_or_else(PoisonError::into_inner) {
            came[number as usize] = true;
        }
        Passage { sent, came }
    }
}

impl Drop for Stamped {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::Relaxed);
        self.shared.stop_receiving.store(true, Ordering::Relaxed);
        let _ = self.sender.take().map(JoinHandle::join);
        let _ = self.receiver.take().map(JoinHandle::join);
    }
}

impl Passage {
    /// How many have not come.
    pub fn lost(&self) -> usize {
        self.came.iter().filter(|came| !**came).count()
    }

    /// The numbers of those that were sent from `start` on and before `end`.
    pub fn between(&self, start: Instant, end: Instant) -> std::ops::Range<usize> {
        let at = |time: Instant| self.sent.partition_point(|sent| *sent < time);
        at(start)..at(end)
    }
}

fn send(socket: &UdpSocket, per_second: u32, shared: &Shared) -> Vec<Instant> {
    let start = Instant::now();
    let mut sent = Vec::new();
    while !shared.stop.load(Ordering::Relaxed) {
        let due = (start.elapsed().as_secs_f64() * f64::from(per_second)) as usize;
        if sent.len() >= due {
            std::thread::sleep(Duration::from_micros(500));
            continue;
        }
        let now = Instant::now();
        // An error: not taken, and no number is used up.
        if socket.send(&(sent.len() as u64).to_be_bytes()).is_ok() {
            sent.push(now);
            shared.sent.store(sent.len() as u64, Ordering::Relaxed);
        }
    }
    sent
}

fn receive(socket: &UdpSocket, shared: &Shared) {
    let mut bytes = [0; 8];
    while !shared.stop_receiving.load(Ordering::Relaxed) {
        if let Ok(8) = socket.recv(&mut bytes) {
            let number = u64::from_be_bytes(bytes);
            shared.came.lock().unwrap_or_else(PoisonError::into_inner).push(number);
            shared.newest.fetch_max(number + 1, Ordering::Relaxed);
        }
    }
}
