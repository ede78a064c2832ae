//! Pods that no policy isolates.

use super::super::words;
use super::{Code, Context, Finding, Level};
use crate::model::{ObjectKey, Pod};

/// PG008, PG009.
pub(super) fn check(context: &Context<'_>, findings: &mut Vec<Finding>) {
    for namespace in context.cluster().namespaces().keys() {
        let pods: Vec<&Pod> =
            context.pods_of(namespace).iter().copied().filter(|pod| pod.is_endpoint()).collect();
        let is_open =
            |pod: &&&Pod| context.isolation(pod).is_some_and(|isolation| isolation.ingress.is_empty());
        let open: Vec<&ObjectKey> = pods.iter().filter(is_open).map(|pod| &pod.key).collect();
        let Some(first) = open.first() else { continue };
        let title = format!("Namespace {namespace}");
        let title = match context.survey.traced.origin(&title) {
            Some(_) => title,
            None => format!("Pod {first}"),
        };
        let help = "add a policy to the namespace with `podSelector: {}` and `policyTypes: [Ingress]`, then allow \
                    what is needed";
        let (kind, message) = if open.len() == pods.len() {
            let message = format!("no policy isolates any pod of {namespace}: everyone may reach them");
            ((Code::NAMESPACE_OPEN, Level::Info), message)
        } else {
            let names = words::some(&open, "pod");
            let them = if open.len() == 1 { "it" } else { "them" };
            let message =
                format!("{namespace} has policies, but none isolates {names}: everyone may reach {them}");
            ((Code::PODS_OPEN, Level::Warning), message)
        };
        findings.push(context.finding(&title, "metadata.name", kind, message, help));
    }
}
