//! Tests that run a few threads through many orders of their accesses to one table.
//!
//! `cargo test -p podgate-flowtable --features interleavings interleavings`; `PODGATE_INTERLEAVINGS`
//! is the number of orders tried for each test, half at random and half with few preemptions. A
//! failing order is printed in a form that `shuttle::replay` takes.

use std::sync::Arc;
use std::time::Duration;

use shuttle::scheduler::{PctScheduler, RandomScheduler};
use shuttle::{Config as Orders, MaxSteps, Runner, thread};

use crate::sync::{AtomicU64, Ordering};
use crate::{
    Addr, Config, Decision, Epoch, ExpiryCursor, FlowState, FlowTable, FlowView, HashSecret, IpProtocol,
    OpenError, Packet, Quota, Rewrite, Target, TcpFlags, TcpSegment, Time, Timeouts, Track, Transport, Tuple,
    Usage, Way,
};

const OWNERS: u16 = 4;
const LEN_BYTES: u32 = 60;
const NOW: Time = Time::from_nanos(1 << 40);

fn explore(threads: impl Fn() + Send + Sync + 'static) {
    let orders = std::env::var("PODGATE_INTERLEAVINGS").ok().and_then(|orders| orders.parse().ok());
    let half = orders.unwrap_or(2000usize) / 2;
    let mut config = Orders::new();
    // Threads that wait for each other for ever get here.
    config.max_steps = MaxSteps::FailAfter(20_000);
    let threads = Arc::new(threads);
    let same = Arc::clone(&threads);
    Runner::new(RandomScheduler::new(half), config.clone()).run(move || same());
    Runner::new(PctScheduler::new(3, half), config).run(move || threads());
}

fn table(capacity: usize) -> Arc<FlowTable> {
    table_until(capacity, Time::default())
}

fn table_until(capacity: usize, pickup_until: Time) -> Arc<FlowTable> {
    let config = Config { capacity, secret: HashSecret([1, 2]), timeouts: Timeouts::default(), pickup_until };
    Arc::new(FlowTable::new(config).unwrap().with_quota(Quota { flows: 9, half_open: 9 }))
}

fn decision(number: u32) -> Decision {
    Decision {
        epoch: Epoch(number),
        egress: number + 1,
        ingress: number + 2,
        way: Way::Bridge,
        owner: number as u16 % OWNERS,
    }
}

fn udp(flow: u16) -> Packet {
    let tuple = Tuple {
        source: Addr::from_v4([10, 0, 0, 1]),
        destination: Addr::from_v4([10, 0, 0, 2]),
        source_port: flow,
        destination_port: 53,
        protocol: IpProtocol::UDP,
    };
    Packet { tuple, transport: Transport::Udp, len_bytes: LEN_BYTES }
}

fn tcp(flow: u16, flags: TcpFlags) -> Packet {
    let Packet { tuple, len_bytes, .. } = udp(flow);
    let segment = TcpSegment { flags, window: 1000, ..TcpSegment::default() };
    let tuple = Tuple { protocol: IpProtocol::TCP, ..tuple };
    Packet { tuple, transport: Transport::Tcp(segment), len_bytes }
}

fn together(threads: Vec<Box<dyn FnOnce() + Send>>) {
    let running: Vec<_> = threads.into_iter().map(thread::spawn).collect();
    for thread in running {
        thread.join().unwrap();
    }
}

macro_rules! threads {
    ($table:ident; $($body:expr),+ $(,)?) => {
        together(vec![$({ let $table = Arc::clone(&$table); Box::new(move || { $body; }) }),+])
    };
}

fn assert_whole(view: &FlowView) {
    assert_eq!(view.bytes, view.packets.map(|packets| packets * u64::from(LEN_BYTES)), "{view:?}");
    assert_eq!(view.decision, decision(view.decision.epoch.0), "{view:?}");
}

/// Every flow is in the table once, found, and accounted for.
fn assert_balanced(table: &FlowTable) {
    let stats = table.stats();
    let ended = stats.expired + stats.removed + stats.evicted + stats.reopened;
    assert_eq!(stats.opened, table.len() as u64 + ended, "{stats:?}");
    let views: Vec<_> = table.views().collect();
    assert_eq!(views.len(), table.len());
    let tagged: u32 = table.buckets.iter().map(|bucket| bucket.occupied().size()).sum();
    assert_eq!(tagged as usize, table.len());
    for owner in 0..OWNERS {
        let counts = |view: &FlowView| view.state != FlowState::Denied;
        let of_owner = |view: &&FlowView| view.decision.owner == owner && counts(view);
        let own: Vec<_> = views.iter().filter(of_owner).collect();
        let half_open = own.iter().filter(|view| view.state.is_half_open()).count() as u32;
        assert_eq!(table.usage(owner), Usage { flows: own.len() as u32, half_open });
    }
    for view in &views {
        assert_whole(view);
        assert_eq!(table.find(&view.original).map(|found| found.0), Some(*view));
    }
}

