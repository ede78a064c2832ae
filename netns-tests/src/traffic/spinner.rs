//! A sender that tries without rest, from before there is a device to send by, and the ear that counts what came.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use nix::sys::socket::{setsockopt, sockopt};
use podgate_control::net::Wire;
use podgate_dataplane::mac::Mac;

use crate::Space;
use crate::frame::Route;

const BUFFER_BYTES: usize = 16 << 20;

/// How it sends.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Means {
    /// By UDP sockets, as a program in the container would: it needs an address and a route.
    Sockets,
    /// Whole IPv4 frames on `eth0`, which needs nothing but that to be up, for that MAC address.
    Frames(Mac),
}

/// Says one byte, over and over.
#[derive(Debug)]
pub struct Spinner {
    word: Arc<AtomicU8>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<u64>>,
}

impl Spinner {
    /// Starts to say `word` to all of `to`, as soon as it can, from `space`.
    #[track_caller]
    pub fn start(space: &Space, means: Means, to: &[SocketAddr], word: u8) -> Self {
        let (word, stop) = (Arc::new(AtomicU8::new(word)), Arc::new(AtomicBool::new(false)));
        let told = (Arc::clone(&word), Arc::clone(&stop), to.to_vec());
        let thread = match means {
            Means::Sockets => {
                let sockets = space.run(|| {
                    [IpAddr::from(Ipv4Addr::UNSPECIFIED), Ipv6Addr::UNSPECIFIED.into()]
                        .map(|any| UdpSocket::bind((any, 0)).expect("a UDP socket"))
                });
                std::thread::spawn(move || {
                    spin(&told.0, &told.1, &told.2, |to, word| {
                        sockets[usize::from(to.is_ipv6())].send_to(&[word], to).is_ok()
                    })
                })
            }
            Means::Frames(to_mac) => {
                let netns = space.netns().clone();
                let mut wire = None;
                std::thread::spawn(move || {
                    spin(&told.0, &told.1, &told.2, move |to, word| {
                        if wire.is_none() {
                            wire = Wire::open(&netns, "eth0").ok();
                        }
                        let Some(wire) = &wire else { return false };
                        // The first address that it may be given.
                        let (from_mac, from) =
                            (Mac([2, 0, 0, 0, 0, 0x99]), Ipv4Addr::new(10, 44, 9, 1).into());
                        wire.try_send(&Route { from_mac, to_mac, from, to: to.ip() }.udp(
                            9,
                            to.port(),
                            &[word],
                        ))
                    })
                })
            }
        };
        Self { word, stop, thread: Some(thread) }
    }

    /// From now on it says `word`.
    pub fn say(&self, word: u8) {
        self.word.store(word, Ordering::SeqCst);
    }

    /// Ends it; returns how much the kernel took.
    pub fn stop(mut self) -> u64 {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.take().and_then(|thread| thread.join().ok()).expect("it ends")
    }
}

impl Drop for Spinner {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn spin(
    word: &AtomicU8,
    stop: &AtomicBool,
    to: &[SocketAddr],
    mut send: impl FnMut(&SocketAddr, u8) -> bool,
) -> u64 {
    let mut taken = 0;
    while !stop.load(Ordering::Relaxed) {
        for to in to {
            taken += u64::from(send(to, word.load(Ordering::SeqCst)));
        }
    }
    taken
}

/// Counts datagrams by their first byte.
#[derive(Debug)]
pub struct Ear {
    heard: Arc<[AtomicU64; 256]>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Ear {
    /// On a UDP port, IPv4 and IPv6.
    #[track_caller]
    pub fn open(space: &Space, port: u16) -> Self {
        let socket = space.run(|| UdpSocket::bind((Ipv6Addr::UNSPECIFIED, port)));
        let socket = socket.unwrap_or_else(|error| panic!("{}: UDP port {port}: {error}", space.name()));
        setsockopt(&socket, sockopt::RcvBufForce, &BUFFER_BYTES).expect("a receive buffer");
        socket.set_read_timeout(Some(Duration::from_millis(50))).expect("a timeout");
        let heard = Arc::new([const { AtomicU64::new(0) }; 256]);
        let stop = Arc::new(AtomicBool::new(false));
        let thread = std::thread::spawn({
            let (heard, stop) = (Arc::clone(&heard), Arc::clone(&stop));
            move || {
                let mut byte = [0];
                while !stop.load(Ordering::Relaxed) {
                    if socket.recv(&mut byte).is_ok() {
                        heard[usize::from(byte[0])].fetch_add(1, Ordering::SeqCst);
                    }
                }
            }
        });
        Self { heard, stop, thread: Some(thread) }
    }

    /// How often it has heard `word`.
    pub fn heard(&self, word: u8) -> u64 {
        self.heard[usize::from(word)].load(Ordering::SeqCst)
    }
}

impl Drop for Ear {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}
