//! Services of any number, with their backends.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use podgate_control::model::{
    Cluster, Condition, EndpointPort, EndpointSlice, Families, Labels, ObjectKey, Protocol, Service,
    ServiceEndpoint, ServiceKind, ServicePort, TargetPort,
};
use podgate_flowtable::{Addr, IpProtocol, Tuple};

/// Services in a namespace.
const IN_NAMESPACE: u32 = 100;
/// The port of all of them.
const PORT: u16 = 80;

/// `count` Services with one port and `backends` listed endpoints each.
pub fn cluster(count: u32, backends: u32) -> Cluster {
    let mut cluster = Cluster::new();
    for number in 0..count {
        cluster.put_service(Service {
            key: key(number),
            kind: ServiceKind::Cluster(vec![address(number).into()]),
            selector: Labels::new(),
            ports: vec![ServicePort {
                name: None,
                protocol: Protocol::Tcp,
                port: PORT,
                target: TargetPort::Number(8080),
            }],
            affinity_secs: None,
            publish_not_ready: false,
            families: Families::default(),
        });
        cluster.put_endpoint_slice(slice(number, 0..backends));
    }
    cluster
}

/// The endpoints of Service number `number`, these of them.
pub fn slice(number: u32, backends: std::ops::Range<u32>) -> Arc<EndpointSlice> {
    let endpoint = |backend: u32| ServiceEndpoint {
        addresses: vec![IpAddr::V4(Ipv4Addr::from(0x0a00_0000 + number * 32 + backend))],
        condition: Condition::Ready,
        pod: None,
        hostname: None,
    };
    let ports = vec![EndpointPort { name: None, protocol: Protocol::Tcp, port: 8080 }];
    let endpoints = backends.map(endpoint).collect();
    Arc::new(EndpointSlice { key: key(number), service: key(number), ports, endpoints })
}

/// A client's connection number `client` to Service number `number`.
pub fn connection(number: u32, client: u32) -> Tuple {
    Tuple {
        source: Addr::from_v4([10, 200, 0, 1]),
        destination: Addr::from(IpAddr::V4(address(number))),
        source_port: client as u16,
        destination_port: PORT,
        protocol: IpProtocol::TCP,
    }
}

fn key(number: u32) -> ObjectKey {
    ObjectKey::new(format!("ns{}", number / IN_NAMESPACE), format!("s{}", number % IN_NAMESPACE))
}

fn address(number: u32) -> Ipv4Addr {
    Ipv4Addr::from(0x0a60_0000 + number)
}
