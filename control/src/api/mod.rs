//! The local socket: status, events and flows, root only.
//!
//! ```text
//! types    what is said, as JSON
//! table    the flow table in numbers
//! policy   the compiled policy in numbers
//! fence    what closes new pods
//! flow     flows as they are told, and which are wanted
//! in_force the objects that it decides by
//! server   HTTP over the instance's unix socket
//! client   the other end of it, for the command line
//! stream   answers of one JSON object a line, at that end
//! ```
//!
//! | path | answer |
//! |---|---|
//! | `GET /v1/status` | a [`Status`] |
//! | `GET /v1/policy` | a [`PolicyStats`] |
//! | `GET /v1/status?revision=7&pods=shop/web` | the same, as soon as that is in force, or after ten seconds |
//! | `GET /v1/events?verdict=dropped&follow=true` | one [`EventLine`] a line |
//! | `GET /v1/flows?pod=shop/db&limit=10` | one [`FlowRecord`] a line |
//! | `GET /v1/objects` | what the policy in force was compiled from, an [`InForce`] |
//! | `DELETE /v1/flows?state=CLOSE` | how many were forgotten, a [`Flushed`] |

mod client;
mod fence;
mod flow;
mod in_force;
mod policy;
mod server;
mod stream;
mod table;
mod types;

pub use client::{Client, ClientError};
pub use fence::FenceStatus;
pub use flow::{FlowFilter, FlowNumber, FlowRecord, Flushed, NotOne, ProtocolName, STATES};
pub use in_force::{InForce, PolicyPlace, Wanted};
pub use policy::{Compilation, EnforceTimes, LimitUse, PolicyStats};
pub use server::{ServeError, serve};
pub use stream::Lines;
pub use table::{FlowTableStatus, FragmentCounts, QuotaUse};
pub use types::{
    ChangeReport, EventFilter, EventLine, EventRecord, PortStatus, Status, TimeToPolicy, VerdictWord,
    WorkerStatus,
};
