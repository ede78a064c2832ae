//! The answers, as a client would read them, without sockets.

use std::net::IpAddr;
use std::path::Path;

use hickory_proto::op::{Edns, Message, MessageType, OpCode, Query, ResponseCode};
use hickory_proto::rr::{DNSClass, Name, RecordType};

use super::{Outside, Transport, Zone, reply};
use crate::model::Cluster;
use crate::source::{Strictness, read_manifests};

const SHOP: &str = "
apiVersion: v1
kind: Service
metadata: {name: web, namespace: shop}
spec:
  clusterIPs: [10.96.0.20, 'fd00:96::20']
  selector: {app: web}
  ports: [{name: http, port: 80, targetPort: 8080}, {name: dns, port: 53, protocol: UDP}]
---
apiVersion: v1
kind: Service
metadata: {name: waits, namespace: shop}
spec: {selector: {app: web}, ports: [{port: 80}]}
---
apiVersion: v1
kind: Service
metadata: {name: db, namespace: shop}
spec: {clusterIP: None, selector: {app: db}, ports: [{name: pg, port: 5432, targetPort: pg}]}
---
apiVersion: v1
kind: Service
metadata: {name: empty, namespace: shop}
spec: {clusterIP: None, selector: {app: nobody}}
---
apiVersion: v1
kind: Service
metadata: {name: all, namespace: shop}
spec: {clusterIP: None, selector: {app: db}, publishNotReadyAddresses: true}
---
apiVersion: v1
kind: Pod
metadata: {name: db-0, namespace: shop, labels: {app: db}}
spec: {hostname: db-0, subdomain: db, containers: [{name: c, ports: [{name: pg, containerPort: 6000}]}]}
status: {phase: Running, podIPs: [{ip: 10.0.0.1}, {ip: 'fd00::1'}]}
---
apiVersion: v1
kind: Pod
metadata: {name: db-x, namespace: shop, labels: {app: db}}
spec: {containers: [{name: c, ports: [{name: pg, containerPort: 6001}]}]}
status: {phase: Running, podIP: 10.0.0.2}
---
apiVersion: v1
kind: Pod
metadata: {name: db-starts, namespace: shop, labels: {app: db}}
status: {phase: Running, podIP: 10.0.0.3, conditions: [{type: Ready, status: 'False'}]}
---
apiVersion: v1
kind: Service
metadata: {name: alias, namespace: shop}
spec: {type: ExternalName, externalName: web.shop.svc.cluster.local}
---
apiVersion: v1
kind: Service
metadata: {name: out, namespace: shop}
spec: {type: ExternalName, externalName: db.example.com}
---
apiVersion: v1
kind: Service
metadata: {name: gone, namespace: shop}
spec: {type: ExternalName, externalName: nowhere.example.org}
---
apiVersion: v1
kind: Service
metadata: {name: round, namespace: shop}
spec: {type: ExternalName, externalName: round.shop.svc.cluster.local}
---
apiVersion: v1
kind: Service
metadata: {name: listed, namespace: shop}
spec: {clusterIP: None, ports: [{name: http, port: 80}]}
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: listed-1, namespace: shop, labels: {kubernetes.io/service-name: listed}}
addressType: IPv4
ports: [{name: http, port: 8000}]
endpoints:
- {addresses: [192.0.2.1], hostname: one}
- {addresses: [192.0.2.2], conditions: {ready: false}}
";

fn cluster(text: &str) -> Cluster {
    let reading = read_manifests(text, Path::new("test"), Strictness::New);
    assert_eq!(reading.errors, []);
    let mut cluster = Cluster::new();
    reading.manifests.into_iter().for_each(|manifest| manifest.object.put_into(&mut cluster));
    cluster
}

fn zone(text: &str) -> Zone {
    let addresses = ["192.0.2.10", "2001:db8::10"].map(|address| address.parse::<IpAddr>().unwrap());
    Zone::new(&cluster(text), &[Outside { name: "db.example.com".into(), addresses: addresses.into() }])
}

fn question(name: &str, kind: RecordType) -> Message {
    let mut request = Message::new(7, MessageType::Query, OpCode::Query);
    request.metadata.recursion_desired = true;
    request.add_query(Query::query(Name::from_ascii(name).unwrap(), kind));
    request
}

fn exchange(zone: &Zone, request: &Message, transport: Transport) -> Message {
    let response = reply(zone, &request.to_vec().unwrap(), transport).expect("a response");
    Message::from_vec(&response).expect("that can be read")
}

fn ask(name: &str, kind: RecordType) -> Message {
    let request = question(name, kind);
    let response = exchange(&zone(SHOP), &request, Transport::Tcp);
    assert_eq!((response.metadata.id, &response.queries), (7, &request.queries));
    assert!(response.metadata.authoritative && response.metadata.recursion_desired);
    response
}

