//! Watches that break, lie, repeat themselves and say nothing.

use std::time::Duration;

use podgate_control::source::{KubernetesOptions, SourceStatus};

use crate::fixture::{Api, NAMESPACES, PODS, POLICIES, app, names, pod, policy};
use serde_json::json;

#[tokio::test]
async fn nothing_is_passed_on_while_the_initial_list_of_one_kind_is_slow() {
    let api = Api::start().await;
    api.put(PODS, pod("a", "web"));
    api.put(POLICIES, policy("p", &json!({"podSelector": {}})));
    api.hold(POLICIES);
    let mut following = api.follow().await;
    for path in [NAMESPACES, PODS] {
        api.until_asked(path, 1, 1).await;
    }
    following.nothing("all but the policies are known").await;
    assert!(!following.status().synced);
    api.release(POLICIES);
    let loaded = following.next().await;
    assert_eq!((names(&loaded.cluster), loaded.cluster.policies().len()), (vec!["a"], 1));
    let status = following.until_status("all is current", SourceStatus::is_current).await;
    assert!(status.last_contact_seconds.is_some());
}

#[tokio::test]
async fn an_event_410_gone_has_everything_listed_anew() {
    gone(false).await;
}

#[tokio::test]
async fn an_answer_410_gone_has_everything_listed_anew() {
    gone(true).await;
}

async fn gone(as_answer: bool) {
    let api = Api::start().await;
    api.put(PODS, pod("a", "web"));
    api.put(PODS, pod("b", "web"));
    let mut following = api.follow().await;
    assert_eq!(names(&following.next().await.cluster), ["a", "b"]);
    api.until_asked(PODS, 1, 1).await;
    // What happens while the watch is down is forgotten before it is asked for.
    api.refuse(PODS, Some(503));
    api.break_off(PODS, "");
    api.remove(PODS, "x/a");
    api.put(PODS, pod("c", "web"));
    api.compact(PODS, as_answer);
    api.refuse(PODS, None);
    let loaded = following.until("a is gone and c is there", |cluster| names(cluster) == ["b", "c"]).await;
    assert_eq!(loaded.cluster.namespaces().len(), 1);
    assert!(api.asked(PODS).0 >= 2, "listed anew");
    assert_eq!(api.asked(NAMESPACES).0, 1, "the others were not");
}

#[tokio::test]
async fn a_list_that_is_not_whole_is_not_what_there_is() {
    let api = Api::start().await;
    for name in ["a", "b"] {
        api.put(PODS, pod(name, "web"));
    }
    let mut following = api.follow().await;
    following.next().await;
    following.until_status("all is current", SourceStatus::is_current).await;
    api.until_asked(PODS, 1, 1).await;
    api.hold_second_page(PODS);
    api.refuse(PODS, Some(503));
    api.break_off(PODS, "");
    api.remove(PODS, "x/b");
    api.put(PODS, pod("c", "web"));
    api.compact(PODS, true);
    api.refuse(PODS, None);
    // One page has come by the time the next is asked for.
    api.until_asked(PODS, 3, 1).await;
    let status = following.status();
    assert_eq!((&status.away[..], &status.listed_anew[..]), (&[][..], &["pods".to_owned()][..]));
    assert!(status.synced && !status.is_current());
    let told = status.told().unwrap();
    assert!(
        told.contains("is listed anew (pods): what was read last stays in force until the list is whole"),
        "{told}"
    );
    assert_eq!(status.alarms(), [""; 0]);
    following.nothing("half a list is none").await;
    api.release(PODS);
    following.until("b is gone and c is there", |cluster| names(cluster) == ["a", "c"]).await;
    let status = following.until_status("all is current", SourceStatus::is_current).await;
    assert_eq!(status.listed_anew, [""; 0]);
}

