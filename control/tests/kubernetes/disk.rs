//! What is kept on disk for a restart while the server is away.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use podgate_control::source::{KubernetesOptions, SourceStatus, StateOrigin};
use serde_json::json;

use crate::fixture::{Api, NAMESPACES, PODS, POLICIES, names, pod, policy};

#[tokio::test]
async fn a_restart_while_the_server_is_away_uses_what_was_kept() {
    let mut api = Api::start().await;
    api.put(PODS, pod("a", "web"));
    let mut following = api.follow().await;
    following.next().await;
    let status = |status: &podgate_control::source::SourceStatus| status.saved.clone().unwrap();
    following.until_status("it is saved", |now| status(now).age_seconds.is_some()).await;
    let mode = fs::metadata(api.saved()).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode, 0o600);
    drop(following);
    api.end();

    let mut again = api.follow().await;
    let first = again.first().await.expect("it was kept");
    assert_eq!(names(&first.cluster), ["a"]);
    let now = again.status();
    assert_eq!((now.origin, now.synced), (StateOrigin::Disk, false));
    assert!(status(&now).age_seconds.is_some() && status(&now).error.is_none());
    again.nothing("the server is away").await;

    api.put(PODS, pod("b", "web"));
    api.serve().await;
    again.until("b is there", |cluster| names(cluster) == ["a", "b"]).await;
    again.until_status("it is live", SourceStatus::is_current).await;
}

#[tokio::test]
async fn what_cannot_be_used_is_kept_and_told_after_a_restart_too() {
    let mut api = Api::start().await;
    api.put(POLICIES, policy("p", &json!({"podSelector": {}})));
    let mut following = api.follow().await;
    following.next().await;
    let has = |text: &'static str| {
        let saved = api.saved();
        move |_: &_| {
            fs::read_to_string(&saved).is_ok_and(|kept| kept.contains("\"p\"") && kept.contains(text))
        }
    };
    following.until_status("it is saved", has("")).await;
    // The last good one stays in force: nothing changes but that it is not what there is.
    api.put(POLICIES, policy("p", &json!({"podSelector": {}, "later": []})));
    following.next().await;
    following.until_status("that is saved", has("later")).await;
    drop(following);
    api.end();
    let mut again = api.follow().await;
    assert_eq!(again.first().await.unwrap().cluster.policies().len(), 1);
    assert_eq!(again.status().troubles.len(), 1);

    // And mended as it was before.
    api.put(POLICIES, policy("p", &json!({"podSelector": {}})));
    api.serve().await;
    again.until_status("it is mended", |status| status.is_current() && status.troubles.is_empty()).await;
    let is_clean = |_: &_| fs::read_to_string(api.saved()).is_ok_and(|kept| !kept.contains("later"));
    again.until_status("that is saved, too", is_clean).await;
}

/// Guards come up before anything is known; they are not to wait for a server.
#[tokio::test]
async fn without_a_copy_there_is_no_first_state_to_wait_for() {
    let mut api = Api::start().await;
    api.end();
    let mut following = api.follow().await;
    assert!(following.first().await.is_none());
}

#[tokio::test]
async fn a_cluster_without_anything_is_a_state_too() {
    let mut api = Api::start().await;
    api.remove(NAMESPACES, "/x");
    let mut following = api.follow().await;
    following.next().await;
    following.until_status("it is saved", |_| api.saved().exists()).await;
    drop(following);
    api.end();
    let mut again = api.follow().await;
    assert_eq!(again.next().await.cluster.namespaces().len(), 0);
    assert_eq!(again.status().origin, StateOrigin::Disk);
}

#[tokio::test]
async fn a_change_is_saved_soon_after() {
    let api = Api::start().await;
    let mut following = api.follow().await;
    following.next().await;
    api.until_asked(PODS, 1, 1).await;
    api.put(PODS, pod("late", "web"));
    following.until("it is there", |cluster| names(cluster) == ["late"]).await;
    let is_saved = |_: &_| fs::read_to_string(api.saved()).is_ok_and(|text| text.contains("\"late\""));
    following.until_status("it is saved", is_saved).await;
}

#[tokio::test]
async fn a_damaged_copy_is_not_used_and_is_told() {
    let mut api = Api::away().await;
    fs::create_dir(api.saved().parent().unwrap()).unwrap();
    fs::write(api.saved(), "{\"podgate_objects\":1,\"server\":").unwrap();
    let mut following = api.follow().await;
    assert!(following.first().await.is_none());
    let status = following.status();
    assert_eq!(status.origin, StateOrigin::Nothing);
    let alarm = status.alarms().into_iter().find(|alarm| alarm.contains("objects.jsonl")).unwrap();
    assert!(alarm.contains("is damaged at line 1"), "{alarm}");
    following.nothing("nothing of it is used").await;
    api.serve().await;
    following.next().await;
    let mended = |status: &podgate_control::source::SourceStatus| {
        status.saved.as_ref().is_some_and(|saved| saved.error.is_none() && saved.age_seconds.is_some())
    };
    following.until_status("it is written anew", mended).await;
}

#[tokio::test]
async fn what_another_server_has_told_is_not_used_and_is_told() {
    let before = Api::start().await;
    before.put(PODS, pod("theirs", "web"));
    let mut following = before.follow().await;
    following.next().await;
    following.until_status("it is saved", |_| before.saved().exists()).await;
    drop(following);

    let mut api = Api::away().await;
    api.put(PODS, pod("ours", "web"));
    let options = KubernetesOptions { saved: before.saved(), ..api.options() };
    let mut following = api.follow_with(options).await;
    assert!(following.first().await.is_none());
    let status = following.status();
    assert_eq!(status.origin, StateOrigin::Nothing);
    let alarm = status.alarms().into_iter().find(|alarm| alarm.contains("objects.jsonl")).unwrap();
    for server in [before.url(), api.url()] {
        assert!(alarm.contains(&server), "{server}: {alarm}");
    }
    following.nothing("it may be another cluster's").await;
    api.serve().await;
    assert_eq!(names(&following.next().await.cluster), ["ours"]);
    let is_anew = |status: &SourceStatus| status.saved.as_ref().is_some_and(|saved| saved.error.is_none());
    following.until_status("it is written anew", is_anew).await;
    let text = fs::read_to_string(before.saved()).unwrap();
    assert!(text.contains("\"ours\"") && !text.contains("\"theirs\""), "{text}");
}
