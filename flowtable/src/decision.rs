//! What the gateway decided when a flow opened; the table keeps it and does not look inside.

/// The number of a policy snapshot. Every publication has a new one.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct Epoch(pub u32);

/// How the opening frame left the gateway. Replies must go back the same way, or the host's own
/// address translation breaks.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Way {
    /// Lifted from a pod and handed straight to another pod of this node.
    Shortcut,
    /// Put back into the bridge, or first seen on its way to a pod (host, kube-proxy, overlay).
    Bridge,
}

/// The verdict that let a flow open.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Decision {
    /// The snapshot it was made against.
    pub epoch: Epoch,
    /// Why the source's egress side allowed it (the dataplane's `Cause`, as a number).
    pub egress: u32,
    /// Why the destination's ingress side allowed it.
    pub ingress: u32,
    /// How the opening frame left.
    pub way: Way,
    /// Whose the flow is: the guarded port at which it was first seen, and which way it passed it,
    /// as the dataplane numbers them. Quotas count by it, and limit it if it is not
    /// [`UNLIMITED`](crate::UNLIMITED).
    pub owner: u16,
}
