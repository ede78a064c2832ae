//! Sends many datagrams.

use std::io::IoSlice;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::os::fd::AsRawFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use nix::sys::socket::{MsgFlags, MultiHeaders, SockaddrStorage, sendmmsg};

use super::SMALL_PAYLOAD;
use crate::Space;

const BATCH: usize = 32;

/// How fast to send.
#[derive(Clone, Copy, PartialEq, Debug)]
pub enum Pace {
    /// As fast as the system lets.
    Flat,
    /// So many a second.
    PerSecond(u32),
}

/// Datagrams being sent on a thread, at most for half a minute; over when dropped.
#[derive(Debug)]
pub struct Blast {
    sent: Arc<AtomicU64>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Blast {
    /// The longest any of them goes on.
    const AT_MOST: Duration = Duration::from_secs(30);

    /// Starts to send small datagrams from `space`; the thread pinned to `cpu` if one is given.
    #[track_caller]
    pub fn start(space: &Space, to: impl Into<IpAddr>, port: u16, pace: Pace, cpu: Option<usize>) -> Self {
        let to = SocketAddr::new(to.into(), port);
        let from: SocketAddr = match to {
            SocketAddr::V4(_) => (Ipv4Addr::UNSPECIFIED, 0).into(),
            SocketAddr::V6(_) => (Ipv6Addr::UNSPECIFIED, 0).into(),
        };
        let socket = space.run(|| UdpSocket::bind(from)).expect("a UDP socket");
        socket.set_broadcast(true).expect("broadcast");
        socket.connect(to).unwrap_or_else(|error| panic!("{}: {to}: {error}", space.name()));
        let (sent, stop) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicBool::new(false)));
        let thread = std::thread::spawn({
            let (sent, stop) = (Arc::clone(&sent), Arc::clone(&stop));
            move || {
                if let Some(cpu) = cpu {
                    super::pin(cpu);
                }
                send(&socket, pace, &sent, &stop);
            }
        });
        Self { sent, stop, thread: Some(thread) }
    }

    /// Datagrams the kernel took so far.
    pub fn sent(&self) -> u64 {
        self.sent.load(Ordering::Relaxed)
    }

    /// Ends it; returns how many the kernel took.
    pub fn stop(mut self) -> u64 {
        self.end();
        self.sent()
    }

    fn end(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

impl Drop for Blast {
    fn drop(&mut self) {
        self.end();
    }
}

fn send(socket: &UdpSocket, pace: Pace, sent: &AtomicU64, stop: &AtomicBool) {
    let payload = [0; SMALL_PAYLOAD];
    let slices = vec![[IoSlice::new(&payload)]; BATCH];
    let nowhere = vec![None::<SockaddrStorage>; BATCH];
    let mut headers = MultiHeaders::preallocate(BATCH, None);
    let (start, mut done) = (Instant::now(), 0_u64);
    while !stop.load(Ordering::Relaxed) && start.elapsed() < Blast::AT_MOST {
        let due = match pace {
            Pace::Flat => BATCH,
            Pace::PerSecond(rate) => {
                let due = (start.elapsed().as_secs_f64() * f64::from(rate)) as u64;
                due.saturating_sub(done).min(BATCH as u64) as usize
            }
        };
        if due == 0 {
            std::thread::sleep(Duration::from_millis(1));
            continue;
        }
        let some = slices[..due].iter();
        let flags = MsgFlags::empty();
        // An ICMP error that came back, or a full queue: what was not taken is not counted.
        let taken = sendmmsg(socket.as_raw_fd(), &mut headers, some, &nowhere[..due], [], flags);
        let taken = taken.map_or(0, Iterator::count);
        sent.fetch_add(taken as u64, Ordering::Relaxed);
        done += due as u64;
    }
}
