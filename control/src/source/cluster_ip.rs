//! The addresses of a Service, and their families, from a tree.

use std::net::IpAddr;

use super::Problem;
use super::object::address;
use super::reader::Reader;
use super::syntax;
use super::tree::{Map, Node as Tree, Value};
use crate::model::{Families, Family, FamilyPolicy, ServiceKind};

/// How a Service is reached; `None` if that cannot be told (core/validation, `ValidateService`).
pub(super) fn kind<'a>(reader: &mut Reader<'a>, spec: &'a Map) -> Option<ServiceKind> {
    let kind = reader.field(spec, "type", Reader::text).flatten().unwrap_or("ClusterIP");
    if kind == "ExternalName" {
        return alias(reader, spec);
    }
    if !["ClusterIP", "NodePort", "LoadBalancer"].contains(&kind) {
        let supported = &["ClusterIP", "ExternalName", "LoadBalancer", "NodePort"];
        reader.report_at("type", Problem::Unsupported { value: format!("{kind:?}"), supported });
        return None;
    }
    let listed: Vec<Written> = reader.list(spec, "clusterIPs", written);
    let single = reader.field(spec, "clusterIP", written).flatten();
    if let (Some(first), Some(single)) = (listed.first(), single)
        && *first != single
    {
        let detail = "must be the same as clusterIPs[0]";
        refuse_at(reader, "clusterIP", &single.text(), detail);
    }
    let all: Vec<Written> = if listed.is_empty() { single.into_iter().collect() } else { listed };
    if all.contains(&Written::None) {
        if all.len() > 1 {
            refuse_at(reader, "clusterIPs", "None", "there may be no address besides it");
        }
        if kind != "ClusterIP" {
            let value = format!("{kind:?}");
            let detail = "is reached at an address, and clusterIP is None";
            refuse_at(reader, "type", &value, detail);
        }
        return Some(ServiceKind::Headless);
    }
    let addresses: Vec<IpAddr> = all.iter().filter_map(|written| written.address()).collect();
    let first = addresses.first().map(|first| Family::of(*first));
    if addresses.len() > 2 || addresses.iter().skip(1).any(|next| Some(Family::of(*next)) == first) {
        let texts: Vec<String> = addresses.iter().map(ToString::to_string).collect();
        refuse_at(reader, "clusterIPs", &texts.join(", "), "may hold one address of each family");
    }
    Some(ServiceKind::Cluster(addresses))
}

/// What stands for an address.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Written {
    None,
    Address(IpAddr),
}

impl Written {
    fn address(self) -> Option<IpAddr> {
        match self {
            Self::None => None,
            Self::Address(address) => Some(address),
        }
    }

    fn text(self) -> String {
        self.address().map_or_else(|| "None".to_owned(), |address| address.to_string())
    }
}

/// An empty text stands for a missing one.
fn written<'a>(reader: &mut Reader<'a>, node: &'a Tree) -> Option<Written> {
    match &node.value {
        Value::Text(text) if text == "None" => return Some(Written::None),
        Value::Text(text) if text.is_empty() => return None,
        _ => {}
    }
    let address = address(reader, node)?;
    if let Some(detail) = impossible(address) {
        reader.report(Problem::Invalid { value: address.to_string(), detail, remedy: None });
        return None;
    }
    Some(Written::Address(address))
}

/// Why no range of Services has this address.
fn impossible(address: IpAddr) -> Option<&'static str> {
    let link_local = match address {
        IpAddr::V4(address) if address.is_broadcast() => return Some("is the broadcast address"),
        IpAddr::V4(address) => address.is_link_local(),
        IpAddr::V6(address) => address.is_unicast_link_local(),
    };
    match address {
        _ if address.is_unspecified() => Some("is the unspecified address"),
        _ if address.is_loopback() => Some("is a loopback address: it never leaves the pod"),
        _ if address.is_multicast() => Some("is a multicast address"),
        _ if link_local => Some("is a link-local address"),
        _ => None,
    }
}

fn alias<'a>(reader: &mut Reader<'a>, spec: &'a Map) -> Option<ServiceKind> {
    for key in ["clusterIP", "clusterIPs"] {
        let has_any = spec.find(key).is_some_and(|node| match &node.value {
            Value::Null => false,
            Value::List(list) => !list.is_empty(),
            _ => !node.is_empty_text(),
        });
        if has_any {
            refuse_at(reader, key, "ExternalName", "an alias has no addresses");
        }
    }
    let name = reader.field(spec, "externalName", Reader::text).flatten().unwrap_or_default();
    if name.is_empty() {
        reader.report_at("externalName", Problem::Required { detail: "an alias needs the name" });
        return None;
    }
    let host = name.strip_suffix('.').unwrap_or(name);
    if let Err(detail) = syntax::subdomain(host) {
        refuse_at(reader, "externalName", &format!("{name:?}"), detail);
        return None;
    }
    Some(ServiceKind::External(host.to_owned()))
}

/// Which families a Service of that kind asks for (core/validation,
/// `ValidateServiceClusterIPsRelatedFields`).
pub(super) fn families<'a>(reader: &mut Reader<'a>, spec: &'a Map, kind: Option<&ServiceKind>) -> Families {
    let policy = reader.field(spec, "ipFamilyPolicy", policy).flatten();
    let named: Vec<Family> = reader.list(spec, "ipFamilies", family);
    let names: Vec<&str> = named.iter().map(|family| family.name()).collect();
    if named.len() > 2 || matches!(named[..], [one, other] if one == other) {
        refuse_at(reader, "ipFamilies", &names.join(", "), "may hold each family once");
    }
    let addresses = match kind {
        Some(ServiceKind::Cluster(addresses)) => &addresses[..],
        Some(ServiceKind::External(_)) if policy.is_some() || !named.is_empty() => {
            refuse_at(reader, "ipFamilies", "ExternalName", "an alias has no addresses");
            &[]
        }
        _ => &[],
    };
    if policy == Some(FamilyPolicy::SingleStack) && (named.len() > 1 || addresses.len() > 1) {
        let detail = "is for one family, and two are named: PreferDualStack or RequireDualStack is for both";
        refuse_at(reader, "ipFamilyPolicy", "SingleStack", detail);
    }
    if named.iter().zip(addresses).any(|(family, address)| *family != Family::of(*address)) {
        let detail = "are other than those of its addresses (clusterIPs)";
        refuse_at(reader, "ipFamilies", &names.join(", "), detail);
    }
    Families { policy, named }
}

fn policy<'a>(reader: &mut Reader<'a>, node: &'a Tree) -> Option<FamilyPolicy> {
    use FamilyPolicy::{PreferDualStack, RequireDualStack, SingleStack};
    let text = reader.text(node)?;
    let found = [PreferDualStack, RequireDualStack, SingleStack].into_iter().find(|one| one.name() == text);
    if found.is_none() {
        let supported = &["PreferDualStack", "RequireDualStack", "SingleStack"];
        reader.report(Problem::Unsupported { value: format!("{text:?}"), supported });
    }
    found
}

fn family<'a>(reader: &mut Reader<'a>, node: &'a Tree) -> Option<Family> {
    let text = reader.text(node)?;
    let found = [Family::V4, Family::V6].into_iter().find(|family| family.name() == text);
    if found.is_none() {
        let supported = &["IPv4", "IPv6"];
        reader.report(Problem::Unsupported { value: format!("{text:?}"), supported });
    }
    found
}

fn refuse_at(reader: &mut Reader<'_>, key: &'static str, value: &str, detail: &'static str) {
    reader.report_at(key, Problem::Invalid { value: value.to_owned(), detail, remedy: None });
}
