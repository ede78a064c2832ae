//! One AF_XDP socket on one queue of the trunk, with a UMEM of its own.
//!
//! A UMEM frame is in exactly one place: in `free`, with the kernel (fill ring, or being filled),
//! in a batch being decided, or with the kernel again (transmit ring until completed). A [`Frame`]
//! moves between them by value and cannot be copied, so handing one in twice does not compile.
//!
//! Kernel side: Documentation/networking/af_xdp.rst, net/xdp/xsk.c.

use std::fmt;
use std::io::{self, Write};
use std::num::NonZeroU32;
use std::os::fd::{AsRawFd, BorrowedFd, RawFd};
use std::time::{Duration, Instant};

use xsk_rs::config::{BindFlags, FrameSize, Interface, LibxdpFlags, QueueSize, SocketConfig, UmemConfig};
use xsk_rs::{CompQueue, FillQueue, FrameDesc, RxQueue, Socket, TxQueue, Umem};

/// Frames decided between two looks at the rings.
pub const BATCH: usize = 64;

/// Sizes of a ring, in frames.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct RingConfig {
    /// Frames in the UMEM.
    pub frames: u32,
    /// Entries of each of the four rings; a power of two.
    pub entries: u32,
    /// Bytes of a frame's chunk: 2048 or 4096.
    pub chunk_bytes: u32,
}

impl Default for RingConfig {
    fn default() -> Self {
        Self { frames: 8192, entries: 4096, chunk_bytes: 4096 }
    }
}

/// Why a ring could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum RingError {
    /// A size the kernel does not take.
    #[error("AF_XDP ring of {0:?}: {1}")]
    Size(RingConfig, String),
    /// The memory could not be registered.
    #[error(
        "cannot register {frames} frames of {chunk_bytes} bytes for AF_XDP: {reason}; \
         raise RLIMIT_MEMLOCK or give CAP_IPC_LOCK"
    )]
    Umem {
        /// Frames asked for.
        frames: u32,
        /// Bytes each.
        chunk_bytes: u32,
        /// What the kernel said.
        reason: String,
    },
    /// The socket could not be bound.
    #[error("cannot bind an AF_XDP socket to queue {queue} of {interface}: {reason}")]
    Bind {
        /// The trunk's gateway side.
        interface: String,
        /// Its queue.
        queue: u32,
        /// What the kernel said.
        reason: String,
    },
}

/// One UMEM frame. Neither `Copy` nor `Clone`: it is owned by exactly one place.
struct Frame(FrameDesc);

/// What to do with a received frame.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Fate {
    /// Send it on, with the bytes as they are now.
    Send,
    /// Drop it.
    Release,
    /// Drop it, and send an answer in its place: [`Decide::answer`].
    Answer,
}

/// Decides the frames of a ring, batch by batch.
pub trait Decide {
    /// Sees the frames of a batch, one after another, before any of them is decided.
    fn look(&mut self, frame: &[u8]) {
        let _ = frame;
    }

    /// All frames of the batch have been seen.
    fn all_seen(&mut self) {}

    /// Reads and rewrites frame number `at` of the batch, and says what becomes of it.
    fn decide(&mut self, at: usize, frame: &mut [u8]) -> Fate;

    /// The bytes of the answer to the frame that was decided last.
    fn answer(&self) -> &[u8] {
        &[]
    }

    /// Sees a frame that was to be sent and that the transmit ring did not take in time.
    fn unsent(&mut self, frame: &[u8]) {
        let _ = frame;
    }
}

/// What one turn did.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Turn {
    /// Frames received.
    pub received: usize,
    /// Frames the transmit ring did not take in time; they were dropped.
    pub refused: usize,
}

/// Where all frames of a UMEM are. `total` is always the sum of the others.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct FrameAccount {
    /// All.
    pub total: u64,
    /// In our hands.
    pub free: u64,
    /// With the kernel, to be filled.
    pub to_fill: u64,
    /// With the kernel, to be sent.
    pub to_send: u64,
}

/// `XDP_STATISTICS` of the socket.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct RingStatistics {
    /// Dropped by the kernel: larger than a chunk, and the like.
    pub rx_dropped: u64,
    /// Dropped because the receive ring was full.
    pub rx_ring_full: u64,
    /// Dropped because the fill ring was empty.
    pub rx_fill_ring_empty: u64,
    /// Descriptors of ours that the kernel refused, on receive.
    pub rx_invalid: u64,
    /// Descriptors of ours that the kernel refused, on transmit.
    pub tx_invalid: u64,
}

/// A bound AF_XDP socket and all of its memory.
pub struct Ring {
    umem: Umem,
    tx: TxQueue,
    rx: RxQueue,
    fill: FillQueue,
    completion: CompQueue,
    free: Vec<Frame>,
    scratch: Box<[FrameDesc; BATCH]>,
    outgoing: Vec<FrameDesc>,
    entries: usize,
    total: u64,
    filled: u64,
    received: u64,
    sent: u64,
    completed: u64,
}

impl fmt::Debug for Ring {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Ring").field("account", &self.account()).finish_non_exhaustive()
    }
}

