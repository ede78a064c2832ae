//! Attach, publish, supervise: the gateway as one running thing.
//!
//! ```text
//! options    what it is told
//! flow_options  what the flow table is made from
//! paths      where it keeps things
//! alarms     what a person should know
//! attachments  what runtimes tell of pods
//! cni        runtimes at the door
//! bpffs      where pins can be, so that they outlive the gateway
//! home       which bridge an instance guards, and no other
//! preflight  what must be so before anything is touched
//! trunk      the veth pairs that carry frames to the workers
//! owners     which pod has which address, and since when
//! ports      which devices are guarded, and which pod is behind each
//! bindings   the latter, kept over a crash
//! start      all of it loaded, attached, running
//! memory     how much of it there is
//! gateway    what it then does
//! status     how it is
//! health     whether it lives, and is ready
//! measures   it in numbers, for monitoring
//! table      the flow table in numbers
//! fencing    new pods closed until they are guarded
//! scope      which devices lead to pods
//! follow     ports, as they come, go and change
//! revalidate what a change of policy means for live flows
//! carry      flows over a restart
//! flows      flows with names: told, forgotten
//! secret     secrets, and the mark that changes
//! in_force   what the policy in force was compiled from
//! pod_starts     how long new pods wait for their policy
//! publish_times  how long changes took to be in force
//! feed       where the objects come from
//! history    events with names, kept for a while and passed on
//! supervise  the loop: manifests, links, signals, the clock
//! detach     taking everything down
//! ```

mod alarms;
mod attachments;
mod bindings;
mod bpffs;
mod carry;
mod cni;
mod detach;
mod feed;
mod fencing;
mod flow_options;
mod flows;
mod follow;
mod gateway;
mod health;
mod history;
mod home;
mod in_force;
mod measures;
mod memory;
mod options;
mod owners;
mod paths;
mod pod_starts;
mod ports;
mod preflight;
mod publish_times;
mod revalidate;
mod scope;
mod secret;
mod start;
mod status;
mod supervise;
mod table;
mod trunk;

pub use cni::{Door, Question};
pub use detach::{DetachError, DetachReport, LockError, detach};
pub use flow_options::{FlowCapacity, FlowOptions, NoCapacity};
pub use flows::FlowReader;
pub use gateway::{Gateway, PublishError};
pub use history::History;
pub(crate) use history::{Clocks, record};
pub use home::HomeError;
pub use options::{FenceMode, OnExit, RunOptions};
pub use paths::{NameError, Paths, PinsError, check_name, list_instances};
pub use preflight::PreflightError;
pub use scope::{DevicePattern, PatternError};
pub use start::StartError;
pub use supervise::{RunError, run};
pub use trunk::{TRUNK_MTU, Trunk};
