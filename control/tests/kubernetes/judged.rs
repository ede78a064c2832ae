//! Objects that nobody expected, and objects that cannot be used.

use podgate_control::source::Instead;
use serde_json::json;

use crate::fixture::{Api, ENDPOINTS, PODS, POLICIES, SERVICES, SLICES, names, pod, policy};

#[tokio::test]
async fn unknown_fields_of_objects_are_passed_over() {
    let api = Api::start().await;
    let mut strange = pod("a", "web");
    strange["metadata"]["later"] = json!({"a": [1]});
    strange["spec"]["later"] = json!(true);
    strange["status"]["later"] = json!(null);
    strange["later"] = json!(1.5);
    api.put(PODS, strange);
    let mut following = api.follow().await;
    assert_eq!(names(&following.next().await.cluster), ["a"]);
    assert_eq!(following.status().troubles, []);
}

#[tokio::test]
async fn unknown_fields_in_a_policy_isolate_its_pods_and_hold_nothing_else_back() {
    let api = Api::start().await;
    api.put(PODS, pod("a", "web"));
    let narrowed = json!({"podSelector": {"matchLabels": {"app": "web"}}, "policyTypes": ["Ingress"],
                          "ingress": [{"from": [{"podSelector": {}, "onlyWhen": "night"}]}]});
    api.put(POLICIES, policy("narrowed", &narrowed));
    api.put(POLICIES, policy("fine", &json!({"podSelector": {}, "ingress": [{}]})));
    let mut following = api.follow().await;
    let loaded = following.next().await;
    let held: Vec<_> = loaded.cluster.policies().values().map(|policy| policy.ingress.len()).collect();
    assert_eq!(held, [1, 0], "fine as it is, narrowed without its rule");
    let status = following.status();
    let trouble = &status.troubles[0];
    assert_eq!((trouble.name.as_str(), trouble.instead), ("narrowed", Instead::Isolated));
    assert!(trouble.uid.is_some());
    let alarm = status.alarms().into_iter().find(|alarm| alarm.contains("narrowed")).unwrap();
    assert!(alarm.starts_with("NetworkPolicy x/narrowed: spec.ingress[0].from[0].onlyWhen: "), "{alarm}");

    api.put(POLICIES, policy("narrowed", &json!({"podSelector": {}, "ingress": [{}, {}]})));
    following
        .until("it is mended", |cluster| cluster.policies().values().any(|policy| policy.ingress.len() == 2))
        .await;
    assert_eq!(following.status().troubles, []);
    api.put(POLICIES, policy("narrowed", &narrowed));
    let status = following.until_status("it is bad again", |status| !status.troubles.is_empty()).await;
    assert_eq!(status.troubles[0].instead, Instead::LastGood);
    // That it is not what there is any more is told to whoever waits for it, and kept on disk.
    let loaded = following.next().await;
    let held: Vec<_> = loaded.cluster.policies().values().map(|policy| policy.ingress.len()).collect();
    assert_eq!(held, [1, 2], "what it said before");
}

#[tokio::test]
async fn a_missing_discovery_group_has_endpoints_read_until_there_is_one() {
    let api = Api::start().await;
    api.has_slices(false);
    api.put(
        SERVICES,
        json!({"metadata": {"namespace": "x", "name": "web"},
                             "spec": {"clusterIP": "10.96.0.9", "ports": [{"port": 80}]}}),
    );
    api.put(
        ENDPOINTS,
        json!({"metadata": {"namespace": "x", "name": "web"},
                              "subsets": [{"addresses": [{"ip": "10.0.0.7"}], "ports": [{"port": 8080}]}]}),
    );
    let mut following = api.follow().await;
    let loaded = following.next().await;
    let slice = loaded.cluster.endpoint_slices().values().next().unwrap();
    assert_eq!((slice.service.to_string().as_str(), slice.ports[0].port), ("x/web", 8080));
    assert!(following.status().endpoints_fallback);
    assert_eq!(api.asked(SLICES), (0, 0));

    // The server becomes a newer one.
    api.until_asked(ENDPOINTS, 1, 1).await;
    api.put(SLICES, json!({"metadata": {"namespace": "x", "name": "web-1", "labels": {"kubernetes.io/service-name": "web"}},
                           "addressType": "IPv4", "endpoints": [{"addresses": ["10.0.0.8"]}], "ports": [{"port": 8081}]}));
    api.has_slices(true);
    api.refuse(ENDPOINTS, Some(500));
    api.break_off(ENDPOINTS, "");
    let loaded = following
        .until("the slice is used", |cluster| cluster.endpoint_slices().keys().any(|key| key.name == "web-1"))
        .await;
    assert_eq!(loaded.cluster.endpoint_slices().len(), 1, "in the place of the Endpoints");
    assert!(!following.status().endpoints_fallback);
}
