//! What podgate remembers about a flow.
//!
//! No I/O, no clock of its own, no threads: time and the hash secret are arguments, so that the
//! same table runs in workers, tests, benches and simulations.
//!
//! ```text
//! addr      one address type for both families
//! key       5-tuples and directions
//! packet    what the table needs to know of a packet
//! decision  what the gateway decided when the flow opened
//! time      monotonic time as an argument
//! ```

mod addr;
mod decision;
mod key;
mod packet;
mod time;

pub use addr::Addr;
pub use decision::{Decision, Epoch, Way};
pub use key::{Direction, IpProtocol, Tuple};
pub use packet::{IcmpRole, Packet, TcpFlags, TcpSegment, Transport};
pub use time::Time;
