//! Which pod is meant: `shop/web`, `web`, `deploy/web`, `svc/web`.

use anyhow::{anyhow, bail};

use super::block_on;
use super::kind::Kind;
use crate::lab::Lab;
use crate::model::ObjectKey;
use crate::tools::Survey;

/// The host that a word means, as the lab names it.
pub(super) fn resolve(lab: &Lab, word: &str, namespace: Option<&str>) -> anyhow::Result<String> {
    let is_there = |reference: &str| lab.host(reference).is_ok();
    if namespace.is_none() && (word == "node" || is_there(word)) {
        return Ok(word.to_owned());
    }
    let here = namespace.unwrap_or("default");
    match word.split_once('/') {
        None => {
            let pod = format!("{here}/{word}");
            lab.host(&pod)?;
            Ok(pod)
        }
        Some((kind, name)) => match Kind::find(kind) {
            Some(kind) if kind.name == "Pod" => {
                let pod = format!("{here}/{name}");
                lab.host(&pod)?;
                Ok(pod)
            }
            Some(kind) => behind(lab, kind, &ObjectKey::new(here, name)),
            // Whoever says both has said the namespace twice.
            None if namespace.is_some_and(|namespace| namespace != kind) => {
                bail!("{word} names its namespace, and --namespace says {here}")
            }
            None => {
                lab.host(word)?;
                Ok(word.to_owned())
            }
        },
    }
}

/// The first ready pod of a workload or Service.
fn behind(lab: &Lab, kind: Kind, key: &ObjectKey) -> anyhow::Result<String> {
    let told = block_on(lab.client().in_force())??;
    let survey = Survey::of_gateway(told)
        .map_err(|errors| anyhow!("what the gateway told cannot be read: {errors:?}"))?;
    let (cluster, owners) = (&survey.cluster, &survey.background.owners);
    let service = cluster.services().get(key);
    let is_behind = |pod: &ObjectKey| match kind.name {
        "Service" => service.is_some_and(|service| {
            let labels = cluster.pods().get(pod).map(|pod| &pod.labels);
            !service.selector.is_empty()
                && service
                    .selector
                    .iter()
                    .all(|(key, value)| labels.and_then(|all| all.get(key)) == Some(value))
        }),
        name => owners.get(pod).is_some_and(|owner| owner.kind == name && owner.name == key.name),
    };
    let pods = cluster.pods().values().filter(|pod| pod.key.namespace == key.namespace && pod.is_live());
    let mut pods: Vec<_> = pods.filter(|pod| is_behind(&pod.key)).collect();
    // Ready ones first; else in the order of their names.
    pods.sort_by_key(|pod| !pod.ready);
    let found = pods.iter().map(|pod| pod.key.to_string()).find(|reference| lab.host(reference).is_ok());
    found.ok_or_else(|| {
        anyhow!("there is no pod behind {} {key}; 'podgate lab get pods -A' shows those there are", kind.name)
    })
}
