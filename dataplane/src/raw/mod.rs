//! The one place where `unsafe` is allowed: memory shared with the kernel, and memory shared with
//! readers that take no lock.
//!
//! ```text
//! ring      one AF_XDP socket with its UMEM; every frame has exactly one owner
//! publish   a pointer that is swapped while others read through it
//! pages     huge pages for large tables
//! ```
#![allow(unsafe_code)]

mod pages;
mod publish;
mod ring;

pub use pages::{NoHugePages, prefer_huge_pages};
pub use publish::Published;
pub use ring::{BATCH, Decide, Fate, FrameAccount, Ring, RingConfig, RingError, RingStatistics, Turn};
