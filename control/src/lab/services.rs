//! The addresses of Services.
//!
//! A Service whose manifest has none gets one of each family that it asks for (`ipFamilyPolicy`,
//! `ipFamilies`), or else of each that the lab's pods have, and keeps it as long as it is there. Pods reach
//! them by their default route: the gateway translates at the pod's port, and the node never sees one.

use std::collections::{BTreeMap, HashMap};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::{IpNet, Ipv4Net, Ipv6Net};

use super::LabError;
use crate::model::{Cluster, Families, Family, FamilyPolicy, ObjectKey, Service, ServiceKind};

const RANGE_V4: Ipv4Net = Ipv4Net::new_assert(Ipv4Addr::new(10, 96, 0, 0), 16);
const RANGE_V6: Ipv6Net = Ipv6Net::new_assert(Ipv6Addr::new(0xfd00, 0x96, 0, 0, 0, 0, 0, 0), 112);

/// The last part of the address of the cluster's DNS, by convention; addresses before it are left
/// to Services that every cluster has.
const DNS: u16 = 10;

/// The Service that has the conventional address.
const DNS_SERVICE: (&str, &str) = ("kube-system", "kube-dns");

/// Addresses for the Services in `cluster` that have none. `earlier` ones are kept. `hosts` are the
/// lab's hosts and their addresses.
pub(super) fn assign<'a>(
    cluster: &Cluster,
    earlier: &BTreeMap<ObjectKey, Vec<IpAddr>>,
    hosts: &(impl Iterator<Item = (&'a str, IpAddr)> + Clone),
) -> Result<BTreeMap<ObjectKey, Vec<IpAddr>>, LabError> {
    let services = cluster.services().values();
    let wanting: Vec<&Service> = services
        .clone()
        .filter(|service| matches!(&service.kind, ServiceKind::Cluster(own) if own.is_empty()))
        .map(AsRef::as_ref)
        .collect();
    let mut taken: HashMap<IpAddr, String> = hosts.clone().map(|(host, ip)| (ip, host.to_owned())).collect();
    for service in services {
        for address in service.cluster_ips() {
            if let Some(other) = taken.insert(*address, format!("Service {}", service.key)) {
                let service = format!("Service {}", service.key);
                return Err(LabError::ServiceAddressTaken { address: *address, one: other, other: service });
            }
        }
    }
    if wanting.is_empty() {
        return Ok(BTreeMap::new());
    }
    for range in [IpNet::from(RANGE_V4), RANGE_V6.into()] {
        if let Some((pod, address)) = hosts.clone().find(|(_, address)| range.contains(address)) {
            return Err(LabError::PodAmongServices { pod: pod.into(), address, range: range.to_string() });
        }
    }
    let there = [Family::V4, Family::V6].into_iter();
    let there = there.filter(|family| hosts.clone().any(|(_, ip)| Family::of(ip) == *family));
    let there: Vec<Family> = there.collect();
    let mut given = BTreeMap::new();
    for service in &wanting {
        let families = wanted(&service.families, &there)
            .map_err(|family| LabError::NoSuchFamily { service: service.key.to_string(), family })?;
        let kept = earlier.get(&service.key).into_iter().flatten().copied();
        let kept = kept.filter(|address| !taken.contains_key(address));
        let kept: Vec<IpAddr> = kept.filter(|address| families.contains(&Family::of(*address))).collect();
        given.insert(service.key.clone(), (families, kept));
    }
    for (key, (_, addresses)) in &given {
        taken.extend(addresses.iter().map(|address| (*address, format!("Service {key}"))));
    }
    for (key, (families, addresses)) in &mut given {
        let place = |address: &IpAddr| families.iter().position(|family| *family == Family::of(*address));
        for family in families.iter() {
            if !addresses.iter().any(|address| Family::of(*address) == *family) {
                let address = free(key, *family == Family::V4, &taken)?;
                taken.insert(address, format!("Service {key}"));
                addresses.push(address);
            }
        }
        addresses.sort_by_key(place);
    }
    Ok(given.into_iter().map(|(key, (_, addresses))| (key, addresses)).collect())
}

/// The families of the addresses that a Service gets, its first one first, as the API server's allocator
/// fills them in (core/service/storage, `initIPFamilyFields`), but that both are for whoever says nothing; the
/// one that it must have and `there` is not.
fn wanted(families: &Families, there: &[Family]) -> Result<Vec<Family>, &'static str> {
    let named = &families.named;
    let must_have_both = families.policy == Some(FamilyPolicy::RequireDualStack)
        || (families.policy.is_none() && named.len() > 1);
    let both = [Family::V4, Family::V6];
    let must_have = if must_have_both { &both[..] } else { named };
    let may_lack = families.policy == Some(FamilyPolicy::PreferDualStack);
    if let Some(missing) = must_have.iter().find(|family| !may_lack && !there.contains(family)) {
        return Err(missing.name());
    }
    let mut wanted = named.clone();
    match families.policy {
        Some(FamilyPolicy::SingleStack) if named.is_empty() => wanted.extend(there.first()),
        None if !named.is_empty() => {}
        Some(FamilyPolicy::SingleStack) => {}
        _ => wanted.extend(there.iter().filter(|family| !named.contains(family))),
    }
    wanted.retain(|family| there.contains(family));
    Ok(wanted)
}

