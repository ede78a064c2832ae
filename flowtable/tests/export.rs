//! Flows that move from one table to another, as over a restart.

mod common;

use common::{ACK, SYN, SYN_ACK, answer, decision, establish, icmp, packet, table, tcp, ticks, tuple, udp};
use podgate_flowtable::{
    Decision, EXPORT_LEN_BYTES, Epoch, ExportedFlow, FlowTable, FlowView, IcmpRole, ImportError, IpProtocol,
    MalformedFlow, Refusal, TcpFlags, Track, Transport,
};

const SEEN: u64 = 1000;

/// One flow of each kind, some of them answered.
fn filled() -> FlowTable {
    let flows = table(100);
    establish(&flows, 1, ticks(SEEN));
    flows.open(&tcp(2, SYN), decision(2), ticks(SEEN)).unwrap();
    flows.open(&udp(3), decision(3), ticks(SEEN)).unwrap();
    flows.track(&answer(udp(3)), ticks(SEEN + 5));
    for (flow, asks) in [(4, icmp(4, IcmpRole::Request)), (5, answer(icmp(4, IcmpRole::Request)))] {
        flows.open(&asks, decision(flow), ticks(SEEN)).unwrap();
    }
    let other = packet(tuple(6, IpProtocol(47)), Transport::Other);
    flows.open(&other, decision(6), ticks(SEEN)).unwrap();
    let init = Transport::Sctp { verification_tag: 0, first_chunk: 1 };
    flows.open(&packet(tuple(7, IpProtocol::SCTP), init), decision(7), ticks(SEEN)).unwrap();
    flows
}

/// All that a flow keeps, in an order of its own.
fn views(flows: &FlowTable) -> Vec<FlowView> {
    let mut views: Vec<_> = flows.views().collect();
    views.sort_by_key(|view| (view.decision.owner, view.original.source_port));
    views
}

fn carried(from: &FlowTable, capacity: usize, now: u64) -> (FlowTable, Vec<Result<(), ImportError>>) {
    let to = table(capacity);
    let take_in = |flow: ExportedFlow| {
        let bytes = flow.to_bytes();
        let read = ExportedFlow::from_bytes(&bytes).unwrap();
        let mut expected = flow;
        expected.decision.epoch = Epoch(0);
        assert_eq!(read, expected);
        to.import(&read, ticks(now)).map(drop)
    };
    let taken = from.export().map(take_in).collect();
    (to, taken)
}

#[test]
fn all_but_the_epoch_comes_along() {
    let from = filled();
    let (to, taken) = carried(&from, 100, SEEN + 10);
    assert_eq!(taken, vec![Ok(()); 7]);
    assert_eq!((to.len(), to.stats().opened), (7, 7));
    let undecided = |view: &FlowView| {
        let decision = Decision { epoch: Epoch(0), ..view.decision };
        FlowView { decision, id: podgate_flowtable::FlowId::from_bits(0), ..*view }
    };
    let (before, after) = (views(&from), views(&to));
    assert_eq!(
        before.iter().map(undecided).collect::<Vec<_>>(),
        after.iter().map(undecided).collect::<Vec<_>>()
    );
    assert!(after.iter().all(|view| view.decision.epoch == Epoch(0)));
}

#[test]
fn connections_go_on_where_they_were() {
    let (to, _) = carried(&filled(), 100, SEEN + 10);
    let now = ticks(SEEN + 20);
    for packet in [
        tcp(1, ACK),
        answer(tcp(1, ACK)),
        answer(tcp(2, SYN_ACK)),
        answer(udp(3)),
        answer(icmp(4, IcmpRole::Reply)),
    ] {
        assert!(matches!(to.track(&packet, now), Track::Known(_)), "{packet:?}");
    }
    let mut reset = tcp(1, TcpFlags::RST);
    let Transport::Tcp(segment) = &mut reset.transport else { unreachable!() };
    segment.sequence = 0x7fff_0000;
    // Only with what the tracker keeps can it be told that this one is outside of the window.
    assert_eq!(to.track(&reset, now), Track::Refused(Refusal::TcpInvalid));
    let state = to.find(&reset.tuple).unwrap().0.state.name();
    assert_eq!(state, "ESTABLISHED", "a reset out of the window ends nothing");
}

#[test]
fn what_has_expired_or_has_no_room_stays_behind() {
    let from = filled();
    // SCTP's 3 s have passed; UDP's 30 s and the echoes' have not.
    let (to, taken) = carried(&from, 100, SEEN + 4_000);
    assert_eq!(taken.iter().filter(|taken| **taken == Err(ImportError::Expired)).count(), 1);
    assert_eq!(to.len(), 6);
    // Twice the same: the flow that is there stays.
    let again = from.export().next().unwrap();
    assert!(matches!(to.import(&again, ticks(SEEN)), Err(ImportError::Exists(_))));

    let from = table(100);
    (0..20).for_each(|flow| establish(&from, flow, ticks(SEEN)));
    let (to, taken) = carried(&from, 8, SEEN);
    assert_eq!(taken.iter().filter(|taken| **taken == Err(ImportError::Full)).count(), 12);
    assert_eq!((to.len(), to.stats().full), (8, 12));
}

#[test]
fn bytes_that_are_no_flow_are_refused() {
    let flow = filled().export().find(|flow| flow.to_bytes()[36] == 6).unwrap();
    let with = |at: usize, value: u8| {
        let mut bytes = flow.to_bytes();
        bytes[at] = value;
        ExportedFlow::from_bytes(&bytes)
    };
    assert_eq!(with(0, 9).map(|flow| flow.to_bytes().len()), Ok(EXPORT_LEN_BYTES));
    for state in [9, 31, 32, 64, 255] {
        assert_eq!(with(37, state), Err(MalformedFlow::State { protocol: 6, state }));
    }
    for (at, value) in [(38, 8), (39, 1), (46, 1), (47, 1), (128, 1), (151, 1)] {
        assert_eq!(with(at, value), Err(MalformedFlow::Reserved));
    }
    assert_eq!(with(55, 0xff), Err(MalformedFlow::Times));
}
