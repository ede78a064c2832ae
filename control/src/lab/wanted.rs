//! The pods that manifests ask for.

use super::{ListenPort, PodSpec, Protocol, serves_dns};
use crate::model::{self, Cluster};

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
