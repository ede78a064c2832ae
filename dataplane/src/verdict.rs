//! Verdicts: forward or drop, with the reason. A `bool` never decides a frame.

use crate::policy::Cause;
use crate::tag::{Passage, Tag};

macro_rules! drop_reasons {
    ($($(#[doc = $doc:literal])+ $variant:ident = $name:literal,)+) => {
        /// Why a frame was dropped. The names are the metric labels, the words of the command line
        /// and of the documentation. The first [`DropReason::STEERING`] are counted by the steering
        /// programs (`bpf/steer.h` numbers them alike), the others by the step.
        #[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
        #[repr(u8)]
        pub enum DropReason { $($(#[doc = $doc])+ $variant,)+ }

        impl DropReason {
            /// All of them, in order.
            pub const ALL: &[Self] = &[$(Self::$variant,)+];

            /// The one name, in kebab case.
            pub const fn name(self) -> &'static str {
                match self { $(Self::$variant => $name,)+ }
            }

            /// One sentence for a person.
            pub const fn explanation(self) -> &'static str {
                match self { $(Self::$variant => concat!($($doc),+).trim_ascii(),)+ }
            }
        }
    };
}

drop_reasons! {
    /// The steering has no entry for this device.
    UnknownPort = "unknown-port",
    /// No live worker is behind the trunk and the fallback verdict is closed.
    NoWorker = "no-worker",
    /// Unicast on its way to a pod but not for the pod's MAC address (flooded by the bridge).
    WrongMac = "wrong-mac",
    /// The pod has used up its budget of broadcast and multicast frames.
    BroadcastBudget = "broadcast-budget",
    /// A segmentation offload request with absurdly small segments.
    SmallGso = "small-gso",
    /// A frame that the gateway had already decided came by again: another program cleared its mark.
    Lap = "lap",
    /// The kernel could not put the trunk's tag on the frame or take it off.
    TagFailed = "tag-failed",
    /// A decided frame for a port that is no longer there.
    PortGone = "port-gone",
    /// A frame from a pod that carries a mark: a program of the pod's forged it.
    ForgedMark = "forged-mark",

    /// A frame on the trunk without a valid tag.
    NoTag = "no-tag",
    /// No policy snapshot has been published yet.
    NoSnapshot = "no-snapshot",
    /// The frame ends before its headers do, or a length field lies.
    Truncated = "truncated",
    /// The pod sent its own VLAN tag (802.1Q, 802.1ad, priority tags included).
    VlanTagged = "vlan-tagged",
    /// Neither ARP, IPv4 nor IPv6.
    UnknownEthertype = "unknown-ethertype",
    /// A malformed ARP packet, or not Ethernet and IPv4.
    BadArp = "bad-arp",
    /// A malformed IPv4 header.
    BadIpv4 = "bad-ipv4",
    /// A malformed IPv6 header or extension header chain.
    BadIpv6 = "bad-ipv6",
    /// A malformed TCP, UDP, SCTP or ICMP header.
    BadTransport = "bad-transport",
    /// A source or destination address that may not be on the wire (loopback, multicast source, v4-mapped).
    Martian = "martian",
    /// A fragment whose first fragment was not seen or not allowed.
    FragmentWithoutFirst = "fragment-without-first",
    /// A fragment that overlaps another, or a first fragment too short to hold its headers.
    BadFragment = "bad-fragment",
    /// The pod has as many fragmented datagrams under way as one pod may have.
    FragmentQuota = "fragment-quota",
    /// The port or local address belongs to no known pod.
    UnknownEndpoint = "unknown-endpoint",
    /// The pod sent from a MAC address that is not its own.
    SpoofedMac = "spoofed-mac",
    /// The pod sent from an IP address that is not its own.
    SpoofedIp = "spoofed-ip",
    /// The pod claimed an address that is not its own in ARP.
    SpoofedArp = "spoofed-arp",
    /// The pod claimed an address that is not its own in neighbour discovery, or sent a router message.
    SpoofedNd = "spoofed-nd",
    /// A frame from outside with the source address of a local pod that did not send it.
    SpoofedLocal = "spoofed-local",
    /// A flooded frame that concerns another pod than this one.
    NotForThisPod = "not-for-this-pod",
    /// A tunnel (VXLAN, Geneve, IPIP, GRE, WireGuard) from a pod to a node address.
    TunnelToNode = "tunnel-to-node",
    /// The source pod is isolated for egress and no rule allows it.
    PolicyEgress = "policy-egress",
    /// The destination pod is isolated for ingress and no rule allows it.
    PolicyIngress = "policy-ingress",
    /// A packet that belongs to no flow and may not open one.
    NoFlow = "no-flow",
    /// A TCP segment that its connection's state or window does not admit.
    TcpInvalid = "tcp-invalid",
    /// The Service has no backend that is ready; the client is told at once.
    ServiceNoBackend = "service-no-backend",
    /// The Service has no such port; the client is told at once.
    ServiceNoPort = "service-no-port",
    /// From the same port the client has a connection to every backend that was tried, by its own address; it is
    /// told at once.
    ServiceClash = "service-clash",
    /// An ICMP error about no known flow.
    IcmpUnrelated = "icmp-unrelated",
    /// The flow table is full.
    FlowTableFull = "flow-table-full",
    /// The pod has as many flows as one pod may have.
    FlowQuota = "flow-quota",
    /// The pod has as many unanswered and half-open flows as one pod may have.
    HalfOpenQuota = "half-open-quota",
    /// The transmit ring did not take the frame.
    TxFull = "tx-full",
}

impl DropReason {
    /// How many there are.
    pub const COUNT: usize = Self::ALL.len();
    /// How many are counted by the steering programs; they come first.
    pub const STEERING: usize = Self::ForgedMark as usize + 1;

    /// For those that the steering counts: the one passage at which it happens, if there is one.
    pub const fn steered_passage(self) -> Option<Passage> {
        match self {
            Self::BroadcastBudget | Self::ForgedMark => Some(Passage::FromPod),
            Self::WrongMac => Some(Passage::ToPod),
            _ => None,
        }
    }

    /// Whether the sender is told instead of being left to wait.
    pub const fn is_answered(self) -> bool {
        matches!(self, Self::ServiceNoBackend | Self::ServiceNoPort | Self::ServiceClash)
    }
}

/// What becomes of a frame.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Verdict {
    /// It goes on; its tag has been rewritten to this one.
    Forward(Tag),
    /// It is dropped.
    Drop(DropReason),
    /// It is dropped, and its sender is to be told, see [`answer`](crate::answer::answer).
    Reject(DropReason),
}

/// Why each side said what it said, for a frame that was judged against policy.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Causes {
    /// The source's egress side.
    pub egress: Cause,
    /// The destination's ingress side; not reached when egress denied.
    pub ingress: Cause,
}
