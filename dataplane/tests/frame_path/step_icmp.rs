//! ICMP errors.

use podgate_dataplane::policy::Cause;
use podgate_dataplane::tag::Tag;
use podgate_dataplane::verdict::DropReason;
use podgate_flowtable::FlowView;

use crate::frames::{self, port};
use crate::world::{
    DB, DB_FROM_OUTSIDE, DB_FROM_WEB, FREE, NODE_MAC, WEB, WEB_TO_DB, WEB_TO_OUTSIDE, World, from_pod, mac,
    secs, to_pod,
};

/// Addresses of web, db, a server outside and a router on the way to it; what says that a packet is too big.
struct Family {
    web: &'static str,
    db: &'static str,
    free: &'static str,
    outside: &'static str,
    router: &'static str,
    unreachable: u8,
    too_big: [u8; 2],
}

const V4: Family = Family {
    web: "10.0.0.1",
    db: "10.0.0.2",
    free: "10.0.0.3",
    outside: "8.8.8.8",
    router: "192.0.2.1",
    unreachable: 3,
    too_big: [3, 4],
};

const V6: Family = Family {
    web: "fd00::1",
    db: "fd00::2",
    free: "fd00::3",
    outside: "2001:db8:8::8",
    router: "2001:db8:1::1",
    unreachable: 1,
    too_big: [2, 0],
};

impl Family {
    /// From the router to the sender of `quoted`: "fragmentation needed" (RFC 1191, 4) or "packet too big"
    /// (RFC 4443, 3.2).
    fn too_big(&self, to: &str, quoted: &[u8]) -> Vec<u8> {
        let [icmp_type, code] = self.too_big;
        let mut error = frames::icmp_error(self.router, to, icmp_type, quoted);
        let message = error.len() - quoted.len() - 8;
        error[message + 1] = code;
        error[message + 6..message + 8].copy_from_slice(&1300_u16.to_be_bytes());
        error
    }
}

/// The IP header and 8 bytes: the least that an error quotes (RFC 792).
fn least_quote(packet: &[u8]) -> &[u8] {
    &packet[..packet.len() - frames::transport_of(packet).len() + 8]
}

#[test]
fn a_router_says_what_is_too_big_for_the_path() {
    for family in [V4, V6] {
        let world = World::new();
        let question = frames::udp((family.web, 40000), (family.outside, 53), &[0; 64]);
        let into_web = Tag::to_pod(port(WEB));
        world
            .send(&to_pod(WEB).ip(&family.too_big(family.web, &question)))
            .dropped(DropReason::IcmpUnrelated);
        world.send(&from_pod(WEB, NODE_MAC).ip(&question)).opened(
            Tag::from_pod(port(WEB)),
            WEB_TO_OUTSIDE,
            Cause::NotLocal,
        );
        // What opened the connection, in whole and cut; and the first fragment of a longer one.
        let longer = frames::udp((family.web, 40000), (family.outside, 53), &[0; 128]);
        for quoted in [&question[..], least_quote(&question), &frames::fragment(&longer, 0, 48, 7)] {
            world.send(&to_pod(WEB).ip(&family.too_big(family.web, quoted))).forwarded(into_web);
        }

        // An answer of db's, on a connection that was opened outside.
        let syn = frames::syn((family.outside, 40000), (family.db, 5432));
        world.send(&to_pod(DB).ip(&syn)).opened(Tag::to_pod(port(DB)), Cause::NotLocal, DB_FROM_OUTSIDE);
        let answer = frames::tcp((family.db, 5432), (family.outside, 40000), |tcp| tcp.ack = true, &[0; 64]);
        for quoted in [&answer[..], least_quote(&answer)] {
            let error = family.too_big(family.db, quoted);
            world.send(&to_pod(DB).ip(&error)).forwarded(Tag::to_pod(port(DB)));
        }
        // db answers the outside with an error of its own.
        let error = frames::icmp_error(family.db, family.outside, family.unreachable, &syn);
        world.send(&from_pod(DB, NODE_MAC).ip(&error)).forwarded(Tag::from_pod(port(DB)));
    }
}

