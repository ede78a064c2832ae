//! What an object says, or what is done without it.
//!
//! The server has judged every object once, so most that can be wrong never gets here: an object that was
//! stored before the server became stricter, or one of a server that knows more than podgate does. Fields
//! that podgate does not know mean nothing to it, but for those of a policy's `spec`: there they may
//! narrow what would be read too wide.

use super::super::manifest::{How, read_item};
use super::super::policy::selector;
use super::super::reader::Reader;
use super::super::syntax::Strictness;
use super::super::tree::{Map, Node, Value};
use super::super::{Object, Owner, Problem, SourceError, Workloads};
use super::endpoints::slices;
use super::kind::Kind;
use super::received::Received;
use crate::model::{NetworkPolicy, ObjectKey, PolicyTypes, Selector};
use crate::source::items::Implied;

/// As an API server holds objects.
const HOW: How = How { strictness: Strictness::Stored, workloads: Workloads::Ignored };

/// What was read of an object.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(super) struct Judged {
    /// What it is for policy: one object, none, or the slices of an Endpoints object.
    pub(super) objects: Vec<Object>,
    /// Its controller.
    pub(super) owner: Option<Owner>,
    /// What is wrong with it. If there is any, `objects` are not the whole.
    pub(super) problems: Vec<String>,
}

/// Reads an object.
pub(super) fn judge(kind: Kind, received: &Received) -> Judged {
    match (kind, received.tree.as_map()) {
        (Kind::Endpoints, Some(map)) => {
            let mut judged = Judged::default();
            for slice in slices(map) {
                let Judged { objects, problems, .. } = read(Kind::EndpointSlice, &slice);
                judged.objects.extend(objects);
                judged.problems.extend(problems);
            }
            judged
        }
        _ => read(kind, &received.tree),
    }
}

/// Reads one that is written as manifests are.
pub(super) fn read(kind: Kind, tree: &Node) -> Judged {
    let reading = read_item(tree, Implied::Kind((kind.api_version(), kind.name())), HOW);
    let mut judged = Judged::default();
    for manifest in reading.manifests {
        judged.objects.push(manifest.object);
        judged.owner = judged.owner.or(manifest.owner);
    }
    let counts = |error: &&SourceError| {
        let is_unknown = matches!(error.problem, Problem::UnknownField { .. });
        !is_unknown || (kind == Kind::NetworkPolicy && error.field.starts_with("spec"))
    };
    judged.problems = reading.errors.iter().filter(counts).map(told).collect();
    if judged.objects.iter().any(|object| kind_of(object) != Some(kind)) {
        judged.objects.clear();
        judged.problems.push(format!("it says that it is no {}", kind.name()));
    }
    judged
}

fn told(error: &SourceError) -> String {
    let SourceError { field, problem, .. } = error;
    let said = match problem {
        Problem::UnknownField { .. } => {
            "podgate does not know this field, which may narrow the policy (upgrade podgate, or remove it)"
                .into()
        }
        problem => format!("{problem} ({})", problem.remedy()),
    };
    if field.is_empty() { said } else { format!("{field}: {said}") }
}

/// The kind it was read as.
pub(super) fn kind_of(object: &Object) -> Option<Kind> {
    match object {
        Object::Namespace(_) => Some(Kind::Namespace),
        Object::Node(_) => Some(Kind::Node),
        Object::Pod(_) => Some(Kind::Pod),
        Object::NetworkPolicy(_) => Some(Kind::NetworkPolicy),
        Object::Service(_) => Some(Kind::Service),
        Object::EndpointSlice(_) => Some(Kind::EndpointSlice),
        Object::Workload(_) => None,
    }
}

