//! The pods that manifests ask for.

use super::{ListenPort, PodSpec, Protocol, serves_dns};
use crate::model::{self, Cluster};
use crate::source::RawObject;

/// Pods that have a network of their own and have not ended.
pub fn pod_specs(cluster: &Cluster) -> Vec<PodSpec> {
    let pods = cluster.pods().values().filter(|pod| pod.is_live() && !pod.host_network);
    pods.map(|pod| {
        let mut ports: Vec<_> = pod
            .ports
            .iter()
            .map(|port| ListenPort {
                port: port.port,
                protocol: match port.protocol {
                    model::Protocol::Tcp => Protocol::Tcp,
                    model::Protocol::Udp => Protocol::Udp,
                    model::Protocol::Sctp => Protocol::Sctp,
                },
            })
            .collect();
        // Several containers may declare the same port.
        ports.sort_by_key(ListenPort::to_string);
        ports.dedup();
        PodSpec {
            addresses: pod.addresses.clone(),
            ports,
            serves_dns: serves_dns(pod),
            ..PodSpec::new(&pod.key.namespace, &pod.key.name)
        }
    })
    .collect()
}

/// The pods that a lab does not make although they run, in words.
pub fn left_out(cluster: &Cluster) -> Vec<String> {
    let pods = cluster.pods().values().filter(|pod| pod.is_live() && pod.host_network);
    pods.map(|pod| {
        format!(
            "Pod {} is on its node's network and is not made; `podgate lab exec node` runs programs there",
            pod.key
        )
    })
    .collect()
}

/// The fields of a pod or of a workload's pods that change how names are found in a cluster, and do not in a lab, in
/// words; `None` if it has none.
pub fn unheeded(object: &RawObject) -> Option<String> {
    let spec = match object.kind.as_str() {
        "Pod" => &object.value["spec"],
        "CronJob" => &object.value["spec"]["jobTemplate"]["spec"]["template"]["spec"],
        _ => &object.value["spec"]["template"]["spec"],
    };
    let is_other = |field: &&str| match *field {
        "dnsPolicy" => spec[*field].as_str().is_some_and(|policy| policy != "ClusterFirst"),
        _ => spec.get(*field).is_some_and(|value| !value.is_null()),
    };
    let fields: Vec<&str> = ["dnsPolicy", "dnsConfig", "hostAliases"].into_iter().filter(is_other).collect();
    let title = object.title();
    (!fields.is_empty()).then(|| {
        format!(
            "{title}: {} not heeded: names are found as with dnsPolicy ClusterFirst",
            fields.join(" and ")
        )
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::model::{ObjectKey, Phase, Pod};

    #[test]
    fn pods_of_the_nodes_network_are_told() {
        let mut cluster = Cluster::new();
        for (name, host_network) in [("a", false), ("b", true)] {
            cluster.put_pod(Pod { host_network, ..bare(name) });
        }
        let told = left_out(&cluster);
        assert!(told.len() == 1 && told[0].starts_with("Pod x/b is on its node's network"), "{told:?}");
        assert_eq!(pod_specs(&cluster).len(), 1);
    }

    fn bare(name: &str) -> Pod {
        Pod { phase: Phase::Running, ..Pod::new(ObjectKey::new("x", name)) }
    }

    #[test]
    fn fields_that_are_not_heeded_are_told() {
        let told = |api: &str, kind: &str, spec: serde_json::Value| {
            let value = json!({"apiVersion": api, "kind": kind, "metadata": {"name": "a", "namespace": "x"}, "spec": spec});
            unheeded(&RawObject::of(value).unwrap())
        };
        assert_eq!(told("v1", "Pod", json!({"dnsPolicy": "ClusterFirst", "containers": []})), None);
        let pod = told("v1", "Pod", json!({"dnsPolicy": "None", "dnsConfig": {"nameservers": ["10.0.0.1"]}}));
        assert!(pod.unwrap().starts_with("Pod x/a: dnsPolicy and dnsConfig not heeded"));
        let template = json!({"template": {"spec": {"hostAliases": []}}});
        assert!(told("apps/v1", "Deployment", template).unwrap().contains("hostAliases not heeded"));
        assert_eq!(told("v1", "Service", json!({"dnsPolicy": "None"})), None);
    }
}
