//! A pinned thread and its rings: receive, decide, send on.
//!
//! The loop knows nothing of policy: what becomes of a frame is up to a [`Judge`]. The gateway's is
//! [`GateJudge`]; the floor that benches compare with only rewrites tags.
//!
//! ```text
//! judge      what decides frames; the gateway's own
//! idle       how to wait: spin briefly, then block
//! residence  how long frames stay
//! clock      the one place where the frame path reads the time
//! ```

mod clock;
mod idle;
mod judge;
mod residence;

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, mpsc};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use nix::sched::{CpuSet, sched_setaffinity, setns};
use nix::unistd::Pid;
use podgate_flowtable::Time;

pub use clock::now;
pub use judge::{GateJudge, Judge, Shared};
pub use residence::{BOUNDS_NANOS, EVERY as RESIDENCE_EVERY, Residence, ResidenceCounts};

use crate::raw::{FrameAccount, Ring, RingConfig, RingError, RingStatistics, Turn};
use crate::steer::{Lane, SocketMaps, SteerError};
use idle::Idle;

/// How often a worker shows that it lives.
const BEAT: Duration = Duration::from_millis(50);

/// Where a worker works.
#[derive(Debug)]
pub struct WorkerConfig {
    /// Its queue on each lane, and its number.
    pub queue: u32,
    /// The CPU it is pinned to, if to one.
    pub cpu: Option<usize>,
    /// Names of the trunk's gateway sides, by [`Lane::index`].
    pub trunk1: [String; 2],
    /// The network namespace they are in; the thread's own where `None`.
    pub netns: Option<std::fs::File>,
    /// Sizes of its rings, each lane's.
    pub ring: RingConfig,
}

/// Why a worker could not start.
#[derive(Debug, thiserror::Error)]
pub enum WorkerError {
    /// The thread could not be made.
    #[error("cannot start worker {queue}: {source}")]
    Thread {
        /// Its number.
        queue: u32,
        /// What the system said.
        source: std::io::Error,
    },
    /// The CPU is not to be had.
    #[error(
        "cannot pin worker {queue} to cpu {cpu}: {source}; choose from those this process may use (--cpus)"
    )]
    Pin {
        /// Its number.
        queue: u32,
        /// The CPU.
        cpu: usize,
        /// What the kernel said.
        source: nix::Error,
    },
    /// The trunk's network namespace cannot be entered.
    #[error("worker {queue} cannot enter the trunk's network namespace: {source}; it needs CAP_SYS_ADMIN")]
    Netns {
        /// Its number.
        queue: u32,
        /// What the kernel said.
        source: nix::Error,
    },
    /// A ring could not be opened.
    #[error(transparent)]
    Ring(#[from] RingError),
    /// A socket could not be registered.
    #[error(transparent)]
    Steer(#[from] SteerError),
    /// The thread ended before it was ready.
    #[error("worker {queue} ended while it was starting")]
    Died {
        /// Its number.
        queue: u32,
    },
}

/// What a worker tells while it runs. Written by it, read by anyone.
#[derive(Debug, Default)]
pub struct WorkerGauges {
    /// Frames received.
    pub received: AtomicU64,
    /// Batches with at least one frame.
    pub batches: AtomicU64,
    /// Frames the transmit ring did not take.
    pub refused: AtomicU64,
    /// Times the thread blocked.
    pub waits: AtomicU64,
    /// Sockets' XDP_STATISTICS summed over lanes: dropped, ring full, fill ring empty.
    pub rx_dropped: AtomicU64,
    /// As above: the receive ring was full.
    pub rx_ring_full: AtomicU64,
    /// As above: the fill ring was empty.
    pub rx_fill_ring_empty: AtomicU64,
    /// CLOCK_MONOTONIC nanoseconds of the last sign of life.
    pub beat_nanos: AtomicU64,
    /// UMEM frames with the kernel to be sent, as of the last sign of life.
    pub to_send: AtomicU64,
    /// UMEM frames that are in no place: always 0.
    pub leaked: AtomicU64,
    /// How long frames stayed.
    pub residence: Residence,
}

/// What a worker leaves when it has stopped.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct WorkerReport {
    /// Where the frames of each lane's UMEM are.
    pub accounts: [FrameAccount; 2],
    /// The sockets' last statistics.
    pub statistics: [RingStatistics; 2],
}