impl Ring {
    /// Binds to `queue` of `interface`, in the calling thread's network namespace. The interface's
    /// XDP program is left alone. A queue whose last socket was closed a moment ago may still be
    /// busy: that is tried again for up to two seconds.
    pub fn open(interface: &str, queue: u32, config: RingConfig) -> Result<Self, RingError> {
        let size = |reason: &dyn fmt::Display| RingError::Size(config, reason.to_string());
        let entries = QueueSize::new(config.entries).map_err(|error| size(&error))?;
        let frames = NonZeroU32::new(config.frames).ok_or_else(|| size(&"it has no frames"))?;
        let umem_config = UmemConfig::builder()
            .frame_size(FrameSize::new(config.chunk_bytes).map_err(|error| size(&error))?)
            .fill_queue_size(entries)
            .comp_queue_size(entries)
            .build()
            .map_err(|error| size(&error))?;
        let socket_config = SocketConfig::builder()
            .rx_queue_size(entries)
            .tx_queue_size(entries)
            .bind_flags(BindFlags::XDP_COPY | BindFlags::XDP_USE_NEED_WAKEUP)
            .libxdp_flags(LibxdpFlags::XSK_LIBXDP_FLAGS_INHIBIT_PROG_LOAD)
            .build();
        let bind = |reason: &dyn fmt::Display| RingError::Bind {
            interface: interface.into(),
            queue,
            reason: reason.to_string(),
        };
        let name: Interface = interface.parse().map_err(|_| bind(&"the name holds a zero byte"))?;
        let deadline = Instant::now() + Duration::from_secs(2);
        loop {
            let (umem, descriptors) =
                Umem::new(umem_config, frames, false).map_err(|error| RingError::Umem {
                    frames: config.frames,
                    chunk_bytes: config.chunk_bytes,
                    reason: chain(&error),
                })?;
            // SAFETY: the UMEM was made above and is shared with no other socket, and libxdp's own
            // program is inhibited.
            match unsafe { Socket::new(socket_config, &umem, &name, queue) } {
                Ok((tx, rx, Some((fill, completion)))) => {
                    return Ok(Self::assemble(umem, descriptors, (tx, rx, fill, completion), config));
                }
                Ok((_, _, None)) => return Err(bind(&"the kernel gave no fill ring")),
                Err(error) if is_busy(&error) && Instant::now() < deadline => std::thread::yield_now(),
                Err(error) => return Err(bind(&chain(&error))),
            }
        }
    }

    fn assemble(
        umem: Umem,
        descriptors: Vec<FrameDesc>,
        (tx, rx, fill, completion): (TxQueue, RxQueue, FillQueue, CompQueue),
        config: RingConfig,
    ) -> Self {
        let entries = config.entries as usize;
        let mut free = Vec::with_capacity(descriptors.len());
        let scratch = Box::new([descriptors[0]; BATCH]);
        free.extend(descriptors.into_iter().map(Frame));
        let mut ring = Self {
            umem,
            tx,
            rx,
            fill,
            completion,
            scratch,
            outgoing: Vec::with_capacity(BATCH),
            entries,
            total: free.len() as u64,
            free,
            filled: 0,
            received: 0,
            sent: 0,
            completed: 0,
        };
        ring.refill();
        ring
    }

    /// The socket, to be polled for reading or registered in the steering's map.
    pub fn socket(&self) -> RawFd {
        self.rx.fd().as_raw_fd()
    }