#[test]
fn a_view_is_of_one_moment() {
    explore(|| {
        let table = table(1);
        let id = table.open(&udp(1), decision(1), NOW).unwrap();
        threads!(table;
            assert!(matches!(table.track(&udp(1), NOW), Track::Known(_))),
            assert!(table.redecide(id, decision(70))),
            {
                let (view, _) = table.find(&udp(1).tuple).unwrap();
                assert_whole(&view);
                table.views().for_each(|view| assert_whole(&view));
            },
        );
        assert_balanced(&table);
        assert_eq!(table.views().next().unwrap().packets, [2, 0]);
    });
}

#[test]
fn no_packet_finds_the_flow_that_took_the_slot() {
    explore(|| {
        let table = table(1);
        let id = table.open(&udp(1), decision(1), NOW).unwrap();
        threads!(table;
            {
                assert!(table.remove(id));
                table.open(&udp(2), decision(2), NOW).unwrap();
            },
            if let Track::Known(known) = table.track(&udp(1), NOW) {
                assert_eq!((known.original, known.decision), (udp(1).tuple, decision(1)));
            },
            if let Some((view, _)) = table.find(&udp(1).tuple) {
                assert_eq!((view.id, view.original, view.decision), (id, udp(1).tuple, decision(1)));
            },
        );
        assert_balanced(&table);
        assert_eq!(table.find(&udp(2).tuple).unwrap().0.packets, [1, 0]);
    });
}

#[test]
fn one_of_two_opens() {
    explore(|| {
        let table = table(2);
        let open = |table: &FlowTable, number| match table.open(&udp(1), decision(number), NOW) {
            Ok(_) => {}
            Err(OpenError::Exists(id)) => assert_eq!(table.find(&udp(1).tuple).unwrap().0.id, id),
            Err(error) => panic!("{error}"),
        };
        threads!(table; open(&table, 1), open(&table, 2), open(&table, 3));
        assert_balanced(&table);
        assert_eq!((table.len(), table.stats().opened), (1, 1));
    });
}

#[test]
fn two_flows_in_the_same_buckets_do_not_wait_for_each_other() {
    explore(|| {
        // Two buckets, and flows whose first one is the other's second.
        let table = table(40);
        let place = |flow| table.place(&crate::key::Key::of_packet(&udp(flow)).0).buckets;
        let up = (1..99).find(|&flow| place(flow) == [0, 1]).unwrap();
        let down = (1..99).find(|&flow| place(flow) == [1, 0]).unwrap();
        threads!(table;
            table.open(&udp(up), decision(1), NOW).unwrap(),
            table.open(&udp(down), decision(2), NOW).unwrap(),
        );
        assert_balanced(&table);
        assert_eq!(table.len(), 2);
    });
}

#[test]
fn a_flow_ends_once_whoever_ends_it() {
    explore(|| {
        let table = table(1);
        let id = table.open(&udp(1), decision(1), NOW).unwrap();
        let later = NOW.after(Duration::from_secs(31));
        threads!(table;
            table.expire(&mut ExpiryCursor::default(), later, usize::MAX),
            // Evicts, or finds that somebody else has made room.
            table.open(&udp(2), decision(2), later).unwrap(),
            table.remove(id),
            table.track(&udp(1), later),
            table.redecide(id, decision(3)),
        );
        assert_balanced(&table);
        assert_eq!((table.len(), table.stats().opened), (1, 2));
    });
}