/// A running worker. Dropping it stops it.
#[derive(Debug)]
pub struct Worker {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<WorkerReport>>,
    gauges: Arc<WorkerGauges>,
}

impl Worker {
    /// Starts a worker; returns when its sockets are bound and registered.
    pub fn start<J: Judge>(
        config: WorkerConfig,
        maps: SocketMaps,
        judge: impl FnOnce() -> J + Send + 'static,
    ) -> Result<Self, WorkerError> {
        let queue = config.queue;
        let stop = Arc::new(AtomicBool::new(false));
        let gauges = Arc::new(WorkerGauges::default());
        let (ready, started) = mpsc::sync_channel(1);
        let thread = std::thread::Builder::new().name(format!("podgate-w{queue}")).spawn({
            let (stop, gauges) = (Arc::clone(&stop), Arc::clone(&gauges));
            move || match Bench::set_up(config, maps) {
                Ok(mut bench) => {
                    // Whoever looks at it from now on finds it alive.
                    bench.beat(now(), &gauges);
                    let _ = ready.send(Ok(()));
                    bench.run(&mut judge(), &stop, &gauges);
                    bench.report()
                }
                Err(error) => {
                    let _ = ready.send(Err(error));
                    WorkerReport::nothing()
                }
            }
        });
        let thread = thread.map_err(|source| WorkerError::Thread { queue, source })?;
        let worker = Self { stop, thread: Some(thread), gauges };
        started.recv().unwrap_or(Err(WorkerError::Died { queue }))?;
        Ok(worker)
    }

    /// What it tells.
    pub fn gauges(&self) -> &Arc<WorkerGauges> {
        &self.gauges
    }

    /// Whether its thread has ended, which it should not have.
    pub fn is_finished(&self) -> bool {
        self.thread.as_ref().is_none_or(JoinHandle::is_finished)
    }

    /// Tells it to stop, and does not wait for it.
    pub fn ask_to_stop(&self) {
        self.stop.store(true, Ordering::Relaxed);
    }