    /// The socket, for as long as the ring lives.
    pub fn fd(&self) -> BorrowedFd<'_> {
        // SAFETY: the descriptor is open for as long as `self.rx`.
        unsafe { BorrowedFd::borrow_raw(self.socket()) }
    }

    /// Receives up to [`BATCH`] frames, has each decided, sends on what is to be sent, and gives the
    /// rest back to the kernel. What the transmit ring does not take in time is dropped. Nothing is
    /// allocated.
    pub fn turn(&mut self, judge: &mut impl Decide) -> Turn {
        self.reap();
        // SAFETY: `scratch` is overwritten with descriptors of this UMEM that the kernel has
        // filled and gives up; they are ours until they are sent or freed below.
        let received = unsafe { self.rx.consume(&mut self.scratch[..]) };
        self.received += received as u64;
        for descriptor in &self.scratch[..received] {
            // SAFETY: the frame belongs to this UMEM, and it is ours; no other reference to it lives.
            judge.look(unsafe { self.umem.data(descriptor) }.contents());
        }
        judge.all_seen();
        for at in 0..received {
            let mut frame = Frame(self.scratch[at]);
            // SAFETY: the frame belongs to this UMEM, and we own it: neither the kernel nor any
            // other reference has it while `bytes` lives.
            let fate = judge.decide(at, unsafe { self.umem.data_mut(&mut frame.0) }.contents_mut());
            match fate {
                Fate::Send => self.outgoing.push(frame.0),
                Fate::Release => self.free.push(frame),
                Fate::Answer => {
                    // SAFETY: as above.
                    let mut data = unsafe { self.umem.data_mut(&mut frame.0) };
                    let mut cursor = data.cursor();
                    cursor.set_pos(0);
                    // Too long for a chunk, it is not sent; the frame was dropped anyhow.
                    match cursor.write_all(judge.answer()) {
                        Ok(()) => self.outgoing.push(frame.0),
                        Err(_) => self.free.push(frame),
                    }
                }
            }
        }
        let refused = self.send(judge);
        self.refill();
        Turn { received, refused }
    }

    /// Hands the decided frames to the kernel and wakes it until it has taken them: one wake-up
    /// sends at most 32 frames (`TX_BATCH_SIZE` in net/xdp/xsk.c), and stops early when the veth's
    /// queue is full, which the next one may find drained.
    fn send(&mut self, judge: &mut impl Decide) -> usize {
        if self.outgoing.is_empty() {
            if self.sent != self.completed {
                self.wake();
            }
            return 0;
        }
        let mut waits = 0;
        while (self.tx.nb_free(self.outgoing.len() as u32) as usize) < self.outgoing.len() {
            // The ring is full of what the kernel could not pass on yet. Bounded: a trunk that is
            // down for good must not hang the worker.
            if waits == 1024 {
                let refused = self.outgoing.len();
                for descriptor in self.outgoing.drain(..) {
                    // SAFETY: the frame belongs to this UMEM and was not handed to the kernel.
                    judge.unsent(unsafe { self.umem.data(&descriptor) }.contents());
                    self.free.push(Frame(descriptor));
                }
                return refused;
            }
            waits += 1;
            self.wake();
            self.reap();
            if waits > 16 {
                std::thread::yield_now();
            }
        }
        // SAFETY: every descriptor in `outgoing` was owned by this turn and leaves it here; all of
        // one UMEM. There is room, so all are taken.
        let taken = unsafe { self.tx.produce(&self.outgoing) };
        debug_assert_eq!(taken, self.outgoing.len());
        self.sent += taken as u64;
        self.outgoing.clear();
        self.wake();
        0
    }

    /// Wakes the kernel until the transmit ring is empty or it stops making progress.
    fn wake(&mut self) {
        let mut before = self.tx.nb_free_exact();
        for _ in 0..=self.entries / 32 {
            if self.tx.wakeup().is_err() {
                return;
            }
            let after = self.tx.nb_free_exact();
            if after as usize == self.entries || after == before {
                return;
            }
            before = after;
        }
    }

    /// Takes back the frames the kernel has sent.
    fn reap(&mut self) {
        loop {
            // SAFETY: `scratch` is overwritten with descriptors of this UMEM that the kernel gives
            // up; each becomes one owned `Frame`.
            let done = unsafe { self.completion.consume(&mut self.scratch[..]) };
            self.completed += done as u64;
            self.free.extend(self.scratch[..done].iter().copied().map(Frame));
            if done < BATCH {
                return;
            }
        }
    }

    /// Gives free frames to the kernel to be filled, as many as the ring holds.
    fn refill(&mut self) {
        while !self.free.is_empty() {
            let room = self.fill.nb_free(BATCH as u32) as usize;
            let count = room.min(self.free.len()).min(BATCH);
            if count == 0 {
                return;
            }
            let at = self.free.len() - count;
            for (slot, frame) in self.scratch.iter_mut().zip(self.free.drain(at..)) {
                *slot = frame.0;
            }
            // SAFETY: the descriptors were drained from `free`, belong to this UMEM and are in no
            // other place. There is room, so all are taken.
            let taken = unsafe { self.fill.produce(&self.scratch[..count]) };
            debug_assert_eq!(taken, count);
            self.filled += taken as u64;
        }
    }

    /// Where every frame is, as of now. Reaps completions first.
    pub fn settle(&mut self) -> FrameAccount {
        if self.sent != self.completed {
            self.wake();
        }
        self.reap();
        self.account()
    }

    fn account(&self) -> FrameAccount {
        FrameAccount {
            total: self.total,
            free: self.free.len() as u64,
            to_fill: self.filled - self.received,
            to_send: self.sent - self.completed,
        }
    }

    /// The kernel's counters of this socket.
    pub fn statistics(&self) -> io::Result<RingStatistics> {
        let statistics = self.rx.fd().xdp_statistics()?;
        Ok(RingStatistics {
            rx_dropped: statistics.rx_dropped(),
            rx_ring_full: statistics.rx_ring_full(),
            rx_fill_ring_empty: statistics.rx_fill_ring_empty_descs(),
            rx_invalid: statistics.rx_invalid_descs(),
            tx_invalid: statistics.tx_invalid_descs(),
        })
    }
}

/// The whole chain of causes on one line: the outer error alone does not say what the kernel said.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        source = cause.source();
    }
    text
}

fn is_busy(error: &dyn std::error::Error) -> bool {
    let mut source = error.source();
    while let Some(cause) = source {
        if let Some(io) = cause.downcast_ref::<io::Error>() {
            return io.raw_os_error() == Some(nix::errno::Errno::EBUSY as i32);
        }
        source = cause.source();
    }
    false
}
