//! Queueing: a `pfifo` on every transmit queue.
//!
//! veth has a ring of 256 slots a queue and drops what does not fit. With a qdisc that can hold
//! frames in front of it, a full ring stops the queue instead: loss becomes backpressure.

use netlink_packet_core::{DefaultNla, Emitable, NLM_F_CREATE, NLM_F_REPLACE, Nla};
use netlink_packet_route::RouteNetlinkMessage;
use netlink_packet_route::tc::{TcAttribute, TcHandle, TcMessage, TcOption};

use super::{Link, NetError, Netlink};

/// `TCA_OPTIONS`, which for pfifo is a bare `struct tc_fifo_qopt`.
const OPTIONS: u16 = 2;

/// The handle podgate gives its `mq`.
const MQ: TcHandle = TcHandle { major: 1, minor: 0 };

/// How a device queues what it is to send.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Queueing {
    /// One queue, and its pfifo.
    Single(Pfifo),
    /// `mq` over several queues, each with its pfifo, in the queues' order.
    Multi(Vec<Pfifo>),
    /// Something else at the root, by name.
    Other(String),
}

/// A first-in, first-out queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pfifo {
    /// How many frames it holds.
    pub limit_frames: u32,
}

impl Netlink {
    /// Puts a pfifo with that limit on every transmit queue of a device, and reads it back.
    pub async fn set_pfifo(&self, device: &Link, limit_frames: u32) -> Result<(), NetError> {
        let pfifo = Pfifo { limit_frames };
        let wanted = if device.tx_queues == 1 {
            self.replace_qdisc(device, TcHandle::ROOT, TcHandle::UNSPEC, "pfifo", Some(pfifo)).await?;
            Queueing::Single(pfifo)
        } else {
            self.replace_qdisc(device, TcHandle::ROOT, MQ, "mq", None).await?;
            for minor in 1..=device.tx_queues as u16 {
                let parent = TcHandle { major: MQ.major, minor };
                self.replace_qdisc(device, parent, TcHandle::UNSPEC, "pfifo", Some(pfifo)).await?;
            }
            Queueing::Multi(vec![pfifo; device.tx_queues as usize])
        };
        let found = self.queueing(device).await?;
        if found == wanted {
            return Ok(());
        }
        let (wanted, found) = (format!("{wanted:?}"), format!("{found:?}"));
        Err(NetError::NotApplied { device: device.name.clone(), wanted, found })
    }

    /// How a device queues now.
    pub async fn queueing(&self, device: &Link) -> Result<Queueing, NetError> {
        let mut message = TcMessage::default();
        message.header.index = device.index.cast_signed();
        let replies = self.dump(RouteNetlinkMessage::GetQueueDiscipline(message)).await;
        let replies = replies.map_err(|refusal| {
            self.refused(device.name.as_str(), "read its queueing disciplines", refusal)
        })?;
        // The kernel lists those of all devices whatever the request says (tc_dump_qdisc).
        let mut qdiscs: Vec<Qdisc> = replies
            .into_iter()
            .filter_map(Qdisc::from_reply)
            .filter(|qdisc| qdisc.index == device.index)
            .collect();
        let Some(root) = qdiscs.iter().position(|qdisc| qdisc.parent == TcHandle::ROOT) else {
            return Ok(Queueing::Other("none".into()));
        };
        let root = qdiscs.swap_remove(root);
        if let ("pfifo", Some(pfifo)) = (root.kind.as_str(), root.pfifo) {
            return Ok(Queueing::Single(pfifo));
        }
        if root.kind != "mq" {
            return Ok(Queueing::Other(root.kind));
        }
        qdiscs.retain(|qdisc| qdisc.parent.major == root.handle.major);
        qdiscs.sort_by_key(|qdisc| qdisc.parent.minor);
        match qdiscs.iter().map(|qdisc| qdisc.pfifo.ok_or(&qdisc.kind)).collect::<Result<_, _>>() {
            Ok(pfifos) => Ok(Queueing::Multi(pfifos)),
            Err(kind) => Ok(Queueing::Other(format!("mq over {kind}"))),
        }
    }

    async fn replace_qdisc(
        &self,
        device: &Link,
        parent: TcHandle,
        handle: TcHandle,
        kind: &str,
        pfifo: Option<Pfifo>,
    ) -> Result<(), NetError> {
        let mut message = TcMessage::default();
        message.header.index = device.index.cast_signed();
        message.header.parent = parent;
        message.header.handle = handle;
        message.attributes.push(TcAttribute::Kind(kind.into()));
        message.attributes.extend(pfifo.map(|pfifo| {
            TcAttribute::Other(DefaultNla::new(OPTIONS, pfifo.limit_frames.to_ne_bytes().to_vec()))
        }));
        let request = RouteNetlinkMessage::NewQueueDiscipline(message);
        let replaced = self.change(request, NLM_F_CREATE | NLM_F_REPLACE).await;
        replaced.map_err(|refusal| {
            self.refused(device.name.as_str(), format!("attach {kind} at {parent}"), refusal)
        })
    }
}

struct Qdisc {
    index: u32,
    handle: TcHandle,
    parent: TcHandle,
    kind: String,
    pfifo: Option<Pfifo>,
}

impl Qdisc {
    fn from_reply(message: RouteNetlinkMessage) -> Option<Self> {
        let RouteNetlinkMessage::NewQueueDiscipline(message) = message else { return None };
        let mut qdisc = Self {
            index: message.header.index.cast_unsigned(),
            handle: message.header.handle,
            parent: message.header.parent,
            kind: String::new(),
            pfifo: None,
        };
        for attribute in message.attributes {
            match attribute {
                TcAttribute::Kind(kind) => qdisc.kind = kind,
                TcAttribute::Options(options) if qdisc.kind == "pfifo" => {
                    qdisc.pfifo = options.first().and_then(limit);
                }
                _ => {}
            }
        }
        Some(qdisc)
    }
}

fn limit(option: &TcOption) -> Option<Pfifo> {
    let TcOption::Other(attribute) = option else { return None };
    let mut bytes = vec![0; attribute.buffer_len()];
    attribute.emit(&mut bytes);
    let value = bytes.get(bytes.len() - attribute.value_len()..)?;
    Some(Pfifo { limit_frames: u32::from_ne_bytes(value.try_into().ok()?) })
}
