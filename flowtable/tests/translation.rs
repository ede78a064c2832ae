//! Flows whose originator calls the other end by another address.

mod common;

use common::{ACK, SYN, SYN_ACK, answer, config, decision, packet, table, tcp, ticks, tuple, udp};
use podgate_flowtable::{
    Addr, Direction, ExpiryCursor, ExportedFlow, FlowTable, IpProtocol, Known, OpenError, Packet, Quota,
    Rewrite, Target, Timeouts, Track, Transport, Tuple, Usage,
};

/// The pod and port behind the address that clients know.
fn backend(number: u8) -> Target {
    Target { addr: Addr::from_v4([10, 9, 0, number]), port: 8080 }
}

/// `packet` as it is once it has been translated.
fn translated(packet: Packet, to: Target) -> Packet {
    let (destination, destination_port) = (to.addr, to.port);
    Packet { tuple: Tuple { destination, destination_port, ..packet.tuple }, ..packet }
}

fn service(flow: u32) -> Target {
    let Tuple { destination: addr, destination_port: port, .. } = tuple(flow, IpProtocol::UDP);
    Target { addr, port }
}

fn known(table: &FlowTable, packet: &Packet, at: u64) -> Known {
    match table.track(packet, ticks(at)) {
        Track::Known(known) => known,
        other => panic!("{packet:?}: {other:?}"),
    }
}

fn rewrite(table: &FlowTable, packet: &Packet, at: u64) -> Option<Rewrite> {
    table.rewrite(&known(table, packet, at))
}

/// What becomes of a packet of the originator's, which sends `packet`, on its way to `target`.
fn forth(packet: &Packet, target: Target) -> Rewrite {
    Rewrite::Destination { target, source_port: packet.tuple.source_port }
}

/// What becomes of what comes back to who sends `packet`.
fn back(packet: &Packet) -> Rewrite {
    let (called, destination_port) = (packet.tuple.destination(), packet.tuple.source_port);
    Rewrite::Source { called, destination_port }
}

#[test]
fn every_tuple_of_a_translated_flow_leads_to_it_and_says_what_to_rewrite() {
    let table = table(100);
    let asked = udp(1);
    assert_eq!(table.track(&asked, ticks(0)), Track::MayOpen);
    let id =
        table.open_translated(&asked, backend(1), asked.tuple.source_port, decision(7), ticks(0)).unwrap();
    let real = translated(asked, backend(1));
    // As the client sent it, as it comes to the backend, as the backend answers, as the client hears it.
    for (packet, direction, rewrite) in [
        (asked, Direction::Original, Some(forth(&asked, backend(1)))),
        (real, Direction::Original, None),
        (answer(real), Direction::Reply, Some(back(&asked))),
        (answer(asked), Direction::Reply, None),
    ] {
        let known = known(&table, &packet, 1);
        assert_eq!(
            (known.id, known.direction, table.rewrite(&known)),
            (id, direction, rewrite),
            "{packet:?}"
        );
        assert_eq!((known.original, known.decision), (real.tuple, decision(7)));
    }
    // One flow, though it takes two slots; it has counted every packet.
    assert_eq!((table.len(), table.stats().opened), (1, 1));
    let views: Vec<_> = table.views().collect();
    assert_eq!(views.len(), 1);
    assert_eq!((views[0].original, views[0].called), (real.tuple, Some(service(1))));
    assert_eq!(views[0].packets, [3, 2]);
    for (tuple, direction) in [
        (asked.tuple, Direction::Original),
        (real.tuple, Direction::Original),
        (real.tuple.reversed(), Direction::Reply),
        (asked.tuple.reversed(), Direction::Reply),
    ] {
        assert_eq!(table.find(&tuple), Some((views[0], direction)));
    }
}

#[test]
fn a_flow_without_another_name_says_nothing_of_rewriting() {
    let table = table(100);
    table.open(&udp(1), decision(1), ticks(0)).unwrap();
    for packet in [udp(1), answer(udp(1))] {
        assert_eq!(rewrite(&table, &packet, 1), None);
    }
    assert_eq!(table.views().next().unwrap().called, None);
}

