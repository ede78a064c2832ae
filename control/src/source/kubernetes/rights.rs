//! What the service account in `deploy/` may do is what is done here.

use std::collections::BTreeSet;
use std::path::Path;

use serde::Deserialize;

use super::kind::Kind;

#[derive(Deserialize)]
struct ClusterRole {
    rules: Vec<Rule>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Rule {
    api_groups: Vec<String>,
    resources: Vec<String>,
    verbs: Vec<String>,
}

#[test]
fn the_role_admits_what_is_read_and_the_events_that_are_written_and_nothing_else() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy/kustomize/base/clusterrole.yaml");
    let role: ClusterRole = serde_saphyr::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
    let mut rights = BTreeSet::new();
    for rule in role.rules {
        for group in &rule.api_groups {
            for resource in &rule.resources {
                let name = if group.is_empty() { resource.clone() } else { format!("{resource}.{group}") };
                rights.extend(rule.verbs.iter().map(|verb| format!("{verb} {name}")));
            }
        }
    }
    let mut needed: BTreeSet<String> = ["create events.events.k8s.io".to_owned()].into();
    for kind in Kind::ALL {
        needed.extend(["get", "list", "watch"].map(|verb| format!("{verb} {}", kind.resource())));
    }
    assert_eq!(rights, needed);
}