fn free(service: &ObjectKey, v4: bool, taken: &HashMap<IpAddr, String>) -> Result<IpAddr, LabError> {
    let is_dns = (service.namespace.as_str(), service.name.as_str()) == DNS_SERVICE;
    let first = if is_dns { DNS } else { DNS + 1 };
    let mut numbers = (first..u16::MAX).map(|number| nth(number, v4));
    let subnet = || if v4 { RANGE_V4.to_string() } else { RANGE_V6.to_string() };
    let found = numbers.find(|address| !taken.contains_key(address));
    found.ok_or_else(|| LabError::NoAddressLeft { subnet: subnet() })
}

fn nth(number: u16, v4: bool) -> IpAddr {
    if v4 {
        Ipv4Addr::from(u32::from(RANGE_V4.network()) + u32::from(number)).into()
    } else {
        Ipv6Addr::from(u128::from(RANGE_V6.network()) + u128::from(number)).into()
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::source::{Strictness, read_manifests};

    fn cluster(services: &[(&str, &str)]) -> Cluster {
        let mut cluster = Cluster::new();
        for (key, spec) in services {
            let (namespace, name) = key.split_once('/').unwrap();
            let text = format!(
                "apiVersion: v1\nkind: Service\nmetadata: {{namespace: {namespace}, name: {name}}}\nspec: {spec}\n"
            );
            let reading = read_manifests(&text, Path::new("x"), Strictness::New);
            assert_eq!(reading.errors, []);
            reading.manifests.into_iter().for_each(|manifest| manifest.object.put_into(&mut cluster));
        }
        cluster
    }

    const PLAIN: &str = "{ports: [{port: 80}]}";

    fn both() -> impl Iterator<Item = (&'static str, IpAddr)> + Clone {
        ["10.244.0.2", "fd00:244::2"].map(|address| ("a/pod", address.parse().unwrap())).into_iter()
    }

    fn shown(given: &BTreeMap<ObjectKey, Vec<IpAddr>>) -> Vec<String> {
        given.iter().map(|(key, addresses)| format!("{key} {addresses:?}")).collect()
    }

    #[test]
    fn services_get_addresses_and_keep_them() {
        let cluster = cluster(&[
            ("a/web", PLAIN),
            ("a/api", PLAIN),
            ("kube-system/kube-dns", PLAIN),
            ("a/none", "{clusterIP: None, ports: [{port: 80}]}"),
            ("a/own", "{clusterIP: 10.96.0.11, ports: [{port: 80}]}"),
            ("a/alias", "{type: ExternalName, externalName: example.org}"),
        ]);
        let first = assign(&cluster, &BTreeMap::new(), &both()).unwrap();
        assert_eq!(
            shown(&first),
            [
                "a/api [10.96.0.12, fd00:96::b]",
                "a/web [10.96.0.13, fd00:96::c]",
                "kube-system/kube-dns [10.96.0.10, fd00:96::a]"
            ]
        );
        let mut more = cluster;
        let added = self::cluster(&[("a/aaa", PLAIN)]);
        added.services().values().for_each(|service| more.put_service(std::sync::Arc::clone(service)));
        let second = assign(&more, &first, &both()).unwrap();
        assert!(first.iter().all(|(key, addresses)| second[key] == *addresses), "{second:?}");
        assert_eq!(shown(&second)[0], "a/aaa [10.96.0.14, fd00:96::d]");
        let v4 = assign(&more, &BTreeMap::new(), &both().take(1)).unwrap();
        assert!(v4.values().flatten().all(IpAddr::is_ipv4), "one family where pods have one");
    }

    #[test]
    fn a_service_gets_the_families_that_it_asks_for() {
        let given = |spec: &str, hosts: &[&'static str]| -> Result<Vec<String>, String> {
            let spec = format!("{{ports: [{{port: 80}}], {spec}}}");
            let hosts = hosts.iter().map(|address| ("a/pod", address.parse().unwrap()));
            let given = assign(&cluster(&[("a/web", &spec)]), &BTreeMap::new(), &hosts);
            let given = given.map_err(|error| error.to_string())?;
            Ok(given.values().flatten().map(ToString::to_string).collect())
        };
        let (v4, v6) = ("10.96.0.11", "fd00:96::b");
        let both = ["10.244.0.2", "fd00:244::2"];
        for (spec, addresses) in [
            ("ipFamilyPolicy: SingleStack", vec![v4]),
            ("ipFamilies: [IPv6]", vec![v6]),
            ("ipFamilies: [IPv6], ipFamilyPolicy: SingleStack", vec![v6]),
            ("ipFamilies: [IPv6, IPv4]", vec![v6, v4]),
            ("ipFamilies: [IPv6], ipFamilyPolicy: PreferDualStack", vec![v6, v4]),
            ("ipFamilyPolicy: RequireDualStack", vec![v4, v6]),
        ] {
            let addresses = addresses.into_iter().map(str::to_owned).collect();
            assert_eq!(given(spec, &both), Ok(addresses), "{spec}");
        }
        assert_eq!(given("ipFamilyPolicy: PreferDualStack", &both[..1]), Ok(vec![v4.to_owned()]));
        assert_eq!(given("ipFamilyPolicy: SingleStack", &both[1..]), Ok(vec![v6.to_owned()]));
        for spec in ["ipFamilyPolicy: RequireDualStack", "ipFamilies: [IPv6]", "ipFamilies: [IPv4, IPv6]"] {
            let error = given(spec, &both[..1]).unwrap_err();
            let told = "Service a/web asks for an IPv6 address, and no pod of this lab has one";
            assert!(error.starts_with(told), "{spec}: {error}");
        }
    }

    #[test]
    fn a_service_that_changes_its_families_keeps_the_address_that_it_may() {
        let first = assign(&cluster(&[("a/web", PLAIN)]), &BTreeMap::new(), &both()).unwrap();
        let only = cluster(&[("a/web", "{ports: [{port: 80}], ipFamilies: [IPv6]}")]);
        let second = assign(&only, &first, &both()).unwrap();
        assert_eq!(shown(&second), ["a/web [fd00:96::b]"]);
    }

    #[test]
    fn addresses_that_cannot_be_are_told() {
        let twice = "{clusterIP: 10.96.0.7, ports: [{port: 80}]}";
        let error =
            assign(&cluster(&[("a/x", twice), ("a/y", twice)]), &BTreeMap::new(), &both()).unwrap_err();
        assert_eq!(
            error.to_string(),
            "Service a/x and Service a/y both have the address 10.96.0.7; give one of them another, or none"
        );
        let inside = [("a/pod", "10.96.3.4".parse().unwrap())].into_iter();
        let error = assign(&cluster(&[("a/x", PLAIN)]), &BTreeMap::new(), &inside).unwrap_err();
        assert!(error.to_string().contains("a/pod has the address 10.96.3.4"), "{error}");
    }
}