#[test]
fn both_names_end_with_the_flow() {
    for ends in ["removed", "expired", "swept"] {
        let table = table(100);
        let real = translated(udp(1), backend(1));
        let id = table
            .open_translated(&udp(1), backend(1), udp(1).tuple.source_port, decision(1), ticks(0))
            .unwrap();
        let late = ticks(common::in_ticks(Timeouts::default().udp_unreplied) + 2);
        let now = match ends {
            "removed" => {
                assert!(table.remove(id));
                ticks(1)
            }
            "expired" => late,
            _ => {
                assert_eq!(table.expire(&mut ExpiryCursor::default(), late, usize::MAX), 1);
                late
            }
        };
        assert_eq!(table.track(&udp(1), now), Track::MayOpen, "{ends}");
        assert_eq!(table.track(&real, now), Track::MayOpen);
        assert_eq!((table.len(), table.views().count()), (0, 0));
        assert_eq!(table.find(&udp(1).tuple), None);
        // Both slots are free: the same client may ask again, and gets another backend.
        let other =
            table.open_translated(&udp(1), backend(2), udp(1).tuple.source_port, decision(2), now).unwrap();
        assert_ne!(id, other);
        assert_eq!(table.rewrite(&known_at(&table, &udp(1), now)), Some(forth(&udp(1), backend(2))));
        let stats = table.stats();
        assert_eq!((stats.opened, stats.expired + stats.removed, table.len()), (2, 1, 1));
    }
}

fn known_at(table: &FlowTable, packet: &Packet, now: podgate_flowtable::Time) -> Known {
    let Track::Known(known) = table.track(packet, now) else { panic!("unknown") };
    known
}

#[test]
fn a_sweep_takes_names_away_whose_flows_are_gone() {
    // Of 40 slots in use each round, 20 are names: without a sweep of those the table would be full.
    let table = table(40);
    let timeout = common::in_ticks(Timeouts::default().udp_unreplied) + 2;
    for round in 0..20 {
        for flow in 0..20 {
            table
                .open_translated(
                    &udp(round * 20 + flow),
                    backend(1),
                    udp(round * 20 + flow).tuple.source_port,
                    decision(1),
                    ticks(u64::from(round) * timeout),
                )
                .unwrap();
        }
        let mut cursor = ExpiryCursor::default();
        let late = ticks(u64::from(round + 1) * timeout);
        assert_eq!(table.expire(&mut cursor, late, usize::MAX), 20);
        table.expire(&mut cursor, late, usize::MAX);
        assert!(table.is_empty());
    }
    let stats = table.stats();
    assert_eq!((stats.opened, stats.expired, stats.evicted, stats.full), (400, 400, 0, 0));
}

#[test]
fn a_connection_is_one_whatever_its_packets_are_called() {
    let table = table(100);
    let (asks, real) = (tcp(1, SYN), translated(tcp(1, SYN), backend(1)));
    table.open_translated(&asks, backend(1), asks.tuple.source_port, decision(1), ticks(0)).unwrap();
    known(&table, &answer(translated(tcp(1, SYN_ACK), backend(1))), 1);
    known(&table, &answer(tcp(1, SYN_ACK)), 1);
    known(&table, &tcp(1, ACK), 2);
    known(&table, &translated(tcp(1, ACK), backend(1)), 2);
    assert_eq!(table.find(&real.tuple).unwrap().0.state.name(), "ESTABLISHED");
    // Closed by an RST, a SYN by the other name opens a new one.
    let mut reset = tcp(1, common::RST_ACK);
    if let Transport::Tcp(segment) = &mut reset.transport {
        segment.sequence = 1;
    }
    known(&table, &reset, 3);
    assert_eq!(table.track(&asks, ticks(4)), Track::MayOpen);
    assert_eq!(table.stats().reopened, 1);
    table.open_translated(&asks, backend(2), asks.tuple.source_port, decision(2), ticks(4)).unwrap();
    assert_eq!(rewrite(&table, &asks, 5), Some(forth(&asks, backend(2))));
}

#[test]
fn a_name_is_given_once() {
    let table = table(100);
    let id =
        table.open_translated(&udp(1), backend(1), udp(1).tuple.source_port, decision(1), ticks(0)).unwrap();
    assert_eq!(
        table.open_translated(&udp(1), backend(1), udp(1).tuple.source_port, decision(1), ticks(0)),
        Err(OpenError::Exists(id))
    );
    assert_eq!(
        table.open_translated(&udp(1), backend(2), udp(1).tuple.source_port, decision(1), ticks(0)),
        Err(OpenError::Exists(id))
    );
    assert_eq!(table.open(&udp(1), decision(1), ticks(0)), Err(OpenError::Exists(id)));
    assert_eq!(table.len(), 1);
    // Nor to a flow that has the address for its own.
    let own = table.open(&udp(2), decision(1), ticks(0)).unwrap();
    assert_eq!(
        table.open_translated(&udp(2), backend(1), udp(2).tuple.source_port, decision(1), ticks(0)),
        Err(OpenError::Exists(own))
    );
    assert_eq!((table.len(), rewrite(&table, &udp(2), 1)), (2, None));
    assert_eq!(table.track(&translated(udp(2), backend(1)), ticks(1)), Track::MayOpen);
}

