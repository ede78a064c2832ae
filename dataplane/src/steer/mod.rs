//! The steering programs (`bpf/`): load, attach, pin, adopt, detach.
//!
//! Links and maps are pinned, so that they outlive the process: a gateway that dies leaves its
//! ports guarded, with the fallback verdict in force. Only [`detach`] opens the wire.
//!
//! ```text
//! layout   what `bpf/steer.h` says, in Rust
//! error    what can go wrong, and what to do about it
//! load     programs and maps, new or adopted
//! port     guarding and releasing one device
//! counts   what the programs counted
//! pins     names under the pin directory
//! ```

mod counts;
mod error;
mod layout;
mod load;
mod pins;
mod port;

pub use counts::{CountsReader, PortCounts};
pub use error::SteerError;
pub use layout::{Fallback, Lane, MAX_QUEUES, SteerConfig};
pub use load::{SocketMaps, Steering};
pub use pins::detach;
pub use port::{Device, Displaced};
