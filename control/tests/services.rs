//! Services in manifests: what is read, and what is refused as the API server refuses it.

use std::path::Path;

use podgate_control::model::*;
use podgate_control::service::{backends, endpoints, service_at};
use podgate_control::source::{Background, Strictness, list, read_manifests};

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
        families: Families::default(),
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
        ("{ports: [{port: 80}], selctor: {app: web}}", vec!["spec.selctor"]),
        ("{ports: [{port: 80, targetport: 81}]}", vec!["spec.ports[0].targetport"]),
        (
            "{ports: [{port: 80}], sessionAffinity: ClientIP, sessionAffinityConfig: {clientIP: {timeout: 1}}}",
            vec!["spec.sessionAffinityConfig.clientIP.timeout"],
        ),
        ("{ports: [{port: 80}], clusterIP: 127.0.0.1}", vec!["spec.clusterIP"]),
        ("{ports: [{port: 80}], clusterIP: '::'}", vec!["spec.clusterIP"]),
        ("{ports: [{port: 80}], clusterIPs: [224.0.0.1]}", vec!["spec.clusterIPs[0]"]),
        ("{ports: [{port: 80}], clusterIP: 'fe80::1'}", vec!["spec.clusterIP"]),
        ("{ports: [{port: 80}], clusterIP: 10.96.0.1, clusterIPs: [10.96.0.2]}", vec!["spec.clusterIP"]),
        ("{ports: [{port: 80}], clusterIP: None, clusterIPs: [10.96.0.2]}", vec!["spec.clusterIP"]),
        ("{ports: [{port: 80}], clusterIPs: [10.96.0.1, 10.96.0.2]}", vec!["spec.clusterIPs"]),
        ("{ports: [{port: 80}], clusterIPs: [None, 10.96.0.2]}", vec!["spec.clusterIPs"]),
        ("{ports: [{port: 80}], clusterIP: None, type: NodePort}", vec!["spec.type"]),
        ("{type: ExternalName, externalName: 'bad name..'}", vec!["spec.externalName"]),
        ("{type: ExternalName, externalName: a.example, clusterIP: 10.96.0.1}", vec!["spec.clusterIP"]),
        ("{type: ExternalName, externalName: a.example, ipFamilies: [IPv4]}", vec!["spec.ipFamilies"]),
        ("{ports: [{port: 80}], ipFamilies: [IPv5]}", vec!["spec.ipFamilies[0]"]),
        ("{ports: [{port: 80}], ipFamilies: [IPv6, IPv6]}", vec!["spec.ipFamilies"]),
        ("{ports: [{port: 80}], ipFamilyPolicy: DualStack}", vec!["spec.ipFamilyPolicy"]),
        (
            "{ports: [{port: 80}], ipFamilyPolicy: SingleStack, ipFamilies: [IPv4, IPv6]}",
            vec!["spec.ipFamilyPolicy"],
        ),
        (
            "{ports: [{port: 80}], ipFamilyPolicy: SingleStack, clusterIPs: [10.96.0.1, 'fd96::1']}",
            vec!["spec.ipFamilyPolicy"],
        ),
        ("{ports: [{port: 80}], ipFamilies: [IPv4], clusterIP: 'fd96::1'}", vec!["spec.ipFamilies"]),
    ] {
        let errors = service(spec).expect_err(spec);
        let found: Vec<&str> = errors.iter().map(|error| error.split(": ").next().unwrap()).collect();
        assert_eq!(found, fields, "{spec}: {errors:?}");
    }
}

#[test]
fn every_field_of_the_api_is_known() {
    for spec in [
        "{ports: [{port: 80, nodePort: 30080, appProtocol: http}], type: LoadBalancer, externalIPs: [192.0.2.1], \
         externalTrafficPolicy: Local, healthCheckNodePort: 30000, internalTrafficPolicy: Cluster, \
         allocateLoadBalancerNodePorts: true, loadBalancerIP: 192.0.2.1, loadBalancerClass: x.io/y, \
         loadBalancerSourceRanges: [192.0.2.0/24], trafficDistribution: PreferClose}",
        "{ports: [{port: 80}], clusterIP: 10.96.0.1, clusterIPs: [10.96.0.1], ipFamilies: [IPv4], ipFamilyPolicy: \
         SingleStack}",
        "{clusterIP: None, clusterIPs: [None], ipFamilies: [IPv6, IPv4], ipFamilyPolicy: RequireDualStack}",
    ] {
        assert!(service(spec).is_ok(), "{spec}: {:?}", service(spec));
    }
}

#[test]
fn a_service_has_the_families_of_its_addresses_or_those_that_it_asks_for() {
    let (v4, v6) = ("192.0.2.1".parse().unwrap(), "2001:db8::1".parse().unwrap());
    for (spec, has) in [
        ("{ports: [{port: 80}]}", [true, true]),
        ("{ports: [{port: 80}], clusterIP: 10.96.0.1}", [true, false]),
        ("{ports: [{port: 80}], clusterIP: 10.96.0.1, ipFamilyPolicy: PreferDualStack}", [true, false]),
        ("{ports: [{port: 80}], clusterIPs: ['fd96::1', 10.96.0.1]}", [true, true]),
        ("{ports: [{port: 80}], ipFamilies: [IPv6]}", [false, true]),
        ("{clusterIP: None, ipFamilies: [IPv6], ipFamilyPolicy: SingleStack}", [false, true]),
        ("{clusterIP: None, ipFamilies: [IPv6], ipFamilyPolicy: PreferDualStack}", [true, true]),
    ] {
        let service = service(spec).unwrap();
        assert_eq!([service.has_family_of(v4), service.has_family_of(v6)], has, "{spec}");
        let mut cluster = Cluster::new();
        cluster.put_service(service.clone());
        let listed = list(&cluster, &Background::default()).to_string();
        let reading = read_manifests(&listed, Path::new("listed"), Strictness::Stored);
        assert!(reading.errors.is_empty(), "{spec}: {:?}", reading.errors);
        let mut again = Cluster::new();
        reading.manifests.into_iter().for_each(|manifest| manifest.object.put_into(&mut again));
        assert_eq!(*again.services()[&service.key], service, "{spec}");
    }
}

#[test]
fn backends_of_a_headless_service_are_of_the_families_that_it_asks_for() {
    let pod = "{apiVersion: v1, kind: Pod, metadata: {name: p, namespace: x, labels: {app: web}}, status: {podIPs: \
               [{ip: 10.0.0.1}, {ip: 'fd00::1'}]}}";
    let mut cluster = Cluster::new();
    let reading = read_manifests(pod, Path::new("p.yaml"), Strictness::New);
    reading.manifests.into_iter().for_each(|manifest| manifest.object.put_into(&mut cluster));
    let only = service("{clusterIP: None, selector: {app: web}, ipFamilies: [IPv6], ports: [{port: 80}]}");
    let only = only.unwrap();
    let found: Vec<_> = backends(&cluster, &only, &only.ports[0]).iter().map(|one| one.address).collect();
    assert_eq!(found, ["fd00::1".parse::<std::net::IpAddr>().unwrap()]);
    let found: Vec<_> = endpoints(&cluster, &only).iter().map(|one| one.address).collect();
    assert_eq!(found, ["fd00::1".parse::<std::net::IpAddr>().unwrap()]);
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
