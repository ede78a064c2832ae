//! Services in manifests: what is read, and what is refused as the API server refuses it.

use std::path::Path;

use podgate_control::model::*;
use podgate_control::service::service_at;
use podgate_control::source::{Strictness, read_manifests};

fn service(spec: &str) -> Result<Service, Vec<String>> {
    let text =
        format!("{{apiVersion: v1, kind: Service, metadata: {{name: s, namespace: x}}, spec: {spec}}}");
    let reading = read_manifests(&text, Path::new("s.yaml"), Strictness::New);
    if !reading.errors.is_empty() {
        let show =
            |error: &podgate_control::source::SourceError| format!("{}: {}", error.field, error.problem);
        return Err(reading.errors.iter().map(show).collect());
    }
    let mut cluster = Cluster::new();
    reading.manifests.into_iter().for_each(|manifest| manifest.object.put_into(&mut cluster));
    Ok(cluster.services()[&ObjectKey::new("x", "s")].as_ref().clone())
}

fn port(number: u16, target: TargetPort) -> ServicePort {
    ServicePort { name: None, protocol: Protocol::Tcp, port: number, target }
}

#[test]
fn what_is_missing_has_the_meaning_the_api_gives_it() {
    let plain = Service {
        key: ObjectKey::new("x", "s"),
        kind: ServiceKind::Cluster(Vec::new()),
        selector: Labels::new(),
        ports: vec![port(80, TargetPort::Number(80))],
        affinity_secs: None,
        publish_not_ready: false,
    };
    for same in [
        "{ports: [{port: 80}]}",
        "{ports: [{port: 80, protocol: TCP, targetPort: 0, name: null}], sessionAffinity: None}",
        "{type: NodePort, ports: [{port: 80, nodePort: 30080}], clusterIP: ''}",
        "{type: LoadBalancer, ports: [{port: 80}], clusterIPs: [], publishNotReadyAddresses: false}",
    ] {
        assert_eq!(service(same).as_ref(), Ok(&plain), "{same}");
    }
    let kind = |spec: &str| service(spec).unwrap().kind;
    let addresses =
        |texts: &[&str]| ServiceKind::Cluster(texts.iter().map(|text| text.parse().unwrap()).collect());
    assert_eq!(
        kind("{clusterIP: 10.96.0.1, clusterIPs: [10.96.0.1, 'fd96::1'], ports: [{port: 1}]}"),
        addresses(&["10.96.0.1", "fd96::1"])
    );
    assert_eq!(kind("{clusterIP: None}"), ServiceKind::Headless);
    assert_eq!(kind("{clusterIPs: [None], ports: [{port: 1}]}"), ServiceKind::Headless);
    assert_eq!(
        kind("{type: ExternalName, externalName: a.example.}"),
        ServiceKind::External("a.example".into())
    );
    let sticky = "{ports: [{port: 80, targetPort: web}], sessionAffinity: ClientIP}";
    assert_eq!(service(sticky).unwrap().affinity_secs, Some(10_800));
    assert_eq!(service(sticky).unwrap().ports[0].target, TargetPort::Named("web".to_owned()));
    let short = "{ports: [{port: 80}], sessionAffinity: ClientIP, sessionAffinityConfig: {clientIP: {timeoutSeconds: 60}}}";
    assert_eq!(service(short).unwrap().affinity_secs, Some(60));
}

#[test]
fn what_the_api_server_refuses_is_refused() {
    for (spec, fields) in [
        ("{}", vec!["spec.ports"]),
        ("{ports: [{port: 0}]}", vec!["spec.ports[0].port"]),
        ("{ports: [{targetPort: 80}]}", vec!["spec.ports[0].port"]),
        ("{ports: [{port: 80, protocol: tcp}]}", vec!["spec.ports[0].protocol"]),
        ("{ports: [{port: 80, targetPort: '80'}]}", vec!["spec.ports[0].targetPort"]),
        ("{ports: [{port: 80}, {port: 81, name: b}]}", vec!["spec.ports[0].name"]),
        ("{ports: [{port: 80, name: a}, {port: 80, name: b}]}", vec!["spec.ports[1]"]),
        ("{ports: [{port: 80, name: a}, {port: 81, name: a}]}", vec!["spec.ports[1].name"]),
        ("{ports: [{port: 80}], type: Proxy}", vec!["spec.type"]),
        ("{ports: [{port: 80}], type: ExternalName}", vec!["spec.externalName"]),
        ("{ports: [{port: 80}], clusterIP: nowhere}", vec!["spec.clusterIP"]),
        ("{ports: [{port: 80}], sessionAffinity: Cookie}", vec!["spec.sessionAffinity"]),
        (
            "{ports: [{port: 80}], sessionAffinity: ClientIP, sessionAffinityConfig: {clientIP: {timeoutSeconds: 0}}}",
            vec!["spec.sessionAffinityConfig.clientIP.timeoutSeconds"],
        ),
        ("{ports: [{port: 80}], selector: {app: 1}}", vec!["spec.selector"]),
    ] {
        let errors = service(spec).expect_err(spec);
        let found: Vec<&str> = errors.iter().map(|error| error.split(": ").next().unwrap()).collect();
        assert_eq!(found, fields, "{spec}: {errors:?}");
    }
}

#[test]
fn an_address_of_two_services_is_neithers() {
    let mut cluster = Cluster::new();
    let one = service("{clusterIP: 10.96.0.1, ports: [{port: 80}]}").unwrap();
    let other = Service { key: ObjectKey::new("y", "s"), ..one.clone() };
    cluster.put_service(one);
    let address = "10.96.0.1".parse().unwrap();
    assert_eq!(service_at(&cluster, address).map(|service| service.key.to_string()).as_deref(), Some("x/s"));
    cluster.put_service(other);
    assert_eq!(service_at(&cluster, address), None);
}
