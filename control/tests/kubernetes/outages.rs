//! A server that is away, or says no.

use podgate_control::source::{SourceStatus, StateOrigin};

use crate::fixture::{Api, PODS, POLICIES, names, pod};

#[tokio::test]
async fn a_server_that_is_away_at_the_start_is_waited_for() {
    let mut api = Api::away().await;
    api.put(PODS, pod("a", "web"));
    let mut following = api.follow().await;
    let status = following.until_status("all kinds are away", |status| status.away.len() == 6).await;
    assert_eq!(
        (status.synced, status.origin, status.last_contact_seconds),
        (false, StateOrigin::Nothing, None)
    );
    assert!(status.away.iter().all(|away| !away.was_read && away.error.contains("refused")), "{status:#?}");
    api.serve().await;
    assert_eq!(names(&following.next().await.cluster), ["a"]);
    following.until_status("all is current", SourceStatus::is_current).await;
}

#[tokio::test]
async fn a_server_that_goes_away_leaves_what_was_read_in_force() {
    let mut api = Api::start().await;
    api.put(PODS, pod("a", "web"));
    let mut following = api.follow().await;
    following.next().await;
    api.until_asked(PODS, 1, 1).await;
    api.end();
    let status = following.until_status("pods are away", |status| status.away.len() == 6).await;
    assert_eq!((status.synced, status.origin), (true, StateOrigin::Live));
    assert!(status.away.iter().all(|away| away.was_read));
    following.nothing("it is away").await;
    // What is gone by the time it is back was never told.
    api.remove(PODS, "x/a");
    api.put(PODS, pod("b", "web"));
    api.compact(PODS, false);
    api.serve().await;
    following.until("b is there, a is not", |cluster| names(cluster) == ["b"]).await;
    following.until_status("all is current", SourceStatus::is_current).await;
}

#[tokio::test]
async fn a_403_for_one_resource_holds_everything_back_and_says_what_to_grant() {
    let api = Api::start().await;
    api.put(PODS, pod("a", "web"));
    api.refuse(POLICIES, Some(403));
    let mut following = api.follow().await;
    let status = following.until_status("policies are away", |status| !status.away.is_empty()).await;
    api.until_asked(PODS, 1, 1).await;
    following.nothing("without its policies a pod would be open").await;
    let [away] = &status.away[..] else { panic!("{status:#?}") };
    assert_eq!(away.resource, "networkpolicies.networking.k8s.io");
    assert!(away.error.contains("grant podgate's account get, list and watch"), "{}", away.error);
    api.refuse(POLICIES, None);
    assert_eq!(names(&following.next().await.cluster), ["a"]);

    // Taken back later, what was read last stays.
    api.until_asked(POLICIES, 2, 1).await;
    api.refuse(POLICIES, Some(403));
    api.break_off(POLICIES, "");
    following.until_status("policies are away again", |status| !status.away.is_empty()).await;
    api.put(PODS, pod("b", "web"));
    following.until("pods are followed", |cluster| names(cluster) == ["a", "b"]).await;
}

#[tokio::test]
async fn answers_500_are_tried_again() {
    let api = Api::start().await;
    api.refuse(PODS, Some(500));
    let mut following = api.follow().await;
    api.until_asked(PODS, 3, 0).await;
    api.refuse(PODS, None);
    following.next().await;
}
