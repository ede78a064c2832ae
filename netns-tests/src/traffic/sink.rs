//! Counts datagrams.

use std::io::IoSliceMut;
use std::net::{Ipv6Addr, UdpSocket};
use std::os::fd::AsRawFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use nix::sys::socket::{MsgFlags, MultiHeaders, SockaddrStorage, recvmmsg, setsockopt, sockopt};

use crate::Space;

const BATCH: usize = 64;
const BUFFER_BYTES: usize = 16 << 20;

/// A socket whose datagrams are counted on a thread.
#[derive(Debug)]
pub struct Sink {
    count: Arc<AtomicU64>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Sink {
    /// Opens a sink on a UDP port, IPv4 and IPv6; its thread pinned to `cpu` if one is given.
    #[track_caller]
    pub fn open(space: &Space, port: u16, cpu: Option<usize>) -> Self {
        let socket = space.run(|| UdpSocket::bind((Ipv6Addr::UNSPECIFIED, port)));
        let socket = socket.unwrap_or_else(|error| panic!("{}: UDP port {port}: {error}", space.name()));
        setsockopt(&socket, sockopt::RcvBufForce, &BUFFER_BYTES).expect("a receive buffer");
        socket.set_read_timeout(Some(Duration::from_millis(50))).expect("a timeout");
        let (count, stop) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicBool::new(false)));
        let thread = std::thread::spawn({
            let (count, stop) = (Arc::clone(&count), Arc::clone(&stop));
            move || {
                if let Some(cpu) = cpu {
                    super::pin(cpu);
                }
                swallow(&socket, &count, &stop);
            }
        });
        Self { count, stop, thread: Some(thread) }
    }

    /// Datagrams so far.
    pub fn count(&self) -> u64 {
        self.count.load(Ordering::Relaxed)
    }

    /// Waits until the count has not moved for `quiet`; returns it.
    pub fn settled(&self, quiet: Duration) -> u64 {
        let (mut last, mut since) = (self.count(), Instant::now());
        while since.elapsed() < quiet {
            std::thread::sleep(Duration::from_millis(5));
            let count = self.count();
            if count != last {
                (last, since) = (count, Instant::now());
            }
        }
        last
    }

    /// Datagrams a second over the next `time`.
    pub fn rate(&self, time: Duration) -> f64 {
        let (start, before) = (Instant::now(), self.count());
        std::thread::sleep(time);
        (self.count() - before) as f64 / start.elapsed().as_secs_f64()
    }
}

impl Drop for Sink {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn swallow(socket: &UdpSocket, count: &AtomicU64, stop: &AtomicBool) {
    // What is in a datagram does not matter; its first bytes suffice.
    let mut bytes = vec![[0_u8; 64]; BATCH];
    let mut headers = MultiHeaders::<SockaddrStorage>::preallocate(BATCH, None);
    while !stop.load(Ordering::Relaxed) {
        let mut slices: Vec<_> = bytes.iter_mut().map(|bytes| [IoSliceMut::new(bytes)]).collect();
        let flags = MsgFlags::MSG_WAITFORONE;
        let received = recvmmsg(socket.as_raw_fd(), &mut headers, slices.iter_mut(), flags, None);
        if let Ok(messages) = received {
            count.fetch_add(messages.count() as u64, Ordering::Relaxed);
        }
    }
}
