//! A cluster that is written down as manifests is read the same.

mod random;

use std::path::Path;

use podgate_control::model::Cluster;
use podgate_control::source::{Background, Object, Owner, Strictness, list, read_manifests};
use proptest::prelude::*;
use random::cluster;

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, ..ProptestConfig::default() })]

    #[test]
    fn random_clusters_come_back(cluster in cluster()) {
        prop_assert_eq!(&read(&list(&cluster, &Background::default()).to_string()).0, &cluster);
    }
}

#[test]
fn services_owners_and_states_come_back() {
    let text = "
apiVersion: v1
kind: Pod
metadata:
  name: web-6d4cf56db6-abcde
  namespace: x
  labels: {app: web}
  deletionTimestamp: '2026-01-01T00:00:00Z'
  ownerReferences: [{kind: ReplicaSet, name: web-6d4cf56db6, controller: true}]
spec: {nodeName: n, containers: [{name: c, ports: [{containerPort: 8080}, {name: dns, containerPort: 53, protocol: UDP}]}]}
status: {phase: Running, podIPs: [{ip: 10.0.0.1}, {ip: 'fd00::1'}], conditions: [{type: Ready, status: 'False'}]}
---
apiVersion: v1
kind: Service
metadata: {name: web, namespace: x}
spec:
  selector: {app: web}
  clusterIPs: [10.96.0.10, 'fd00:96::10']
  sessionAffinity: ClientIP
  publishNotReadyAddresses: true
  ports: [{name: http, port: 80, targetPort: http}, {name: plain, port: 81, protocol: UDP}]
---
apiVersion: v1
kind: Service
metadata: {name: direct, namespace: x}
spec: {clusterIP: None, ports: [{port: 80}]}
---
apiVersion: v1
kind: Service
metadata: {name: alias, namespace: x}
spec: {type: ExternalName, externalName: example.com}
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: web-1, namespace: x, labels: {kubernetes.io/service-name: direct}}
addressType: IPv6
ports: [{name: http, port: 8080}, {port: 9}]
endpoints:
- {addresses: ['fd00::1'], targetRef: {kind: Pod, name: web-6d4cf56db6-abcde}}
- {addresses: ['fd00::2'], conditions: {ready: false, serving: true, terminating: true}}
- {addresses: ['fd00::3'], conditions: {ready: false}, hostname: web-3}
";
    let (cluster, background) = read(text);
    assert_eq!((cluster.services().len(), cluster.endpoint_slices().len()), (3, 1));
    let owner = Owner { kind: "ReplicaSet".into(), name: "web-6d4cf56db6".into() };
    assert_eq!(background.owners.values().collect::<Vec<_>>(), [&owner]);
    assert_eq!(read(&list(&cluster, &background).to_string()), (cluster, background));
}

fn read(text: &str) -> (Cluster, Background) {
    let reading = read_manifests(text, Path::new("list"), Strictness::Stored);
    assert_eq!(reading.errors, []);
    let (mut cluster, mut background) = (Cluster::new(), Background::default());
    for manifest in reading.manifests {
        if let (Object::Pod(pod), Some(owner)) = (&manifest.object, manifest.owner) {
            background.owners.insert(pod.key.clone(), owner);
        }
        manifest.object.put_into(&mut cluster);
    }
    (cluster, background)
}
