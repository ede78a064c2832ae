//! A node and its pods as network namespaces.
//!
//! ```text
//!            pg-<lab>-node                          pg-<lab>-<namespace>-<pod>
//!   ext0 ─── routes ─── cni0 ─┬─ pg0 ══════════════ eth0   10.0.1.10/32
//!  (external)                 ├─ pg1 ══════════════ eth0   one responder each
//!                             └─ up0 ══════════════ an external on the bridge, no pod
//! ```
//!
//! Pods keep whatever addresses their manifests give them: each has its own with the longest prefix,
//! and routes to every other pod's surroundings that are on the link. So all pods meet on the
//! bridge, where the gateway is to decide, and the node reaches them the same way.
//!
//! Nothing may be left behind: all that will be made is written to the lab's directory first, and
//! [`Lab::down`] works from that, however far [`Lab::up`] came.
//!
//! ```text
//! spec        what is asked for: pods, ports, hosts outside
//! addressing  who gets which address, and what is on the link
//! plan        names and addresses of all that will be made
//! record      the lab's directory: the plan, and the processes started
//! process     processes by number and start time, so that no other is ever stopped
//! build       namespaces, bridge, veth pairs, addresses, routes
//! respond     responders are started, and known to listen
//! responder   what runs in a pod: it says which pod it is
//! cluster_dns which pods serve DNS, and what a lab adds where there are none
//! nameserver  what runs in those: it answers for Services and pods
//! etc         what programs in a pod see of /etc
//! teardown    all of it taken away
//! wanted      the pods that manifests ask for
//! services    the addresses of Services
//! edit        objects applied, deleted, labelled, scaled
//! manifests   the files a lab is made from, and what is laid over them
//! change      a lab that is up becomes what an edit asks for
//! node        the handle: open, list, run programs inside
//! gateway     the gateway on the lab's bridge
//! probe       connection attempts, and what becomes of them
//! ```

mod addressing;
mod build;
mod change;
mod cluster_dns;
mod edit;
mod error;
mod etc;
mod gateway;
mod manifests;
pub mod nameserver;
mod node;
mod plan;
pub mod probe;
mod process;
mod record;
mod respond;
pub mod responder;
mod services;
mod spec;
mod teardown;
mod wanted;

pub use change::{Change, Changed};
pub use cluster_dns::{ClusterDns, serves_dns};
pub use edit::{Edit, EditError, Edited};
pub use error::LabError;
pub use node::Lab;
pub use plan::{LabHost, Role};
pub use process::Process;
pub use record::DEFAULT_DIRECTORY;
pub use spec::{Attachment, ExternalSpec, LabOptions, ListenPort, PodSpec, Protocol, Responders};
pub use wanted::{left_out, pod_specs, unheeded};