/// The code and the answers' data, in order.
fn answers(name: &str, kind: RecordType) -> (ResponseCode, Vec<String>) {
    let response = ask(name, kind);
    let mut data: Vec<String> = response.answers.iter().map(|record| record.data.to_string()).collect();
    data.sort();
    let has_soa = response.authorities.iter().any(|record| record.record_type() == RecordType::SOA);
    let is_clusters = name.ends_with("cluster.local.");
    assert_eq!(has_soa, data.is_empty() && is_clusters, "how long to believe that there is nothing");
    (response.metadata.response_code, data)
}

#[track_caller]
fn assert_answers(name: &str, kind: RecordType, expected: &[&str]) {
    let expected = expected.iter().map(ToString::to_string).collect();
    assert_eq!(answers(name, kind), (ResponseCode::NoError, expected), "{name} {kind}");
}

#[track_caller]
fn assert_no_name(name: &str, kind: RecordType) {
    assert_eq!(answers(name, kind), (ResponseCode::NXDomain, vec![]), "{name} {kind}");
}

#[test]
fn a_service_has_its_addresses_ports_and_names() {
    let web = "web.shop.svc.cluster.local.";
    assert_answers(web, RecordType::A, &["10.96.0.20"]);
    assert_answers(web, RecordType::AAAA, &["fd00:96::20"]);
    assert_answers("WEB.Shop.svc.CLUSTER.local.", RecordType::A, &["10.96.0.20"]);
    let srv = |port| format!("0 100 {port} {web}");
    assert_answers(&format!("_http._tcp.{web}"), RecordType::SRV, &[&srv(80)]);
    assert_answers(&format!("_dns._udp.{web}"), RecordType::SRV, &[&srv(53)]);
    assert_no_name(&format!("_dns._tcp.{web}"), RecordType::SRV);
    assert_answers("20.0.96.10.in-addr.arpa.", RecordType::PTR, &[web]);
    assert_answers("dns-version.cluster.local.", RecordType::TXT, &["1.0.1"]);

    let additionals = ask(&format!("_http._tcp.{web}"), RecordType::SRV).additionals;
    let additionals: Vec<String> = additionals.iter().map(|record| record.data.to_string()).collect();
    assert_eq!(additionals, ["10.96.0.20", "fd00:96::20"]);
}

#[test]
fn no_such_name_is_one_thing_and_no_such_record_another() {
    let web = "web.shop.svc.cluster.local.";
    assert_answers(web, RecordType::TXT, &[]);
    assert_answers("waits.shop.svc.cluster.local.", RecordType::A, &[]);
    assert_answers(&format!("_tcp.{web}"), RecordType::SRV, &[]);
    for above in ["shop.svc.cluster.local.", "svc.cluster.local.", "cluster.local.", "example.com."] {
        assert_answers(above, RecordType::A, &[]);
    }
    assert_no_name("wbe.shop.svc.cluster.local.", RecordType::A);
    assert_no_name("web.elsewhere.svc.cluster.local.", RecordType::A);
    assert_no_name(&format!("_http.{web}"), RecordType::SRV);
    assert_no_name("10.0.0.9.in-addr.arpa.", RecordType::PTR);
}

#[test]
fn a_headless_service_has_its_ready_pods() {
    let db = "db.shop.svc.cluster.local.";
    assert_answers(db, RecordType::A, &["10.0.0.1", "10.0.0.2"]);
    assert_answers(db, RecordType::AAAA, &["fd00::1"]);
    assert_answers(&format!("db-0.{db}"), RecordType::A, &["10.0.0.1"]);
    assert_answers(&format!("db-0.{db}"), RecordType::AAAA, &["fd00::1"]);
    assert_answers(&format!("10-0-0-2.{db}"), RecordType::A, &["10.0.0.2"]);
    assert_no_name(&format!("db-x.{db}"), RecordType::A);
    assert_no_name(&format!("10-0-0-3.{db}"), RecordType::A);
    let (named, unnamed) = (format!("0 100 6000 db-0.{db}"), format!("0 100 6001 10-0-0-2.{db}"));
    assert_answers(&format!("_pg._tcp.{db}"), RecordType::SRV, &[&named, &unnamed]);
    let both = [format!("db-0.{db}"), "10-0-0-1.all.shop.svc.cluster.local.".into()];
    assert_answers("1.0.0.10.in-addr.arpa.", RecordType::PTR, &[&both[1], &both[0]]);

    assert_no_name("empty.shop.svc.cluster.local.", RecordType::A);
    let all = ["10.0.0.1", "10.0.0.2", "10.0.0.3"];
    assert_answers("all.shop.svc.cluster.local.", RecordType::A, &all);
}

