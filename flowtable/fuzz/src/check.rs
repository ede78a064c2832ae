//! What must hold of a flow table.

use podgate_flowtable::{
    Direction, FlowState, FlowTable, FlowView, IpProtocol, Packet, ReplyState, SctpState, TcpState, Time,
    UdpState, Usage,
};

/// Owners that flows have.
pub const OWNERS: u16 = 3;

/// After anything.
pub fn table(table: &FlowTable, has_quota: bool) {
    let (stats, views) = (table.stats(), table.views().collect::<Vec<_>>());
    assert_eq!(views.len(), table.len());
    assert!(table.len() <= table.capacity());
    let ended = stats.expired + stats.removed + stats.evicted + stats.reopened;
    assert_eq!(stats.opened, table.len() as u64 + ended, "{stats:?}");
    for view in &views {
        let found = |tuple| table.find(&tuple).expect("a flow has its tuples");
        assert!(view.opened <= view.last_seen && view.last_seen < view.expires_at, "{view:?}");
        assert_eq!(found(view.original), (*view, Direction::Original));
        // Two ends may ask each other with the same identifier, and one end be both.
        let is_query = view.original.protocol == IpProtocol::ICMP;
        if !is_query && view.original != view.original.reversed() {
            assert_eq!(found(view.original.reversed()), (*view, Direction::Reply));
        }
    }
    for owner in 0..OWNERS {
        let counts = |view: &&FlowView| view.decision.owner == owner && !is_over(view.state);
        let of_it = views.iter().filter(counts);
        let expected = of_it.fold(Usage::default(), |usage, view| Usage {
            flows: usage.flows + 1,
            half_open: usage.half_open + u32::from(is_half_open(view.state)),
        });
        assert_eq!(table.usage(owner), if has_quota { expected } else { Usage::default() });
    }
}

fn is_half_open(state: FlowState) -> bool {
    match state {
        FlowState::Tcp(state) => {
            matches!(state, TcpState::SynSent | TcpState::SynSent2 | TcpState::SynRecv)
        }
        FlowState::Udp(state) => state == UdpState::Unreplied,
        FlowState::Icmp(state) | FlowState::Other(state) => state == ReplyState::Unreplied,
        FlowState::Sctp(state) => matches!(state, SctpState::CookieWait | SctpState::CookieEchoed),
        FlowState::Denied => false,
    }
}

fn is_over(state: FlowState) -> bool {
    matches!(
        state,
        FlowState::Tcp(TcpState::TimeWait | TcpState::Close)
            | FlowState::Sctp(SctpState::Closed)
            | FlowState::Denied
    )
}

/// The flow that a packet would find, if it is no query: those need more than a tuple.
pub fn flow_of(table: &FlowTable, packet: &Packet) -> Option<FlowView> {
    let is_query = packet.tuple.protocol == IpProtocol::ICMP;
    table.find(&packet.tuple).filter(|_| !is_query).map(|(view, _)| view)
}

/// An admitted packet was counted on its flow, once, and renewed it.
pub fn admitted(
    packet: &Packet,
    now: Time,
    before: Option<&FlowView>,
    after: &FlowView,
    direction: Direction,
) {
    let original = match direction {
        Direction::Original => packet.tuple,
        Direction::Reply => packet.tuple.reversed(),
    };
    let mut by_name = after.original;
    if let Some(called) = after.called {
        (by_name.destination, by_name.destination_port) = (called.addr, called.port);
        by_name.source_port = after.calling_port;
    }
    assert!(original == after.original || original == by_name, "{packet:?}, {direction:?}: {after:?}");
    assert!(after.last_seen <= now && after.expires_at > now, "{after:?}");
    let Some(before) = before else { return };
    assert_eq!((before.id, before.original, before.opened), (after.id, after.original, after.opened));
    assert!(before.expires_at > now, "it had expired: {before:?}");
    let counted = |mut counts: [u64; 2], more: u64| {
        counts[direction.index()] += more;
        counts
    };
    assert_eq!(after.packets, counted(before.packets, 1));
    assert_eq!(after.bytes, counted(before.bytes, u64::from(packet.len_bytes)));
}

/// A refused packet has not changed the flow that it is not part of.
pub fn untouched(now: Time, before: Option<&FlowView>, after: impl FnOnce() -> Option<FlowView>) {
    if let Some(before) = before.filter(|before| before.expires_at > now) {
        assert_eq!(after().as_ref(), Some(before));
    }
}
