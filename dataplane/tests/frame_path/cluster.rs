//! A small cluster on paper: its pods, its policy, and the snapshot of both.
//!
//! | who | port | addresses | policy |
//! |---|---|---|---|
//! | web | 1 | 10.0.0.1, fd00::1 | isolated for egress: all to db, UDP 53 and 5353 to outside |
//! | db | 2 | 10.0.0.2, fd00::2 | isolated for ingress: TCP 5432 and UDP 53 from web, TCP 5432 from outside |
//! | free | 3 | 10.0.0.3, fd00::3 | none |
//! | own node | | 10.0.0.254, fd00::fe | |
//! | other node | | 192.168.0.2 | |
//! | remote pod | | 10.0.1.9 | |

use std::time::Duration;

use podgate_dataplane::mac::Mac;
use podgate_dataplane::policy::{
    Cause, Endpoint, EndpointId, EndpointKind, EndpointMap, Half, ListId, PolicyTable, PortRange, PrefixMap,
    RangeList, Row, RuleId,
};
use podgate_dataplane::snapshot::{Names, PortBinding, Snapshot, Switches};
use podgate_dataplane::tag::Tag;
use podgate_flowtable::{Addr, Epoch, Time};

use crate::frames::{Link, ip, port};

pub const WEB: u16 = 1;
pub const DB: u16 = 2;
pub const FREE: u16 = 3;
/// A port that no pod is bound to.
pub const UNBOUND: u16 = 9;

pub const NODE_MAC: Mac = Mac([2, 0, 0, 0, 0, 0xfe]);

pub const WEB_TO_DB: Cause = Cause::Rule(RuleId(1));
pub const WEB_TO_OUTSIDE: Cause = Cause::Rule(RuleId(2));
pub const DB_FROM_WEB: Cause = Cause::Rule(RuleId(0));
pub const DB_FROM_OUTSIDE: Cause = Cause::Rule(RuleId(3));

pub fn mac(pod: u16) -> Mac {
    Mac([2, 0, 0, 0, 0, pod as u8])
}

/// From a pod to another pod's MAC address, or to the node's.
pub fn from_pod(pod: u16, destination: Mac) -> Link {
    Link::new(Tag::from_pod(port(pod)), mac(pod), destination)
}

/// Out of the bridge, on the way to a pod.
pub fn to_pod(pod: u16) -> Link {
    Link::new(Tag::to_pod(port(pod)), NODE_MAC, mac(pod))
}

pub fn secs(seconds: u64) -> Time {
    Time::default().after(Duration::from_secs(seconds))
}

const fn range(port: u16, rule: u32) -> PortRange {
    PortRange { first: port, last: port, rule: RuleId(rule) }
}

/// The policy above; without its rules if `is_closed`.
pub fn policy(is_closed: bool) -> PolicyTable {
    const IDENTITIES: usize = 8;
    let lists = vec![
        RangeList::default(),
        RangeList { tcp: Box::new([range(5432, 0)]), udp: Box::new([range(53, 0)]), ..RangeList::default() },
        RangeList { every: Some(RuleId(1)), ..RangeList::default() },
        RangeList { udp: Box::new([range(53, 2), range(5353, 2)]), ..RangeList::default() },
        RangeList { tcp: Box::new([range(5432, 3)]), ..RangeList::default() },
    ];
    let half = |subject: usize, allowed: &[(usize, u32)]| {
        let mut rows = vec![Row::Open; IDENTITIES];
        rows[subject] = Row::Isolated(0);
        let mut cells = vec![ListId(0); IDENTITIES];
        for &(peer, list) in allowed.iter().filter(|_| !is_closed) {
            cells[peer] = ListId(list);
        }
        Half::new(&rows, &cells).unwrap()
    };
    PolicyTable::new(half(5, &[(6, 2), (0, 3), (1, 3)]), half(6, &[(5, 1), (0, 4), (1, 4)]), lists).unwrap()
}

pub fn snapshot(epoch: u32, policy: PolicyTable, switches: Switches) -> Snapshot {
    let local = |number: u16| EndpointKind::LocalPod { port: Some(port(number)) };
    let mut known = Vec::new();
    let mut add = |addrs: &[&str], identity, kind, id| {
        for addr in addrs {
            known.push((Addr::from(ip(addr)), Endpoint { identity, kind, id: Some(EndpointId(id)) }));
        }
    };
    add(&["10.0.0.254", "fd00::fe"], 2, EndpointKind::OwnNode, 0);
    add(&["10.0.0.1", "fd00::1"], 5, local(WEB), 1);
    add(&["10.0.0.2", "fd00::2"], 6, local(DB), 2);
    add(&["10.0.0.3", "fd00::3"], 7, local(FREE), 3);
    add(&["192.168.0.2"], 3, EndpointKind::OtherNode, 4);
    add(&["10.0.1.9"], 4, EndpointKind::RemotePod, 5);
    let endpoints = EndpointMap::new(known, PrefixMap::default(), 7);
    let mut snapshot = Snapshot::new(Epoch(epoch), endpoints, policy, switches, Names::default());
    for pod in [WEB, DB, FREE] {
        let addresses =
            [format!("10.0.0.{pod}"), format!("fd00::{pod}")].map(|text| Addr::from(ip(&text))).into();
        snapshot.bind(port(pod), PortBinding { endpoint: EndpointId(pod.into()), mac: mac(pod), addresses });
    }
    snapshot
}
