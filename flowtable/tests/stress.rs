//! The table under many threads: nothing lost, nothing twice, nothing torn.

mod common;

use std::collections::HashSet;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;

use common::*;
use podgate_flowtable::{ExpiryCursor, FlowTable, FlowView, OpenError, Track};

const THREADS: u64 = 4;

/// A small generator (Steele et al., SplitMix64, 2014), so that a failing run can be run again.
struct Random(u64);

impl Random {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ self.0 >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ mixed >> 31) % limit
    }
}

/// What must hold in every view, however it was come by.
fn assert_whole(view: &FlowView) {
    assert_eq!(view.bytes, view.packets.map(|packets| packets * u64::from(LEN_BYTES)), "{view:?}");
    assert!(view.packets[0] + view.packets[1] >= 1, "{view:?}");
    // All of a decision comes from one number.
    assert_eq!(view.decision, decision(view.decision.epoch.0), "{view:?}");
    assert!(view.opened <= view.last_seen, "{view:?}");
}

fn assert_balanced(table: &FlowTable) {
    let stats = table.stats();
    let ended = stats.expired + stats.removed + stats.evicted + stats.reopened;
    assert_eq!(stats.opened, table.len() as u64 + ended, "{stats:?}");
    let views: Vec<_> = table.views().collect();
    let originals: HashSet<_> = views.iter().map(|view| view.original).collect();
    assert_eq!((views.len(), originals.len()), (table.len(), table.len()));
    assert!(originals.iter().all(|original| !originals.contains(&original.reversed())));
    for view in &views {
        assert_whole(view);
        assert_eq!(table.find(&view.original).map(|found| found.0), Some(*view));
    }
}

#[test]
fn every_packet_is_counted_once_and_every_flow_opened_once() {
    // Few flows, so that threads meet on them.
    const FLOWS: u64 = 5;
    const PACKETS: u64 = 300_000;
    let table = table(FLOWS as usize);
    let opened = AtomicU64::new(0);
    thread::scope(|scope| {
        for thread in 0..THREADS {
            let (table, opened) = (&table, &opened);
            scope.spawn(move || {
                let mut random = Random(thread);
                for step in 0..PACKETS {
                    if step % 16 == 0 {
                        table.find(&udp(0).tuple).iter().for_each(|(view, _)| assert_whole(view));
                    }
                    let packet = udp(random.below(FLOWS) as u32);
                    let packet = if random.below(2) == 0 { packet } else { answer(packet) };
                    // Whoever loses the race to open sends the packet through the winner's flow.
                    while table.track(&packet, ticks(step / 100)) == Track::MayOpen {
                        match table.open(&packet, decision(thread as u32), ticks(step / 100)) {
                            Ok(_) => {
                                opened.fetch_add(1, Ordering::Relaxed);
                                break;
                            }
                            Err(OpenError::Exists(_)) => {}
                            Err(error) => panic!("{error}"),
                        }
                    }
                }
            });
        }
    });
    assert_eq!((table.len() as u64, opened.into_inner()), (FLOWS, FLOWS));
    assert_balanced(&table);
    let packets: u64 = table.views().map(|view| view.packets[0] + view.packets[1]).sum();
    assert_eq!(packets, THREADS * PACKETS);
}

#[test]
fn churn_in_a_table_too_small_keeps_every_view_whole() {
    const FLOWS: u64 = 400;
    const STEPS: u64 = 60_000;
    let table = table(100);
    let (opened, removed, full) = (AtomicU64::new(0), AtomicU64::new(0), AtomicU64::new(0));
    let expired = AtomicU64::new(0);
    let over = AtomicBool::new(false);
    thread::scope(|scope| {
        let workers: Vec<_> = (0..THREADS)
            .map(|thread| {
                let (table, opened, removed, full, expired) = (&table, &opened, &removed, &full, &expired);
                scope.spawn(move || {
                    let mut random = Random(1000 + thread);
                    let mut ids = [None; 64];
                    let mut cursor = ExpiryCursor::default();
                    for step in 0..STEPS {
                        let now = ticks(step * 10);
                        let flow = random.below(FLOWS) as u32;
                        let kinds =
                            [tcp(flow, SYN), answer(tcp(flow, SYN_ACK)), tcp(flow, ACK), tcp(flow, RST_ACK)];
                        let packet = kinds[random.below(16) as usize % 5 % 4];
                        match table.track(&packet, now) {
                            Track::Known(known) => assert_eq!(known.original, tcp(flow, SYN).tuple),
                            Track::MayOpen => match table.open(&packet, decision(flow), now) {
                                Ok(id) => {
                                    opened.fetch_add(1, Ordering::Relaxed);
                                    ids[random.below(64) as usize] = Some(id);
                                    // Enough of them get established to fill the table for good.
                                    table.track(&answer(tcp(flow, SYN_ACK)), now);
                                    table.track(&tcp(flow, ACK), now);
                                }
                                Err(OpenError::Full) => {
                                    full.fetch_add(1, Ordering::Relaxed);
                                }
                                Err(OpenError::Exists(_)) => {}
                                Err(error) => panic!("{error}"),
                            },
                            // Nothing is taken up in the middle here: what is cut is gone.
                            Track::Denied(known) => panic!("{known:?}"),
                            Track::Refused(_) => {}
                        }
                        if let Some(id) = ids[random.below(64) as usize] {
                            match random.below(8) {
                                0 => {
                                    removed.fetch_add(u64::from(table.remove(id)), Ordering::Relaxed);
                                }
                                1 => {
                                    let is_cut = table.cut(id, decision(flow), now);
                                    removed.fetch_add(u64::from(is_cut), Ordering::Relaxed);
                                }
                                2 => {
                                    table.redecide(id, decision(random.below(5000) as u32));
                                }
                                _ => {}
                            }
                        }
                        if step % 64 == 0 {
                            let found = table.expire(&mut cursor, now, 50);
                            expired.fetch_add(found as u64, Ordering::Relaxed);
                        }
                        assert!(table.len() <= table.capacity());
                    }
                })
            })
            .collect();
        scope.spawn(|| {
            while !over.load(Ordering::Relaxed) {
                table.views().for_each(|view| assert_whole(&view));
                for flow in 0..FLOWS as u32 {
                    if let Some((view, _)) = table.find(&tcp(flow, SYN).tuple) {
                        assert_eq!(view.original, tcp(flow, SYN).tuple);
                        assert_whole(&view);
                    }
                }
                thread::yield_now();
            }
        });
        // The reader has to stop even if a worker failed.
        let outcomes: Vec<_> = workers.into_iter().map(thread::ScopedJoinHandle::join).collect();
        over.store(true, Ordering::Relaxed);
        for outcome in outcomes {
            outcome.unwrap();
        }
    });
    let stats = table.stats();
    assert_eq!(
        (stats.opened, stats.removed, stats.full),
        (opened.into_inner(), removed.into_inner(), full.into_inner())
    );
    assert!(stats.expired >= expired.into_inner());
    assert!(stats.evicted > 0 && stats.reopened > 0 && stats.removed > 0 && stats.full > 0, "{stats:?}");
    assert_balanced(&table);
}
