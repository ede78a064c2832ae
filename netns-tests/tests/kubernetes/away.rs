//! The API server is away: what was read last stays in force, and the status says so.

use std::time::Duration;

use nix::sys::signal::Signal;
use podgate_control::source::StateOrigin;
use podgate_netns_tests::{Gateway, Turn, wait_until};

use crate::scene::Scene;

const WITHIN: Duration = Duration::from_mins(1);
const ONLY_WEB: &str = "{podSelector: {matchLabels: {app: web}}}";
const ONLY_OTHERS: &str = "{namespaceSelector: {matchLabels: {team: other}}}";

#[track_caller]
fn until_away(gateway: &Gateway) {
    wait_until("the status says that the API server is away", WITHIN, || {
        gateway.instance.status().source.away.len() == 6
    });
}

#[track_caller]
fn until_current(gateway: &Gateway) {
    wait_until("the status says that all is current", WITHIN, || {
        gateway.instance.try_status().is_some_and(|status| status.source.is_current())
    });
}

#[track_caller]
fn holds(scene: &Scene, when: &str) {
    assert!(scene.reaches("shop/web"), "{when}");
    assert!(!scene.reaches("other/guest"), "{when}");
}

#[test]
fn a_restart_of_the_api_server_changes_nothing_until_something_does() {
    let _turn = Turn::shared();
    let mut scene = Scene::new();
    scene.admit_only("db", ONLY_WEB);
    let gateway = Gateway::of_api(&scene.node, &scene.api, &[]);
    scene.until_open("shop/web", "it is the peer");
    scene.api.end();
    until_away(&gateway);
    holds(&scene, "while it is away");
    let status = gateway.instance.status();
    assert!(status.source.synced && !status.source.is_current());
    assert!(
        status.alarms.iter().any(|alarm| alarm.contains("what was read last stays in force")),
        "{:?}",
        status.alarms
    );

    scene.api.launch(&scene.node.space);
    until_current(&gateway);
    holds(&scene, "once it is back");
    scene.admit_only("db", ONLY_OTHERS);
    scene.until_open("other/guest", "changes are followed again");
    scene.until_closed("shop/web", "changes are followed again");
}

#[test]
fn an_api_server_that_falls_silent_is_noticed_and_taken_up_again() {
    let _turn = Turn::shared();
    let scene = Scene::new();
    scene.admit_only("db", ONLY_WEB);
    let gateway = Gateway::of_api(&scene.node, &scene.api, &["--api-silence", "3s"]);
    scene.until_open("shop/web", "it is the peer");
    // No connection breaks: nothing comes any more.
    scene.api.cut_off(&scene.node.space);
    until_away(&gateway);
    holds(&scene, "while it is cut off");
    assert!(gateway.instance.status().source.last_contact_seconds > Some(3.0));
    scene.api.mend(&scene.node.space);
    scene.admit_only("db", ONLY_OTHERS);
    scene.until_open("other/guest", "changes are followed again");
    until_current(&gateway);
}

#[test]
fn a_gateway_restarted_while_the_api_server_is_away_enforces_the_last_state() {
    let _turn = Turn::shared();
    let mut scene = Scene::new();
    scene.admit_only("db", ONLY_WEB);
    let mut gateway = Gateway::of_api(&scene.node, &scene.api, &[]);
    scene.until_open("shop/web", "it is the peer");
    wait_until("the state is saved", WITHIN, || {
        std::fs::read_to_string(gateway.saved()).is_ok_and(|text| text.contains("\"NetworkPolicy\""))
    });
    scene.api.end();
    for signal in [Signal::SIGTERM, Signal::SIGKILL] {
        gateway.end(signal);
        gateway.launch();
        scene.until_open("shop/web", "the last state is in force");
        assert!(!scene.reaches("other/guest"), "the last state is in force");
        let source = gateway.instance.status().source;
        assert_eq!((source.origin, source.synced), (StateOrigin::Disk, false));
    }
    scene.api.launch(&scene.node.space);
    until_current(&gateway);
    holds(&scene, "once the API server is back");
}

#[test]
fn a_gateway_that_has_never_read_anything_lets_nothing_pass_until_it_has() {
    let _turn = Turn::shared();
    let mut scene = Scene::new();
    scene.admit_only("db", ONLY_WEB);
    scene.api.end();
    let mut gateway = Gateway::prepare_of_api(&scene.node, &scene.api, &[]);
    gateway.launch();
    wait_until("every port is guarded", WITHIN, || {
        gateway.instance.try_status().is_some_and(|status| status.ports.len() == scene.node.pods.len())
    });
    for from in ["shop/web", "other/guest"] {
        assert!(!scene.reaches(from), "nobody knows what may pass");
    }
    // Ports that come meanwhile make no policy out of nothing.
    scene.node.add("shop/late");
    wait_until("the new port is guarded", WITHIN, || {
        gateway.instance.status().ports.len() == scene.node.pods.len()
    });
    assert!(!scene.reaches("shop/late"), "nobody knows what may pass");
    let status = gateway.instance.status();
    assert_eq!((status.epoch, status.source.origin), (None, StateOrigin::Nothing));
    assert!(status.alarms.iter().any(|alarm| alarm.contains("nothing passes until")), "{:?}", status.alarms);
    scene.api.launch(&scene.node.space);
    scene.until_open("shop/web", "it has been read");
    assert!(!scene.reaches("other/guest"));
}

#[test]
fn a_damaged_copy_lets_nothing_pass_and_is_told() {
    let _turn = Turn::shared();
    let mut scene = Scene::new();
    scene.admit_only("db", ONLY_WEB);
    let mut gateway = Gateway::of_api(&scene.node, &scene.api, &[]);
    wait_until("the state is saved", WITHIN, || gateway.saved().exists());
    scene.api.end();
    gateway.end(Signal::SIGTERM);
    let half = std::fs::read(gateway.saved()).expect("it was saved");
    std::fs::write(gateway.saved(), &half[..half.len() / 2]).expect("a file");
    gateway.launch();
    wait_until("every port is guarded", WITHIN, || {
        gateway.instance.try_status().is_some_and(|status| status.ports.len() == scene.node.pods.len())
    });
    assert!(!scene.reaches("shop/web"), "nobody knows what may pass");
    let alarms = gateway.instance.status().alarms;
    assert!(
        alarms.iter().any(|alarm| alarm.contains("objects.jsonl") && alarm.contains("is damaged")),
        "{alarms:?}"
    );
}