/// What stands in for a policy that cannot be understood: it isolates the pods that it selects, as far as
/// that can be told, and allows nothing.
pub(super) fn isolating(key: ObjectKey, policy: &Received) -> NetworkPolicy {
    let spec = policy.tree.as_map().and_then(|map| map.find("spec")).and_then(Node::as_map);
    let field = |key| spec.and_then(|spec: &Map| spec.find(key)).map(|node| &node.value);
    let pod_selector =
        spec.and_then(|spec| spec.find("podSelector")).map_or_else(Selector::everything, |node| {
            let mut reader = Reader::new(Strictness::Stored);
            let read = selector(&mut reader, node);
            // Those of the whole namespace, where it cannot be told which.
            if reader.into_findings().is_empty() { read } else { Selector::everything() }
        });
    let has_egress = match field("egress") {
        None | Some(Value::Null) => false,
        Some(Value::List(rules)) => !rules.is_empty(),
        Some(_) => true,
    };
    let types = match field("policyTypes") {
        None | Some(Value::Null) => PolicyTypes { ingress: true, egress: has_egress },
        Some(Value::List(types)) if types.is_empty() => PolicyTypes { ingress: true, egress: has_egress },
        Some(Value::List(types)) => {
            let has = |name| types.iter().any(|node| node.as_text() == Some(name));
            let known = types.iter().all(|node| matches!(node.as_text(), Some("Ingress" | "Egress")));
            PolicyTypes { ingress: !known || has("Ingress"), egress: !known || has("Egress") }
        }
        Some(_) => PolicyTypes { ingress: true, egress: true },
    };
    NetworkPolicy { key, pod_selector, types, ingress: Vec::new(), egress: Vec::new() }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn received(value: serde_json::Value) -> Received {
        Received::of(value)
    }

    fn policy(spec: &serde_json::Value) -> Received {
        received(json!({"metadata": {"name": "p", "namespace": "x"}, "spec": spec}))
    }

    #[test]
    fn unknown_fields_mean_nothing_but_in_the_spec_of_a_policy() {
        let pod = received(json!({
            "apiVersion": "v1", "kind": "Pod", "later": 1,
            "metadata": {"name": "a", "namespace": "x", "later": {}},
            "spec": {"later": [], "containers": [{"ports": [{"containerPort": 80, "later": true}]}]},
            "status": {"phase": "Running", "podIPs": [{"ip": "10.0.0.1", "later": 1}]},
        }));
        let judged = judge(Kind::Pod, &pod);
        assert_eq!(judged.problems, [""; 0]);
        assert_eq!(judged.objects.len(), 1);

        let harmless = received(json!({
            "metadata": {"name": "p", "namespace": "x", "later": 1}, "spec": {"podSelector": {}}, "status": {"c": 1},
            "later": 2,
        }));
        assert_eq!(judge(Kind::NetworkPolicy, &harmless).problems, [""; 0]);

        let narrowed =
            policy(&json!({"podSelector": {}, "ingress": [{"from": [{"podSelector": {}, "account": "a"}]}]}));
        let judged = judge(Kind::NetworkPolicy, &narrowed);
        assert_eq!(judged.problems.len(), 1);
        assert!(judged.problems[0].starts_with("spec.ingress[0].from[0].account: podgate does not know"));
    }

    #[test]
    fn what_older_servers_let_in_is_taken() {
        let spec = json!({"podSelector": {}, "ingress": [{"from": [{"ipBlock": {"cidr": "10.0.1.7/24"}}]}]});
        assert_eq!(judge(Kind::NetworkPolicy, &policy(&spec)).problems, [""; 0]);
    }

    #[test]
    fn an_object_of_another_kind_is_not_taken_for_one() {
        let pod = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p", "namespace": "x"}});
        let judged = judge(Kind::NetworkPolicy, &received(pod));
        assert_eq!((judged.objects.len(), judged.problems.len()), (0, 1));
    }

    #[test]
    fn a_policy_that_is_not_understood_isolates_what_it_selects() {
        let key = ObjectKey::new("x", "p");
        let made = |spec: &serde_json::Value| isolating(key.clone(), &policy(spec));
        let of = |ingress, egress| PolicyTypes { ingress, egress };
        let labels = json!({"matchLabels": {"app": "web"}});
        let web = made(&json!({"podSelector": labels, "policyTypes": ["Egress"], "egress": [{"to": [{}]}]}));
        assert_eq!(web.types, of(false, true));
        assert_ne!(web.pod_selector, Selector::everything());
        assert!(web.ingress.is_empty() && web.egress.is_empty());
        for (spec, types) in [
            (json!({"podSelector": {}, "ingress": 3}), of(true, false)),
            (json!({"podSelector": {}, "egress": [{}]}), of(true, true)),
            (json!({"podSelector": {}, "policyTypes": ["Ingress"]}), of(true, false)),
            (json!({"podSelector": {}, "policyTypes": ["Ingress", "Forward"]}), of(true, true)),
            (json!({"podSelector": {}, "policyTypes": 7}), of(true, true)),
            (json!({"podSelector": {"matchFields": {}}}), of(true, false)),
            (json!(7), of(true, false)),
        ] {
            let policy = made(&spec);
            assert_eq!((&policy.types, &policy.pod_selector), (&types, &Selector::everything()), "{spec}");
        }
    }

    #[test]
    fn endpoints_are_read_as_slices_of_their_service() {
        let endpoints = received(json!({
            "metadata": {"name": "web", "namespace": "x"},
            "subsets": [{
                "addresses": [{"ip": "10.0.0.1", "hostname": "web-0",
                               "targetRef": {"kind": "Pod", "namespace": "x", "name": "web-0"}}],
                "notReadyAddresses": [{"ip": "10.0.0.2"}, {"ip": "fd00::2"}],
                "ports": [{"name": "http", "port": 8080, "protocol": "TCP"}],
            }],
        }));
        let judged = judge(Kind::Endpoints, &endpoints);
        assert_eq!(judged.problems, [""; 0]);
        let slices: Vec<_> = judged
            .objects
            .iter()
            .map(|object| match object {
                Object::EndpointSlice(slice) => slice,
                other => panic!("{other:?}"),
            })
            .collect();
        let titles: Vec<String> =
            slices.iter().map(|slice| format!("{} of {}", slice.key, slice.service)).collect();
        assert_eq!(titles, ["x/web-0-ipv4 of x/web", "x/web-0-ipv6 of x/web"]);
        assert_eq!(slices[0].endpoints.len(), 2);
        assert_eq!(slices[0].endpoints[0].pod, Some(ObjectKey::new("x", "web-0")));
        assert_eq!(slices[0].endpoints[1].condition, crate::model::Condition::NotReady);
        assert_eq!(slices[0].ports[0].port, 8080);

        let empty = received(json!({"metadata": {"name": "web", "namespace": "x"}}));
        assert_eq!(judge(Kind::Endpoints, &empty), Judged::default());
        let bad = received(json!({"metadata": {"name": "web", "namespace": "x"}, "subsets": [7]}));
        assert!(!judge(Kind::Endpoints, &bad).problems.is_empty());
    }
}
