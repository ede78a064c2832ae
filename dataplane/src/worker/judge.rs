//! What decides frames.

use podgate_flowtable::Time;

use crate::raw::{Ring, Turn};

/// Decides the frames of one worker. Lives on the worker's thread.
pub trait Judge {
    /// Receives one batch from `ring` and decides every frame of it; `now` is the batch's time.
    fn turn(&mut self, ring: &mut Ring, now: Time) -> Turn;

    /// Called between batches: work that is due by the clock, in bounded slices.
    fn housekeeping(&mut self, now: Time) {
        let _ = now;
    }
}
