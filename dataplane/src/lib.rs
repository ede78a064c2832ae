//! What happens to a frame.
//!
//! ```text
//! tag        port and passage, as the trunk carries them
//! mac        Ethernet addresses
//! policy/    the compiled policy and its lookup
//! snapshot   everything a worker decides by, as of one moment
//! verdict    forward or drop, and why
//! raw/       AF_XDP rings and the published pointer; the only `unsafe`
//! steer/     the steering programs: load, attach, pin, detach
//! worker     a pinned thread and its rings
//! ```

pub mod mac;
pub mod policy;
pub mod raw;
pub mod snapshot;
pub mod steer;
pub mod tag;
pub mod verdict;
pub mod worker;
