//! The local socket: status, events and flows, root only.
//!
//! ```text
//! types    what is said, as JSON
//! table    the flow table in numbers
//! policy   the compiled policy in numbers
//! fence    what closes new pods
//! flow     flows as they are told, and which are wanted
//! cni      what podgate-cni asks
//! in_force the objects that it decides by
//! server   HTTP over the instance's unix socket
//! client   the other end of it, for the command line
//! stream   answers of one JSON object a line, at that end
//! listen   probes and metrics over TCP
//! health   what probes are told
//! measures the gateway in numbers, for monitoring
//! metrics  these as Prometheus reads them
//! ```
//!
//! | path | answer |
//! |---|---|
//! | `GET /v1/status` | a [`Status`] |
//! | `GET /v1/policy` | a [`PolicyStats`] |
//! | `GET /v1/status?revision=7&pods=shop/web` | the same, as soon as that is in force, or after ten seconds |
//! | `GET /v1/policies/shop/web` | a [`PolicyInForce`] |
//! | `GET /v1/events?verdict=dropped&follow=true` | one [`EventLine`] a line |
//! | `GET /v1/flows?pod=shop/db&limit=10` | one [`FlowRecord`] a line |
//! | `GET /v1/objects` | what the policy in force was compiled from, an [`InForce`] |
//! | `DELETE /v1/flows?state=CLOSE` | how many were forgotten, a [`Flushed`] |
//! | `/v1/cni/...` | what podgate-cni asks |

mod client;
mod cni;
mod fence;
mod flow;
mod health;
mod in_force;
mod listen;
mod measures;
mod metrics;
mod policy;
mod server;
mod stream;
mod table;
mod types;

pub use client::{Client, ClientError};
pub use cni::{Attachment, AttachmentName, CniAnswer, CniReadiness, CniRefusal, Forgotten, ValidAttachments};
pub use fence::FenceStatus;
pub use flow::{FlowFilter, FlowNumber, FlowRecord, Flushed, NotOne, ProtocolName, STATES};
pub use health::{Liveness, Readiness, SourceState};
pub use in_force::{InForce, PolicyInForce, PolicyPlace, Wanted};
pub use listen::{ListenError, Listening, listen};
pub use measures::{
    Direction, Distribution, Measures, POD_START_BOUNDS, PUBLISH_BOUNDS, ProcessMeasures, WorkerMeasures,
};
pub use metrics::Exposition;
pub use policy::{Compilation, EnforceTimes, LimitUse, PolicyStats};
pub use server::{ServeError, serve};
pub use stream::Lines;
pub use table::{FlowTableStatus, FragmentCounts, QuotaUse};
pub use types::{
    ChangeReport, EventFilter, EventLine, EventRecord, PortStatus, Status, TimeToPolicy, VerdictWord,
    WorkerStatus,
};
