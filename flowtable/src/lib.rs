//! What podgate remembers about a flow.
//!
//! No I/O, no clock of its own, no threads: time and the hash secret are arguments, so that the
//! same table runs in workers, tests, benches and simulations.
//!
//! ```text
//! addr       one address type for both families
//! key        5-tuples, directions, and the form that both directions share
//! packet     what the table needs to know of a packet
//! decision   what the gateway decided when the flow opened
//! time       monotonic time as an argument
//!
//! config     what a table is made from
//! table      the flows, and what may be asked of them    open    recording, making room
//! meet       a packet meets its flow, one at a time or in batches
//! track      what it does to the flow, or may do without    expiry  forgetting in slices
//! deny       what policy has cut
//! tcp  udp  icmp  sctp   what each protocol makes of a packet
//! translate  flows with another name for one end
//! state      where a flow stands       timeout   for how long
//! view       a copy of a flow          stats     what became of them
//! export     flows as bytes, and back
//! quota      how many flows each owner may have
//! bucket  entry  hash    the memory layout: tags, 128 bytes a flow, the keyed placement
//!
//! sync       atomics, which a test can replace           interleavings  that test
//!
//! fragment   later fragments follow the first one
//! ```

mod addr;
mod bucket;
mod config;
mod decision;
mod deny;
mod entry;
mod expiry;
mod export;
mod fragment;
mod hash;
mod icmp;
mod key;
mod meet;
mod open;
mod packet;
mod quota;
mod sctp;
mod state;
mod stats;
mod sync;
mod table;
mod tcp;
mod time;
mod timeout;
mod track;
mod translate;
mod udp;
mod view;

#[cfg(all(test, feature = "interleavings"))]
mod interleavings;

pub use addr::Addr;
pub use config::{Config, ConfigError, MAX_CAPACITY};
pub use decision::{Decision, Epoch, Way};
pub use expiry::ExpiryCursor;
pub use export::{EXPORT_FORMAT, EXPORT_LEN_BYTES, ExportedFlow, ImportError, MalformedFlow};
pub use fragment::{First, Follow, FragmentKey, FragmentStats, FragmentTable};
pub use hash::HashSecret;
pub use key::{Direction, IpProtocol, Tuple};
pub use meet::Seek;
pub use open::OpenError;
pub use packet::{IcmpRole, Packet, TcpFlags, TcpSegment, Transport};
pub use quota::{Exceeded, Quota, UNLIMITED, Usage};
pub use state::{Assurance, FlowState, ReplyState, SctpState, TcpState, UdpState};
pub use stats::TableStats;
pub use table::FlowTable;
pub use time::Time;
pub use timeout::Timeouts;
pub use track::{Known, Refusal, Track};
pub use translate::{Rewrite, Target};
pub use view::{FlowId, FlowView};
