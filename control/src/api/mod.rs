//! The local socket: status and events, root only.
//!
//! ```text
//! types    what is said, as JSON
//! server   HTTP over the instance's unix socket
//! client   the other end of it, for the command line
//! ```
//!
//! | path | answer |
//! |---|---|
//! | `GET /v1/status` | a [`Status`] |
//! | `GET /v1/events?verdict=dropped&follow=true` | one [`EventLine`] a line |

mod client;
mod server;
mod types;

pub use client::{Client, ClientError, EventStream};
pub use server::{ServeError, serve};
pub use types::{EventFilter, EventLine, EventRecord, PortStatus, Status, VerdictWord, WorkerStatus};