    /// Stops it and says where its frames are; `None` if its thread panicked, or did not stop in
    /// time: such a thread is left to itself, and ends with the process.
    pub fn stop(mut self, patience: Duration) -> Option<WorkerReport> {
        self.ask_to_stop();
        let thread = self.thread.take()?;
        let until = Instant::now() + patience;
        while !thread.is_finished() {
            if Instant::now() >= until {
                return None;
            }
            std::thread::sleep(Duration::from_millis(1));
        }
        thread.join().ok()
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

impl WorkerReport {
    fn nothing() -> Self {
        let account = FrameAccount { total: 0, free: 0, to_fill: 0, to_send: 0 };
        Self { accounts: [account; 2], statistics: [RingStatistics::default(); 2] }
    }
}

/// What the thread works with.
struct Bench {
    queue: u32,
    rings: [Ring; 2],
    maps: SocketMaps,
}

impl Bench {
    fn set_up(config: WorkerConfig, mut maps: SocketMaps) -> Result<Self, WorkerError> {
        let WorkerConfig { queue, cpu, trunk1, netns, ring } = config;
        if let Some(cpu) = cpu {
            let mut set = CpuSet::new();
            set.set(cpu)
                .and_then(|()| sched_setaffinity(Pid::from_raw(0), &set))
                .map_err(|source| WorkerError::Pin { queue, cpu, source })?;
        }
        if let Some(netns) = netns {
            setns(netns, nix::sched::CloneFlags::CLONE_NEWNET)
                .map_err(|source| WorkerError::Netns { queue, source })?;
        }
        let open = |lane: Lane| Ring::open(&trunk1[lane.index()], queue, ring);
        let rings = [open(Lane::Normal)?, open(Lane::Heavy)?];
        for lane in Lane::ALL {
            maps.register(lane, queue, rings[lane.index()].fd())?;
        }
        Ok(Self { queue, rings, maps })
    }

    fn run(&mut self, judge: &mut impl Judge, stop: &AtomicBool, gauges: &WorkerGauges) {
        let mut idle = Idle::default();
        let mut beaten = Time::default();
        let mut untimed = 0;
        while !stop.load(Ordering::Relaxed) {
            let now = now();
            if now.since(beaten) >= BEAT {
                beaten = now;
                self.beat(now, gauges);
            }
            judge.housekeeping(now);
            // Turn by turn: whatever the heavy lane holds, the normal one has half the worker.
            let [normal, heavy] = &mut self.rings;
            let is_timed = untimed >= RESIDENCE_EVERY;
            let mut take_turn = |ring: &mut Ring| {
                let turn = judge.turn(ring, now);
                if is_timed && turn.received > 0 {
                    gauges.residence.record(self::now().since(now), turn.received);
                }
                turn
            };
            let turn = sum(take_turn(normal), take_turn(heavy));
            if turn.received == 0 {
                if idle.wait(now, [normal.fd(), heavy.fd()]) {
                    add(&gauges.waits, 1);
                }
                continue;
            }
            idle.reset();
            untimed = if is_timed { 1 } else { untimed + 1 };
            add(&gauges.received, turn.received as u64);
            add(&gauges.batches, 1);
            if turn.refused > 0 {
                add(&gauges.refused, turn.refused as u64);
            }
        }
    }

    fn beat(&mut self, now: Time, gauges: &WorkerGauges) {
        // A map that cannot be written leaves the worker looking dead, which is the safe side.
        let _ = self.maps.beat(self.queue, now.nanos());
        gauges.beat_nanos.store(now.nanos(), Ordering::Relaxed);
        let mut kernel = RingStatistics::default();
        let (mut to_send, mut leaked) = (0, 0);
        for ring in &mut self.rings {
            let account = ring.settle();
            to_send += account.to_send;
            leaked += account.total - account.free - account.to_fill - account.to_send;
            if let Ok(statistics) = ring.statistics() {
                kernel.rx_dropped += statistics.rx_dropped;
                kernel.rx_ring_full += statistics.rx_ring_full;
                kernel.rx_fill_ring_empty += statistics.rx_fill_ring_empty;
            }
        }
        gauges.rx_dropped.store(kernel.rx_dropped, Ordering::Relaxed);
        gauges.rx_ring_full.store(kernel.rx_ring_full, Ordering::Relaxed);
        gauges.rx_fill_ring_empty.store(kernel.rx_fill_ring_empty, Ordering::Relaxed);
        gauges.to_send.store(to_send, Ordering::Relaxed);
        gauges.leaked.store(leaked, Ordering::Relaxed);
    }

    fn report(&mut self) -> WorkerReport {
        // What is being sent is done within a few wake-ups, or never (the trunk is down).
        let accounts = self.rings.each_mut().map(|ring| {
            let mut account = ring.settle();
            for _ in 0..1000 {
                if account.to_send == 0 {
                    break;
                }
                std::thread::yield_now();
                account = ring.settle();
            }
            account
        });
        WorkerReport {
            accounts,
            statistics: self.rings.each_ref().map(|ring| ring.statistics().unwrap_or_default()),
        }
    }
}

fn sum(a: Turn, b: Turn) -> Turn {
    Turn { received: a.received + b.received, refused: a.refused + b.refused }
}

/// Adds to a counter that only this thread writes.
fn add(counter: &AtomicU64, amount: u64) {
    counter.store(counter.load(Ordering::Relaxed) + amount, Ordering::Relaxed);
}
