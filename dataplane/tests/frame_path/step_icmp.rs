//! ICMP errors.

use podgate_dataplane::policy::Cause;
use podgate_dataplane::tag::Tag;
use podgate_dataplane::verdict::DropReason;

use crate::frames::{self, port};
use crate::world::{
    DB, DB_FROM_WEB, FREE, NODE_MAC, WEB, WEB_TO_DB, WEB_TO_OUTSIDE, World, from_pod, mac, secs, to_pod,
};

#[test]
fn an_error_goes_the_way_of_the_flow_it_is_about() {
    for (web, db, unreachable) in [("10.0.0.1", "10.0.0.2", 3), ("fd00::1", "fd00::2", 1)] {
        let world = World::new();
        let question = frames::udp((web, 40000), (db, 53), b"?");
        let error = frames::icmp_error(db, web, unreachable, &question);
        let outcome = world.send(&from_pod(DB, mac(WEB)).ip(&error));
        assert_eq!(outcome.dropped(DropReason::IcmpUnrelated).icmp_type, Some(unreachable));
        world.send(&from_pod(WEB, mac(DB)).ip(&question)).opened(
            Tag::to_pod(port(DB)),
            WEB_TO_DB,
            DB_FROM_WEB,
        );
        world.send(&from_pod(DB, mac(WEB)).ip(&error)).forwarded(Tag::to_pod(port(WEB)));
        world.send(&from_pod(DB, NODE_MAC).ip(&error)).forwarded(Tag::from_pod(port(DB)));
        // An error about the reply, from the one who asked.
        let reply = frames::udp((db, 53), (web, 40000), b"!");
        let about_reply = frames::icmp_error(web, db, unreachable, &reply);
        world.send(&from_pod(WEB, mac(DB)).ip(&about_reply)).forwarded(Tag::to_pod(port(DB)));
    }
}

#[test]
fn a_router_on_the_way_may_report_a_flow() {
    let world = World::new();
    let question = frames::udp(("10.0.0.1", 40000), ("8.8.8.8", 53), &[0; 64]);
    world.send(&from_pod(WEB, NODE_MAC).ip(&question)).opened(
        Tag::from_pod(port(WEB)),
        WEB_TO_OUTSIDE,
        Cause::NotLocal,
    );
    for icmp_type in [3, 4, 11, 12] {
        let error = frames::icmp_error("192.0.2.1", "10.0.0.1", icmp_type, &question);
        world.send(&to_pod(WEB).ip(&error)).forwarded(Tag::to_pod(port(WEB)));
    }
    // To web, but about what somebody else has sent.
    let not_webs = frames::udp(("10.0.0.3", 40000), ("8.8.8.8", 53), &[]);
    world.send(&from_pod(FREE, NODE_MAC).ip(&not_webs)).opened(
        Tag::from_pod(port(FREE)),
        Cause::NotIsolated,
        Cause::NotLocal,
    );
    let error = frames::icmp_error("192.0.2.1", "10.0.0.1", 3, &not_webs);
    world.send(&to_pod(WEB).ip(&error)).dropped(DropReason::IcmpUnrelated);
    // When the flow has been silent for too long, so has the right to talk about it.
    let late = frames::icmp_error("192.0.2.1", "10.0.0.1", 3, &question);
    world.send_at(&to_pod(WEB).ip(&late), secs(1000)).dropped(DropReason::IcmpUnrelated);
}

#[test]
fn a_pod_may_not_report_the_flows_of_others() {
    let world = World::new();
    let question = frames::udp(("10.0.0.1", 40000), ("10.0.0.2", 53), &[]);
    world.send(&from_pod(WEB, mac(DB)).ip(&question)).opened(Tag::to_pod(port(DB)), WEB_TO_DB, DB_FROM_WEB);
    let forged = frames::icmp_error("10.0.0.3", "10.0.0.1", 3, &question);
    world.send(&from_pod(FREE, mac(WEB)).ip(&forged)).dropped(DropReason::IcmpUnrelated);
}

#[test]
fn redirects_and_unknown_messages_are_dropped() {
    let world = World::new();
    let question = frames::udp(("10.0.0.1", 40000), ("10.0.0.2", 53), &[]);
    world.send(&from_pod(WEB, mac(DB)).ip(&question)).opened(Tag::to_pod(port(DB)), WEB_TO_DB, DB_FROM_WEB);
    for icmp_type in [5, 9, 10, 42] {
        let message = frames::icmp_error("10.0.0.254", "10.0.0.1", icmp_type, &question);
        world.send(&to_pod(WEB).ip(&message)).dropped(DropReason::IcmpUnrelated);
    }
    world
        .send(&to_pod(WEB).ip(&frames::query("fd00::fe", "fd00::1", 139, 1)))
        .dropped(DropReason::IcmpUnrelated);
}
