//! Sends frames without a pause, and counts frames of somebody on a device.

use std::os::fd::AsFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{JoinHandle, yield_now};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use podgate_dataplane::mac::Mac;

use crate::Space;
use crate::frame::Wire;

/// Sends the same frames round and round, as fast as it can; ends when dropped.
#[derive(Debug)]
pub struct Presser {
    running: Running,
}

/// Counts the frames that a device shows of one sender, both ways; ends when dropped.
#[derive(Debug)]
pub struct Watcher {
    running: Running,
}

#[derive(Debug)]
struct Running {
    count: Arc<AtomicU64>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Presser {
    /// Sends on `device` of `space`.
    #[track_caller]
    pub fn start(space: &Space, device: &str, frames: Vec<Vec<u8>>) -> Self {
        let wire = Wire::open(space, device);
        let running = Running::start(move |count, stop| {
            for frame in frames.iter().cycle() {
                if stop.load(Ordering::Relaxed) {
                    return;
                }
                // A device that is down or full takes nothing.
                if wire.try_send(frame) {
                    count.fetch_add(1, Ordering::Relaxed);
                } else {
                    yield_now();
                }
            }
        });
        Self { running }
    }

    /// Frames the device took so far.
    pub fn sent(&self) -> u64 {
        self.running.count.load(Ordering::Relaxed)
    }
}

impl Watcher {
    /// Watches `device` of `space` for frames from `mac`.
    #[track_caller]
    pub fn start(space: &Space, device: &str, mac: Mac) -> Self {
        let wire = Wire::open(space, device);
        let running = Running::start(move |count, stop| {
            let mut frame = [0; 128];
            while !stop.load(Ordering::Relaxed) {
                let mut fds = [PollFd::new(wire.as_fd(), PollFlags::POLLIN)];
                let _ = poll(&mut fds, PollTimeout::from(20_u8));
                while let Some(length) = wire.try_read(&mut frame) {
                    if length > 12 && frame[6..12] == mac.0 {
                        count.fetch_add(1, Ordering::Relaxed);
                    }
                }
            }
        });
        Self { running }
    }

    /// Frames seen so far.
    pub fn seen(&self) -> u64 {
        self.running.count.load(Ordering::Relaxed)
    }
}

impl Running {
    fn start(work: impl FnOnce(&AtomicU64, &AtomicBool) + Send + 'static) -> Self {
        let (count, stop) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicBool::new(false)));
        let (its_count, its_stop) = (Arc::clone(&count), Arc::clone(&stop));
        let thread = Some(std::thread::spawn(move || work(&its_count, &its_stop)));
        Self { count, stop, thread }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        let _ = self.thread.take().map(JoinHandle::join);
    }
}