#[tokio::test]
async fn a_watch_dropped_in_the_middle_of_a_line_misses_nothing() {
    let api = Api::start().await;
    api.put(PODS, pod("a", "web"));
    let mut following = api.follow().await;
    following.next().await;
    api.until_asked(PODS, 1, 1).await;
    api.refuse(PODS, Some(503));
    api.break_off(PODS, r#"{"type":"ADDED","object":{"metadata":{"namespace":"x","na"#);
    api.put(PODS, pod("b", "web"));
    api.refuse(PODS, None);
    following.until("b is there", |cluster| names(cluster) == ["a", "b"]).await;
    assert_eq!(api.asked(PODS).0, 1, "the watch was taken up where it had been");
}

#[tokio::test]
async fn a_watch_with_a_line_that_is_no_event_is_made_up_for_by_a_list() {
    let api = Api::start().await;
    let mut following = api.follow().await;
    following.next().await;
    api.until_asked(PODS, 1, 1).await;
    // The event of `a` is lost: in its place comes half of it, as if it were whole.
    api.send(PODS, "{\"type\":\"ADDED\",\"object\":{]}\n");
    api.change_silently(PODS, pod("a", "web"));
    following.until("a is there", |cluster| names(cluster) == ["a"]).await;
    assert!(api.asked(PODS).0 >= 2, "listed anew");
}

#[tokio::test]
async fn a_stalled_watch_is_noticed_and_taken_up_again() {
    let api = Api::start().await;
    api.stall(PODS, true);
    let options = KubernetesOptions { silence: Duration::from_millis(400), ..api.options() };
    let mut following = api.follow_with(options).await;
    following.next().await;
    api.until_asked(PODS, 1, 1).await;
    api.put(PODS, pod("a", "web"));
    api.stall(PODS, false);
    following.until("a is there", |cluster| names(cluster) == ["a"]).await;
}

#[tokio::test]
async fn events_that_come_twice_are_one() {
    let api = Api::start().await;
    let mut following = api.follow().await;
    following.next().await;
    api.until_asked(PODS, 1, 1).await;
    api.put(PODS, pod("a", "web"));
    following.until("a is there", |cluster| names(cluster) == ["a"]).await;
    let object = api.get(PODS, "x/a");
    for kind in ["ADDED", "MODIFIED"] {
        api.tell(PODS, kind, &object);
    }
    following.nothing("it was told before").await;
}

#[tokio::test]
async fn events_with_reordered_resource_versions_leave_the_newest_in_force() {
    let api = Api::start().await;
    let mut following = api.follow().await;
    following.next().await;
    api.until_asked(PODS, 1, 1).await;
    api.put(PODS, pod("a", "old"));
    following.until("a is there", |cluster| app(cluster, "a") == Some("old")).await;
    let old = api.get(PODS, "x/a");
    api.put(PODS, pod("a", "new"));
    following.until("a is new", |cluster| app(cluster, "a") == Some("new")).await;
    api.tell(PODS, "MODIFIED", &old);
    following.nothing("an older version of it").await;
    api.remove(PODS, "x/a");
    following.until("a is gone", |cluster| names(cluster).is_empty()).await;
    api.tell(PODS, "MODIFIED", &old);
    following.nothing("it is gone").await;
}

#[tokio::test]
async fn a_pod_that_is_told_before_its_namespace_waits_for_it() {
    let api = Api::start().await;
    let mut following = api.follow().await;
    following.next().await;
    api.until_asked(PODS, 1, 1).await;
    let mut early = pod("a", "web");
    early["metadata"]["namespace"] = json!("late");
    api.put(PODS, early);
    api.put(PODS, pod("b", "web"));
    let loaded = following.until("b is there", |cluster| names(cluster) == ["b"]).await;
    assert!(!loaded.cluster.namespaces().contains_key("late"), "no namespace is made up");
    api.put(NAMESPACES, json!({"metadata": {"name": "late", "labels": {"team": "late"}}}));
    following
        .until("both are there", |cluster| names(cluster) == ["a", "b"] || names(cluster) == ["b", "a"])
        .await;
}
