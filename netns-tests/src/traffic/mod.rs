//! Servers, probes, floods, and the tools that everybody uses.
//!
//! ```text
//! server   answers on a port with the pod's name
//! probe    can this pod reach that port?
//! sink     counts datagrams
//! presser  sends frames without a pause, and counts them where they must not come
//! stamped  numbered datagrams: which were sent when, which came
//! talker   says single bytes, hears others
//! spinner  sends without rest, from before it can
//! blast    sends many
//! ping     loss and round-trip times
//! iperf    iperf3, its JSON read
//! nstat    what the kernel found wrong with checksums
//! ```

mod blast;
mod iperf;
mod nstat;
mod ping;
mod presser;
mod probe;
mod server;
mod sink;
mod spinner;
mod stamped;
mod talker;

pub use blast::{Blast, Pace};
pub use iperf::{Iperf, IperfServer, Load};
pub use nstat::{ChecksumErrors, checksum_errors};
pub use ping::{Ping, ping};
pub use presser::{Presser, Watcher};
pub use probe::{
    ALLOWED_WITHIN, Conversation, DENIED_AFTER, Reach, ask_udp, reach, reach_within, reaches_udp,
};
pub use server::Server;
pub use sink::Sink;
pub use spinner::{Ear, Means, Spinner};
pub use stamped::{Passage, Stamped};
pub use talker::Talker;

use nix::sched::{CpuSet, sched_setaffinity};
use nix::unistd::Pid;

/// Payload of a datagram that makes a 64-byte frame over IPv4: 14 + 20 + 8 + 22.
pub const SMALL_PAYLOAD: usize = 22;

/// Pins the calling thread.
pub fn pin(cpu: usize) {
    let mut set = CpuSet::new();
    let pinned = set.set(cpu).and_then(|()| sched_setaffinity(Pid::from_raw(0), &set));
    pinned.unwrap_or_else(|errno| panic!("cannot pin a thread to cpu {cpu}: {errno}"));
}