#[test]
fn listed_endpoints_have_the_names_they_are_listed_with() {
    let listed = "listed.shop.svc.cluster.local.";
    assert_answers(listed, RecordType::A, &["192.0.2.1"]);
    assert_answers(&format!("one.{listed}"), RecordType::A, &["192.0.2.1"]);
    let srv = format!("0 100 8000 one.{listed}");
    assert_answers(&format!("_http._tcp.{listed}"), RecordType::SRV, &[&srv]);
}

#[test]
fn a_stateful_sets_pods_have_names_of_their_own() {
    let text = "
apiVersion: v1
kind: Service
metadata: {name: web}
spec: {clusterIP: None, selector: {app: web}}
---
apiVersion: apps/v1
kind: StatefulSet
metadata: {name: web}
spec:
  replicas: 2
  serviceName: web
  selector: {matchLabels: {app: web}}
  template: {metadata: {labels: {app: web}}, spec: {containers: [{name: c}]}}
";
    let directory = tempfile::tempdir().unwrap();
    std::fs::write(directory.path().join("all.yaml"), text).unwrap();
    let given = [("web-0", "10.0.0.1"), ("web-1", "10.0.0.2")]
        .map(|(pod, address)| (crate::model::ObjectKey::new("default", pod), vec![address.parse().unwrap()]));
    let source = crate::source::Directory::new([directory.path()])
        .with_workloads(crate::source::Workloads::Replicas)
        .with_overlay(given.into_iter().collect());
    let zone = Zone::new(&source.load().unwrap().cluster, &[]);
    for (name, address) in [("web-0", "10.0.0.1"), ("web-1", "10.0.0.2")] {
        let request = question(&format!("{name}.web.default.svc.cluster.local."), RecordType::A);
        let response = exchange(&zone, &request, Transport::Udp);
        assert_eq!(response.answers.len(), 1, "{name}");
        assert_eq!(response.answers[0].data.to_string(), address);
    }
}

#[test]
fn aliases_are_followed_as_far_as_they_lead() {
    let web = "web.shop.svc.cluster.local.";
    assert_answers("alias.shop.svc.cluster.local.", RecordType::A, &["10.96.0.20", web]);
    assert_answers("alias.shop.svc.cluster.local.", RecordType::CNAME, &[web]);
    assert_answers("out.shop.svc.cluster.local.", RecordType::AAAA, &["2001:db8::10", "db.example.com."]);
    let gone = (ResponseCode::NXDomain, vec!["nowhere.example.org.".to_owned()]);
    assert_eq!(answers("gone.shop.svc.cluster.local.", RecordType::A), gone);
    let round = ask("round.shop.svc.cluster.local.", RecordType::A);
    assert_eq!(round.metadata.response_code, ResponseCode::NoError);
    assert!(round.answers.iter().all(|record| record.record_type() == RecordType::CNAME));
}

#[test]
fn pods_are_named_by_address() {
    assert_answers("10-0-0-9.shop.pod.cluster.local.", RecordType::A, &["10.0.0.9"]);
    assert_answers("10-0-0-9.shop.pod.cluster.local.", RecordType::AAAA, &[]);
    assert_answers("fd00--1.shop.pod.cluster.local.", RecordType::AAAA, &["fd00::1"]);
    for no_name in ["10-0-0-9.elsewhere.pod", "10-0-0.shop.pod", "web.shop.pod", "10-0-0-9.pod"] {
        assert_no_name(&format!("{no_name}.cluster.local."), RecordType::A);
    }
}

#[test]
fn outside_there_are_the_labs_own_hosts_and_nobody_else() {
    assert_answers("db.example.com.", RecordType::A, &["192.0.2.10"]);
    assert_answers("db.example.com.", RecordType::AAAA, &["2001:db8::10"]);
    assert_answers("10.2.0.192.in-addr.arpa.", RecordType::PTR, &["db.example.com."]);
    assert_no_name("example.org.", RecordType::A);
    assert_no_name("web.", RecordType::A);
}

/// 60 pods behind `many.shop`, 960 bytes of addresses.
fn many() -> Zone {
    let mut text = String::from(
        "apiVersion: v1\nkind: Service\nmetadata: {name: many, namespace: shop}\n\
         spec: {clusterIP: None, selector: {app: many}, ports: [{name: http, port: 80}]}\n",
    );
    for number in 1..=60 {
        text += &format!(
            "---\napiVersion: v1\nkind: Pod\nmetadata: {{name: p{number}, namespace: shop, labels: {{app: many}}}}\n\
             status: {{podIP: 10.0.1.{number}}}\n"
        );
    }
    zone(&text)
}

