//! Connections that policy cuts while others are taken up in the middle: db may open any to web, so what
//! db sends on one that web opened would pass as the opening of another.

use podgate_dataplane::events::EventKind;
use podgate_dataplane::policy::Cause;
use podgate_dataplane::snapshot::Switches;
use podgate_dataplane::step::{Recheck, recheck};
use podgate_dataplane::tag::Tag;
use podgate_dataplane::verdict::{Causes, DropReason, Verdict};
use podgate_flowtable::{FlowState, Time};

use crate::frames::{self, port};
use crate::world::{DB, DB_FROM_WEB, Outcome, WEB, WEB_TO_DB, World, from_pod, mac, policy, secs, snapshot};

const PICKUP_UNTIL: Time = Time::from_nanos(60_000_000_000);
const FAMILIES: [(&str, &str); 2] = [("10.0.0.1", "10.0.0.2"), ("fd00::1", "fd00::2")];

/// web's connection to db, as frames.
struct Connection {
    web: (&'static str, u16),
    db: (&'static str, u16),
}

impl Connection {
    fn new((web, db): (&'static str, &'static str)) -> Self {
        Self { web: (web, 40000), db: (db, 5432) }
    }

    fn web_syn(&self) -> Vec<u8> {
        from_pod(WEB, mac(DB)).ip(&frames::syn(self.web, self.db))
    }

    fn db_syn(&self) -> Vec<u8> {
        from_pod(DB, mac(WEB)).ip(&frames::syn(self.db, self.web))
    }

    fn db_syn_ack(&self) -> Vec<u8> {
        let answers = |tcp: &mut etherparse::TcpHeader| {
            (tcp.syn, tcp.ack, tcp.acknowledgment_number) = (true, true, 1001);
        };
        from_pod(DB, mac(WEB)).ip(&frames::tcp(self.db, self.web, answers, &[]))
    }

    fn web_says(&self) -> Vec<u8> {
        let follows = |tcp: &mut etherparse::TcpHeader| {
            (tcp.ack, tcp.sequence_number, tcp.acknowledgment_number) = (true, 1001, 1001);
        };
        from_pod(WEB, mac(DB)).ip(&frames::tcp(self.web, self.db, follows, b"?"))
    }

    fn db_says(&self) -> Vec<u8> {
        let follows = |tcp: &mut etherparse::TcpHeader| {
            (tcp.ack, tcp.sequence_number, tcp.acknowledgment_number) = (true, 1001, 1002);
        };
        from_pod(DB, mac(WEB)).ip(&frames::tcp(self.db, self.web, follows, b"!"))
    }

    fn establish(&self, world: &World) {
        world.send(&self.web_syn()).opened(Tag::to_pod(port(DB)), WEB_TO_DB, DB_FROM_WEB);
        world.send(&self.db_syn_ack()).forwarded(Tag::to_pod(port(WEB)));
        world.send(&self.web_says()).forwarded(Tag::to_pod(port(DB)));
    }

    /// As it is right after policy has cut it at second 10, by a segment of its own.
    fn cut(&self) -> World {
        let mut world = World::picking_up(PICKUP_UNTIL);
        self.establish(&world);
        publish(&mut world, 2, true);
        assert_cut(&world.send(&self.db_says()));
        world
    }
}

fn publish(world: &mut World, epoch: u32, is_closed: bool) {
    world.snapshot = Some(snapshot(epoch, policy(is_closed), Switches::default()));
}

#[track_caller]
fn assert_cut(outcome: &Outcome) {
    assert_eq!(outcome.verdict, Verdict::Drop(DropReason::PolicyEgress));
    assert_eq!(outcome.counted.iter().filter(|(_, name, by)| name == "cut" && *by == 1).count(), 1);
    assert_eq!(outcome.events[0].kind, EventKind::FlowCut);
}

/// As web's to open, whoever has sent the frame.
#[track_caller]
fn assert_denied(connection: &Connection, outcome: &Outcome) {
    outcome.denied(DropReason::PolicyEgress, Cause::DefaultDeny, Cause::NotReached);
    let judged = outcome.events[0].tuple.unwrap();
    assert_eq!((judged.source_port, judged.destination_port), (connection.web.1, connection.db.1));
}

#[test]
fn a_cut_connection_does_not_come_back_the_other_way_round() {
    for family in FAMILIES {
        let connection = Connection::new(family);
        let world = connection.cut();
        for at in [10, 30, 59, 60, 70] {
            for frame in [connection.db_says(), connection.web_says(), connection.db_syn_ack()] {
                assert_denied(&connection, &world.send_at(&frame, secs(at)));
            }
        }
        // By now nothing is taken up in the middle any more.
        let late = world.send_at(&connection.db_says(), secs(71));
        assert_eq!(late.verdict, Verdict::Drop(DropReason::NoFlow));
        assert!(world.flows.is_empty());
    }
}

#[test]
fn a_silent_one_does_not_either_and_is_cut_at_once() {
    for family in FAMILIES {
        let connection = Connection::new(family);
        let mut world = World::picking_up(PICKUP_UNTIL);
        connection.establish(&world);
        publish(&mut world, 2, true);
        let look = |world: &World| {
            let view = world.flows.views().next().unwrap();
            recheck(&world.flows, world.snapshot.as_ref().unwrap(), &view, secs(10))
        };
        let causes = Causes { egress: Cause::DefaultDeny, ingress: Cause::NotReached };
        assert_eq!(look(&world), Recheck::Cut { reason: DropReason::PolicyEgress, causes });
        assert_eq!(look(&world), Recheck::Current);
        assert_denied(&connection, &world.send(&connection.db_says()));
        // Nor is it one of the live flows that a later change looks at.
        for (epoch, is_closed) in [(3, true), (4, false)] {
            publish(&mut world, epoch, is_closed);
            assert_eq!(look(&world), Recheck::Current);
        }
        assert_eq!(world.flows.views().next().unwrap().state, FlowState::Denied);
    }
}

#[test]
fn another_connection_on_its_ports_is_judged_as_any() {
    for family in FAMILIES {
        let connection = Connection::new(family);
        let world = connection.cut();
        let again = world.send(&connection.web_syn());
        again.denied(DropReason::PolicyEgress, Cause::DefaultDeny, Cause::NotReached);
        assert_denied(&connection, &world.send(&connection.db_says()));

        let outcome = world.send(&connection.db_syn());
        assert_eq!(outcome.verdict, Verdict::Forward(Tag::to_pod(port(WEB))));
        assert_eq!(outcome.events[0].kind, EventKind::FlowOpened);
        assert_eq!((outcome.flows, world.flows.stats().reopened), ([1, 1], 1));
        let flow = world.flows.views().next().unwrap();
        assert_eq!((flow.state.name(), flow.original.source_port), ("SYN_SENT", connection.db.1));
    }
}

#[test]
fn once_policy_allows_it_again_its_initiator_goes_on() {
    for family in FAMILIES {
        let connection = Connection::new(family);
        let mut world = connection.cut();
        publish(&mut world, 3, false);
        world.send(&connection.db_says()).dropped(DropReason::NoFlow);
        let outcome = world.send(&connection.web_says());
        // Taken up in the middle: it goes by the bridge.
        assert_eq!(outcome.verdict, Verdict::Forward(Tag::from_pod(port(WEB))));
        assert_eq!(outcome.flows, [1, 1]);
        world.send(&connection.db_says()).forwarded(Tag::from_pod(port(DB)));
        let flow = world.flows.views().next().unwrap();
        assert_eq!((flow.state.name(), flow.original.source_port), ("ESTABLISHED", connection.web.1));
    }
}

#[test]
fn an_older_snapshot_does_not_bring_it_back() {
    let connection = Connection::new(FAMILIES[0]);
    let mut world = connection.cut();
    publish(&mut world, 1, false);
    for frame in [connection.web_says(), connection.db_says()] {
        world.send(&frame).dropped(DropReason::NoFlow);
    }
}

#[test]
fn an_error_about_it_is_unrelated() {
    let connection = Connection::new(FAMILIES[0]);
    let world = connection.cut();
    let segment = frames::syn(connection.web, connection.db);
    let error = frames::icmp_error(connection.db.0, connection.web.0, 3, &segment);
    world.send(&from_pod(DB, mac(WEB)).ip(&error)).dropped(DropReason::IcmpUnrelated);
}

/// Nothing is taken up, so nothing has to be remembered.
#[test]
fn later_it_is_forgotten_at_once() {
    let connection = Connection::new(FAMILIES[0]);
    let mut world = World::new();
    connection.establish(&world);
    publish(&mut world, 2, true);
    assert_cut(&world.send(&connection.db_says()));
    assert!(world.flows.is_empty());
    world.send(&connection.db_says()).dropped(DropReason::NoFlow);
}