#[test]
fn a_flow_and_its_other_name_come_and_go_together() {
    const BECOMES: Target = Target { addr: Addr::from_v4([10, 0, 0, 3]), port: 5353 };
    explore(|| {
        let mut real = udp(1);
        (real.tuple.destination, real.tuple.destination_port) = (BECOMES.addr, BECOMES.port);
        let table = table(40);
        let open = |table: &FlowTable, number| match table.open_translated(
            &udp(1),
            BECOMES,
            udp(1).tuple.source_port,
            decision(number),
            NOW,
        ) {
            Ok(_) | Err(OpenError::Exists(_)) => {}
            Err(error) => panic!("{error}"),
        };
        threads!(table;
            open(&table, 1),
            open(&table, 2),
            {
                if let Track::Known(known) = table.track(&udp(1), NOW) {
                    assert_eq!(known.original, real.tuple);
                    assert!(matches!(table.rewrite(&known), None | Some(Rewrite::Destination { .. })));
                    table.remove(known.id);
                }
                table.expire(&mut ExpiryCursor::default(), NOW, usize::MAX);
            },
        );
        // Without a flow the name is stale, and goes when it is met.
        table.track(&udp(1), NOW);
        let names = table.entries.iter().filter(|entry| entry.alias().is_some()).count();
        let tagged: u32 = table.buckets.iter().map(|bucket| bucket.occupied().size()).sum();
        assert_eq!((names, tagged as usize), (table.len(), 2 * table.len()));
        assert_eq!(
            table.find(&udp(1).tuple).map(|found| found.0.id),
            table.find(&real.tuple).map(|found| found.0.id)
        );
        for view in table.views() {
            assert!(table.remove(view.id));
        }
        table.expire(&mut ExpiryCursor::default(), NOW, usize::MAX);
        assert!(table.is_empty() && table.reserved() == 0);
        assert_eq!(table.usage(1), Usage::default());
    });
}

#[test]
fn no_packet_finds_the_name_that_took_the_slot() {
    const BECOMES: Target = Target { addr: Addr::from_v4([10, 0, 0, 3]), port: 5353 };
    explore(|| {
        let table = table(2);
        // The first slot is for the translated flow, the second one for its other name.
        let ids = [1, 2].map(|flow| table.open(&udp(flow), decision(1), NOW).unwrap());
        threads!(table;
            match table.track(&udp(2), NOW) {
                Track::Known(known) => assert_eq!(known.original, udp(2).tuple),
                other => assert_eq!(other, Track::MayOpen),
            },
            if let Some((view, _)) = table.find(&udp(2).tuple) {
                assert_eq!(view.original, udp(2).tuple);
            },
            {
                assert!(ids.into_iter().all(|id| table.remove(id)));
                table.open_translated(&udp(3), BECOMES, udp(3).tuple.source_port, decision(2), NOW).unwrap();
            },
        );
        let packets: Vec<_> = table.views().map(|view| view.packets).collect();
        assert_eq!(packets, [[1, 0]], "of no other flow");
    });
}

#[test]
fn a_flow_is_cut_once_and_stays_so_for_its_segments() {
    explore(|| {
        let table = table_until(2, NOW.after(Duration::from_secs(1)));
        let id = table.open(&tcp(1, TcpFlags::SYN), decision(1), NOW).unwrap();
        let cuts = Arc::new(AtomicU64::new(0));
        let cut = |number: u32| {
            let (table, cuts) = (Arc::clone(&table), Arc::clone(&cuts));
            move || _ = cuts.fetch_add(u64::from(table.cut(id, decision(number), NOW)), Ordering::Relaxed)
        };
        let segments = {
            let table = Arc::clone(&table);
            move || {
                // The SYN again; once it is refused, it stays so, whatever else is under way.
                let answers = [0; 3].map(|_| table.track(&tcp(1, TcpFlags::SYN), NOW));
                let first = answers.iter().position(|answer| matches!(answer, Track::Denied(_)));
                let rest = &answers[first.unwrap_or(answers.len())..];
                assert!(rest.iter().all(|answer| matches!(answer, Track::Denied(_))), "{answers:?}");
            }
        };
        together(vec![Box::new(cut(2)), Box::new(cut(6)), Box::new(segments)]);
        assert_eq!(cuts.load(Ordering::Relaxed), 1);
        assert_balanced(&table);
        assert_eq!(table.views().next().unwrap().state, FlowState::Denied);
    });
}

#[test]
fn one_opens_in_place_of_what_was_cut() {
    explore(|| {
        let table = table_until(1, NOW.after(Duration::from_secs(1)));
        let id = table.open(&tcp(1, TcpFlags::SYN), decision(1), NOW).unwrap();
        let open = |table: &FlowTable, number| match table.open(&tcp(1, TcpFlags::SYN), decision(number), NOW)
        {
            Ok(_) | Err(OpenError::Exists(_)) => {}
            Err(error) => panic!("{error}"),
        };
        threads!(table;
            table.cut(id, decision(2), NOW),
            open(&table, 3),
            open(&table, 4),
            table.redecide(id, decision(5)),
        );
        assert_balanced(&table);
        assert_eq!(table.len(), 1);
        let stats = table.stats();
        assert_eq!(stats.opened, 1 + stats.reopened);
        assert!(stats.reopened <= 1, "{stats:?}");
    });
}
