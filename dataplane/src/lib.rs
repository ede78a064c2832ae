//! What happens to a frame.
//!
//! ```text
//! tag        port and passage, as the trunk carries them
//! mac        Ethernet addresses
//! parse/     from bytes to what they say, bounded
//! antispoof  a pod speaks for itself only
//! neighbour  where ARP and neighbour discovery go
//! onward     where a forwarded frame goes on to, and what changes in it
//! answer     what the sender of a rejected packet is told
//! service/   which address and port stand for others
//! policy/    the compiled policy and its lookup
//! chunks     vectors whose copies share what has not changed
//! snapshot   everything a worker decides by, as of one moment
//! step/      all of it put together: what becomes of a frame
//! verdict    forward or drop, and why
//! raw/       AF_XDP rings and the published pointer; the only `unsafe`
//! steer/     the steering programs: load, attach, pin, detach
//! worker     a pinned thread and its rings
//! counters   how often
//! departures which pods' frames may come back from the host
//! events     what is told about single frames
//! ```

pub mod answer;
pub mod antispoof;
pub mod chunks;
pub mod counters;
pub mod departures;
pub mod events;
pub mod mac;
pub mod neighbour;
pub mod onward;
pub mod parse;
pub mod policy;
pub mod raw;
pub mod service;
pub mod snapshot;
pub mod steer;
pub mod step;
pub mod tag;
pub mod verdict;
pub mod worker;