#[test]
fn a_full_table_records_neither_or_both() {
    let table = FlowTable::new(config(30)).unwrap().with_quota(Quota { flows: 1000, half_open: 1000 });
    for flow in 0..400 {
        let opened =
            table.open_translated(&udp(flow), backend(1), udp(flow).tuple.source_port, decision(3), ticks(0));
        let by_name = table.find(&udp(flow).tuple).is_some();
        let by_address = table.find(&translated(udp(flow), backend(1)).tuple).is_some();
        assert_eq!((by_name, by_address), (opened.is_ok(), opened.is_ok()), "{flow}: {opened:?}");
        assert!(table.len() <= 30);
    }
    let live = table.views().count();
    assert!(live > 0 && live <= 15, "{live} flows and their names in 30 slots");
    assert_eq!(table.len(), live);
    assert_eq!(table.usage(decision(3).owner), Usage { flows: live as u32, half_open: live as u32 });
    let stats = table.stats();
    assert_eq!(stats.opened, live as u64 + stats.expired + stats.removed + stats.evicted + stats.reopened);
}

#[test]
fn translated_flows_are_carried_over_with_their_names() {
    let from = table(100);
    from.open_translated(&udp(1), backend(1), udp(1).tuple.source_port, decision(1), ticks(0)).unwrap();
    from.open(&udp(2), decision(1), ticks(0)).unwrap();
    let to = table(100);
    for flow in from.export() {
        let flow = ExportedFlow::from_bytes(&flow.to_bytes()).unwrap();
        to.import(&flow, ticks(1)).unwrap();
    }
    assert_eq!(to.len(), 2);
    assert_eq!(rewrite(&to, &udp(1), 2), Some(forth(&udp(1), backend(1))));
    let answered = answer(translated(udp(1), backend(1)));
    assert_eq!(rewrite(&to, &answered, 2), Some(back(&udp(1))));
    assert_eq!(rewrite(&to, &answer(udp(2)), 2), None);
    // Without room for the name there is no flow either.
    let small = table(1);
    let mut results: Vec<_> = from.export().map(|flow| small.import(&flow, ticks(1)).is_ok()).collect();
    results.sort_unstable();
    assert_eq!(results, [false, true]);
    assert!(small.len() <= 1 && small.views().all(|view| view.called.is_none()));
}

#[test]
fn six_is_as_four() {
    let table = table(100);
    let tuple = Tuple {
        source: Addr::from_v6([0xfd; 16]),
        destination: Addr::from_v6([0xfe; 16]),
        source_port: 40000,
        destination_port: 53,
        protocol: IpProtocol::UDP,
    };
    let asked = packet(tuple, Transport::Udp);
    let becomes = Target { addr: Addr::from_v6([0xfc; 16]), port: 5353 };
    table.open_translated(&asked, becomes, asked.tuple.source_port, decision(1), ticks(0)).unwrap();
    assert_eq!(rewrite(&table, &asked, 1), Some(forth(&asked, becomes)));
    assert_eq!(rewrite(&table, &answer(translated(asked, becomes)), 1), Some(back(&asked)));
}

#[test]
fn an_originator_has_several_connections_to_one_end_from_one_port() {
    let from = table(100);
    let first = udp(1);
    let second = Packet { tuple: Tuple { destination_port: 81, ..first.tuple }, ..first };
    let own = first.tuple.source_port;
    from.open_translated(&first, backend(1), own, decision(1), ticks(0)).unwrap();
    let taken = from.open_translated(&second, backend(1), own, decision(1), ticks(0));
    assert!(matches!(taken, Err(OpenError::Exists(_))));
    from.open_translated(&second, backend(1), 50_000, decision(1), ticks(0)).unwrap();
    let real = translated(second, backend(1));
    let real = Packet { tuple: Tuple { source_port: 50_000, ..real.tuple }, ..real };
    let to = table(100);
    from.export().for_each(|flow| {
        let flow = ExportedFlow::from_bytes(&flow.to_bytes()).unwrap();
        to.import(&flow, ticks(1)).unwrap();
    });
    for table in [&from, &to] {
        let forth = Some(Rewrite::Destination { target: backend(1), source_port: 50_000 });
        assert_eq!(rewrite(table, &second, 2), forth);
        assert_eq!(rewrite(table, &answer(real), 2), Some(back(&second)));
        assert_eq!(rewrite(table, &answer(translated(first, backend(1))), 2), Some(back(&first)));
        let view = table.views().find(|view| view.original == real.tuple).unwrap();
        assert_eq!((view.called, view.calling_port), (Some(second.tuple.destination()), own));
        // By the name of the flow, its originator has another connection.
        assert!(known(table, &real, 2).is_called_otherwise);
        assert!(!known(table, &second, 2).is_called_otherwise);
        assert!(!known(table, &answer(real), 2).is_called_otherwise);
    }
}