#[test]
fn an_error_leaves_its_flow_as_it_was() {
    for family in [V4, V6] {
        let world = World::new();
        let question = frames::udp((family.web, 40000), (family.outside, 53), &[0; 64]);
        world.send(&from_pod(WEB, NODE_MAC).ip(&question)).opened(
            Tag::from_pod(port(WEB)),
            WEB_TO_OUTSIDE,
            Cause::NotLocal,
        );
        let flows = |world: &World| world.flows.views().collect::<Vec<FlowView>>();
        let before = flows(&world);
        let error = to_pod(WEB).ip(&family.too_big(family.web, &question));
        for at in [11, 20, 40] {
            world.send_at(&error, secs(at)).forwarded(Tag::to_pod(port(WEB)));
        }
        assert_eq!(flows(&world), before);
        // 30 seconds after its last packet it is over, whatever was said about it.
        world.send_at(&error, secs(41)).dropped(DropReason::IcmpUnrelated);
    }
}

#[test]
fn a_quote_that_names_no_flow_is_no_leave_to_pass() {
    for family in [V4, V6] {
        let world = World::new();
        let question = frames::udp((family.web, 40000), (family.outside, 53), &[0; 64]);
        world.send(&from_pod(WEB, NODE_MAC).ip(&question)).opened(
            Tag::from_pod(port(WEB)),
            WEB_TO_OUTSIDE,
            Cause::NotLocal,
        );
        let about = |quoted: &[u8]| world.send(&to_pod(WEB).ip(&family.too_big(family.web, quoted)));
        let error = frames::icmp_error(family.web, family.outside, family.unreachable, &question);
        let other_port = frames::udp((family.web, 40001), (family.outside, 53), &[0; 64]);
        let backwards = frames::udp((family.outside, 53), (family.web, 40000), &[0; 64]);
        let later = frames::fragment(&question, 16, 48, 7);
        for quoted in [&error[..], least_quote(&error), &other_port, &backwards, &later] {
            about(quoted).dropped(DropReason::IcmpUnrelated);
        }
        for missing in 1..=8 {
            let quoted = least_quote(&question);
            about(&quoted[..quoted.len() - missing]).dropped(DropReason::BadTransport);
        }
        about(&[]).dropped(DropReason::BadTransport);
    }
}

/// Only what came to it may a pod report: neither what others have sent, nor what it has sent itself.
#[test]
fn a_pod_is_no_router() {
    for family in [V4, V6] {
        let world = World::new();
        let question = frames::udp((family.web, 40000), (family.outside, 53), &[0; 64]);
        world.send(&from_pod(WEB, NODE_MAC).ip(&question)).opened(
            Tag::from_pod(port(WEB)),
            WEB_TO_OUTSIDE,
            Cause::NotLocal,
        );
        for (pod, sender, victim) in [(FREE, family.free, WEB), (WEB, family.web, WEB)] {
            let [icmp_type, _] = family.too_big;
            let error = frames::icmp_error(sender, family.web, icmp_type, &question);
            world.send(&from_pod(pod, mac(victim)).ip(&error)).dropped(DropReason::IcmpUnrelated);
        }
        let router = from_pod(FREE, mac(WEB)).ip(&family.too_big(family.web, &question));
        world.send(&router).dropped(DropReason::SpoofedIp);
    }
}

#[test]
fn an_error_may_come_in_fragments() {
    for family in [V4, V6] {
        let world = World::new();
        let question = frames::udp((family.web, 40000), (family.outside, 53), &[0; 64]);
        world.send(&from_pod(WEB, NODE_MAC).ip(&question)).opened(
            Tag::from_pod(port(WEB)),
            WEB_TO_OUTSIDE,
            Cause::NotLocal,
        );
        let error = family.too_big(family.web, &question);
        let len = frames::transport_of(&error).len();
        let send = |start, end| world.send(&to_pod(WEB).ip(&frames::fragment(&error, start, end, 7)));
        // Where the quote is cut before its ports, nobody can tell.
        send(0, 24).dropped(DropReason::BadTransport);
        send(64, len).dropped(DropReason::FragmentWithoutFirst);
        send(0, 64).forwarded(Tag::to_pod(port(WEB)));
        send(64, len).forwarded(Tag::to_pod(port(WEB)));
    }
}

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