#[test]
fn what_does_not_fit_is_cut_off_and_comes_by_tcp() {
    let zone = many();
    let mut request = question("many.shop.svc.cluster.local.", RecordType::A);
    let size =
        |request: &Message, transport| reply(&zone, &request.to_vec().unwrap(), transport).unwrap().len();

    let cut = exchange(&zone, &request, Transport::Udp);
    assert!(cut.metadata.truncation && cut.answers.is_empty() && cut.edns.is_none());
    assert!(size(&request, Transport::Udp) <= 512);
    let whole = exchange(&zone, &request, Transport::Tcp);
    assert!(!whole.metadata.truncation);
    assert_eq!(whole.answers.len(), 60);

    request.set_edns(Edns::new());
    request.edns.as_mut().unwrap().set_max_payload(4096);
    let fits = exchange(&zone, &request, Transport::Udp);
    assert_eq!((fits.metadata.truncation, fits.answers.len()), (false, 60));
    assert_eq!(fits.edns.map(|edns| (edns.version(), edns.max_payload())), Some((0, 1232)));

    let mut srv = question("_http._tcp.many.shop.svc.cluster.local.", RecordType::SRV);
    srv.edns.clone_from(&request.edns);
    let cut = exchange(&zone, &srv, Transport::Udp);
    assert!(cut.metadata.truncation && cut.answers.is_empty() && cut.edns.is_some());
    let whole = exchange(&zone, &srv, Transport::Tcp);
    assert_eq!((whole.answers.len(), whole.additionals.len()), (60, 60));
}

#[test]
fn additional_addresses_are_left_out_first() {
    let text = SHOP.to_owned()
        + &(0..18).fold(String::new(), |text, number| {
            text + &format!(
                "---\napiVersion: v1\nkind: Pod\n\
                 metadata: {{name: more-{number}, namespace: shop, labels: {{app: db}}}}\n\
                 spec: {{hostname: m{number}, subdomain: db, \
                 containers: [{{name: c, ports: [{{name: pg, containerPort: 1}}]}}]}}\n\
                 status: {{podIP: 10.0.2.{number}}}\n"
            )
        });
    let mut request = question("_pg._tcp.db.shop.svc.cluster.local.", RecordType::SRV);
    request.set_edns(Edns::new());
    request.edns.as_mut().unwrap().set_max_payload(1232);
    let response = exchange(&zone(&text), &request, Transport::Udp);
    assert_eq!((response.metadata.truncation, response.answers.len()), (false, 20));
    assert!(response.additionals.is_empty());
}

#[test]
fn clients_begin_at_different_addresses() {
    let zone = many();
    let mut request = question("many.shop.svc.cluster.local.", RecordType::A);
    let mut first = |id| {
        request.metadata.id = id;
        exchange(&zone, &request, Transport::Tcp).answers[0].data.to_string()
    };
    assert_eq!((first(0), first(61)), ("10.0.1.1".to_owned(), "10.0.1.2".to_owned()));
}

#[test]
fn what_is_no_question_gets_its_code_or_nothing() {
    let zone = zone(SHOP);
    let code = |request: &Message| exchange(&zone, request, Transport::Udp).metadata.response_code;
    let web = question("web.shop.svc.cluster.local.", RecordType::A);

    let mut notify = web.clone();
    notify.metadata.op_code = OpCode::Notify;
    assert_eq!(code(&notify), ResponseCode::NotImp);
    assert_eq!(code(&question("cluster.local.", RecordType::AXFR)), ResponseCode::Refused);
    let mut chaos = web.clone();
    chaos.queries[0].set_query_class(DNSClass::CH);
    assert_eq!(code(&chaos), ResponseCode::Refused);
    let mut two = web.clone();
    two.add_query(web.queries[0].clone());
    assert_eq!(code(&two), ResponseCode::FormErr);
    let mut newer = web.clone();
    newer.set_edns(Edns::new());
    newer.edns.as_mut().unwrap().set_version(1);
    // A signature that does not fit has the same number.
    assert_eq!(u16::from(code(&newer)), u16::from(ResponseCode::BADVERS));

    let bytes = web.to_vec().unwrap();
    for length in 12..bytes.len() {
        let response = reply(&zone, &bytes[..length], Transport::Udp).expect("a header can be answered");
        let response = Message::from_vec(&response).unwrap();
        assert_eq!(response.metadata.response_code, ResponseCode::FormErr, "{length} bytes");
    }
    for length in 0..12 {
        assert_eq!(reply(&zone, &bytes[..length], Transport::Udp), None, "{length} bytes");
    }
    let response = reply(&zone, &bytes, Transport::Udp).unwrap();
    assert_eq!(reply(&zone, &response, Transport::Udp), None, "two servers do not talk to each other");
}
