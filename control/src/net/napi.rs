//! How the kernel polls a device's queues.
//!
//! `Documentation/netlink/specs/netdev.yaml`: `napi-get` (Linux 6.8) and `napi-set` (6.13, the
//! `threaded` attribute 6.17). `/sys/class/net/*/threaded` would show the mount's namespace instead.

use super::generic::{Family, as_number, number};
use super::{Link, NetError, Netns};

const NAPI_GET: u8 = 11;
const NAPI_SET: u8 = 14;

const NAPI_IFINDEX: u16 = 1;
const NAPI_ID: u16 = 2;
const NAPI_DEFER_HARD_IRQS: u16 = 5;
const NAPI_GRO_FLUSH_TIMEOUT: u16 = 6;
const NAPI_THREADED: u16 = 8;

/// One of the kernel's polling contexts: on a veth, one receive queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Napi {
    /// Its number, unique on the machine.
    pub id: u32,
    /// Who polls it.
    pub thread: NapiThread,
}

/// Who polls.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NapiThread {
    /// The soft interrupt of whatever cpu the frame came in on.
    SoftIrq,
    /// A kernel thread of its own, which the scheduler can place.
    Own,
}

/// What to change; what is absent stays.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct NapiChange {
    /// Who polls.
    pub thread: Option<NapiThread>,
    /// How many empty polls to wait before interrupts are enabled again.
    pub defer_hard_irqs: Option<u32>,
    /// How long to hold merged segments and stay without interrupts, in nanoseconds.
    pub gro_flush_timeout_ns: Option<u32>,
}

/// A connection to the `netdev` family of one namespace.
#[derive(Debug, Clone)]
pub struct Napis(Family);

impl Napis {
    /// A connection in the calling thread's namespace. Must be called on a tokio runtime.
    pub async fn connect() -> Result<Self, NetError> {
        Family::connect("netdev", "6.3", None).await.map(Self)
    }

    /// A connection in another namespace. Must be called on a tokio runtime.
    pub async fn connect_in(netns: &Netns) -> Result<Self, NetError> {
        Family::connect("netdev", "6.3", Some(netns)).await.map(Self)
    }

    /// The polling contexts of a device, lowest number first. A veth has them only while an XDP
    /// program is attached or GRO is on, and it is up.
    pub async fn of(&self, device: &Link) -> Result<Vec<Napi>, NetError> {
        let replies = self.0.dump(NAPI_GET, &[number(NAPI_IFINDEX, device.index)]).await;
        let replies = replies
            .map_err(|refusal| self.0.refused(&device.name, "list its polling contexts".into(), refusal))?;
        let mut napis: Vec<Napi> = replies
            .iter()
            .filter_map(|reply| {
                let value = |kind| reply.attribute(kind).and_then(as_number);
                let thread = match value(NAPI_THREADED) {
                    None | Some(0) => NapiThread::SoftIrq,
                    Some(_) => NapiThread::Own,
                };
                Some(Napi { id: value(NAPI_ID)?, thread })
            })
            .collect();
        napis.sort_by_key(|napi| napi.id);
        Ok(napis)
    }

    /// Changes how every queue of a device is polled.
    pub async fn set(&self, device: &Link, change: NapiChange) -> Result<(), NetError> {
        for napi in self.of(device).await? {
            let mut attributes = vec![number(NAPI_ID, napi.id)];
            attributes.extend(change.thread.map(|thread| match thread {
                NapiThread::SoftIrq => number(NAPI_THREADED, 0),
                NapiThread::Own => number(NAPI_THREADED, 1),
            }));
            attributes.extend(change.defer_hard_irqs.map(|polls| number(NAPI_DEFER_HARD_IRQS, polls)));
            attributes.extend(change.gro_flush_timeout_ns.map(|time| number(NAPI_GRO_FLUSH_TIMEOUT, time)));
            let set = self.0.ask(NAPI_SET, &attributes).await;
            set.map_err(|refusal| self.0.refused(&device.name, format!("set {change:?}"), refusal))?;
        }
        Ok(())
    }
}
