//! The one place where `unsafe` is allowed: memory shared with the kernel, and memory shared with
//! readers that take no lock.
//!
//! ```text
//! ring      one AF_XDP socket with its UMEM; every frame has exactly one owner
//! publish   a pointer that is swapped while others read through it
//! ```
#![allow(unsafe_code)]

mod publish;
mod ring;

pub use publish::Published;
pub use ring::{Fate, FrameAccount, Ring, RingConfig, RingError, RingStatistics, Turn};
