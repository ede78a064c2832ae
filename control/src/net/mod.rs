//! Namespaces, links, bridges and qdiscs, over netlink.
//!
//! Nothing here runs `ip`, `tc` or `ethtool`, changes the calling thread's namespace or touches
//! `/sys`. A [`Netlink`] or [`Ethtool`] handle belongs to the namespace it was connected in and may
//! be used from any thread of its runtime.
//!
//! ```text
//! netns      network namespaces: create, enter on a thread of their own, delete
//! view       files over those in /etc, for what is started in a namespace
//! sysctl     /proc/sys/net of a namespace
//! number     the number of another namespace
//! netlink    one connection to the kernel's routing tables
//! link       what the kernel says of a device
//! create     veth pairs and bridges are made
//! links      devices: change, delete, list
//! address    addresses of devices, and of devices in other namespaces
//! route      routes, neighbours, and the rules that look at marks
//! qdisc      pfifo on every transmit queue
//! generic    generic netlink: families by name, nested attributes
//! ethtool    device features
//! napi       threaded polling and interrupt deferral of a device's queues
//! ports      the pod end of every bridge port
//! wire       a packet socket on one device
//! monitor    links and addresses as they change
//! ```

mod address;
mod create;
mod error;
mod ethtool;
mod generic;
mod link;
mod links;
mod monitor;
mod napi;
mod netlink;
mod netns;
mod number;
mod ports;
mod qdisc;
mod route;
mod sysctl;
mod view;
mod wire;

pub use address::DeviceAddress;
pub use create::{BridgeOptions, Snooping, VethEnd};
pub use error::NetError;
pub use ethtool::{Ethtool, Feature, Switch, offload};
pub use link::{AdminState, Link, LinkKind, Peer};
pub use monitor::{Event, Monitor};
pub use napi::{Napi, NapiChange, NapiThread, Napis};
pub use netlink::Netlink;
pub use netns::Netns;
pub use ports::PodEnd;
pub use qdisc::{Pfifo, Queueing};
pub use route::{MarkRule, Neighbour, Route};
pub use wire::Wire;
