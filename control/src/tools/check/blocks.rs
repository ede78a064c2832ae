//! ipBlocks that cover more than is meant.

use std::net::IpAddr;

use ipnet::IpNet;

use super::super::words;
use super::context::Site;
use super::{CheckOptions, Code, Context, Finding, Level};
use crate::model::{IpBlock, ObjectKey, Peer, Ports};

/// PG013, PG014.
pub(super) fn check(context: &Context<'_>, options: &CheckOptions, findings: &mut Vec<Finding>) {
    let known = Known::new(context, options);
    for site in context.sites() {
        for (at, peer) in site.peers().iter().enumerate() {
            let Peer::Block(block) = peer else { continue };
            let is_everything = block.cidr().prefix_len() == 0;
            if is_everything && site.egress {
                findings.extend(anywhere(context, site, at, block));
            } else {
                findings.extend(covered(context, site, at, block, &known));
            }
        }
    }
}

/// What is inside the cluster.
struct Known {
    pods: Vec<(ObjectKey, IpAddr)>,
    pod_nets: Vec<IpNet>,
    service_nets: Vec<IpNet>,
    services: Vec<(ObjectKey, IpAddr)>,
}

impl Known {
    fn new(context: &Context<'_>, options: &CheckOptions) -> Self {
        let survey = context.survey;
        let pods = context
            .cluster()
            .pods()
            .values()
            .filter(|pod| pod.is_endpoint() && !survey.lent.contains(&pod.key));
        let pods = pods.flat_map(|pod| pod.addresses.iter().map(|address| (pod.key.clone(), *address)));
        let mut pod_nets = options.pod_nets.clone();
        for node in context.cluster().nodes().keys() {
            let origin = survey.traced.origin(&format!("Node {node}"));
            pod_nets.extend(origin.iter().flat_map(|(_, origin)| &origin.pod_nets));
        }
        let services = context.cluster().services().values();
        let services = services
            .flat_map(|service| service.cluster_ips().iter().map(|address| (service.key.clone(), *address)));
        let service_nets = options.service_nets.clone();
        Self { pods: pods.collect(), pod_nets, service_nets, services: services.collect() }
    }
}

fn anywhere(context: &Context<'_>, site: Site<'_>, at: usize, block: &IpBlock) -> Option<Finding> {
    if !block.except().is_empty() {
        return None;
    }
    let cidr = block.cidr();
    let (level, what) = match &site.rule.ports {
        Ports::Every => (Level::Warning, "every port".to_owned()),
        ports @ Ports::AnyOf(_) => (Level::Info, words::ports(ports)),
    };
    let message = format!(
        "{} allows {what} to every address in {cidr}: the cluster and metadata services too",
        site.policy.key
    );
    let help = if cidr.addr().is_ipv4() {
        "name the networks that are needed, or take out the private ones: \
         except: [10.0.0.0/8, 172.16.0.0/12, 192.168.0.0/16, 169.254.0.0/16]"
    } else {
        "name the networks that are needed, or take out the private ones: except: [fc00::/7, fe80::/10]"
    };
    Some(context.about(site.policy, &site.peer_field(at), (Code::EGRESS_ANYWHERE, level), message, help))
}

fn covered(
    context: &Context<'_>,
    site: Site<'_>,
    at: usize,
    block: &IpBlock,
    known: &Known,
) -> Option<Finding> {
    let cidr = block.cidr();
    let field = site.peer_field(at);
    let is_everything = cidr.prefix_len() == 0;
    let pods: Vec<&ObjectKey> =
        known.pods.iter().filter(|(_, address)| block.contains(*address)).map(|(key, _)| key).collect();
    let service_net = known.service_nets.iter().find(|net| overlaps(block, net)).map(ToString::to_string);
    let service = || {
        let found = known.services.iter().find(|(_, address)| block.contains(*address));
        found.map(|(service, address)| format!("{address} of {service}"))
    };
    if let Some(which) = service_net.or_else(service)
        && !is_everything
    {
        let message = format!("{cidr} covers Service addresses ({which})");
        let help = "policy is about pods: rules for Service addresses hold only before they are translated; select \
                    the pods behind the Service";
        let kind = (Code::BLOCK_COVERS_CLUSTER, Level::Info);
        return Some(context.about(site.policy, &field, kind, message, help));
    }
    let net = known.pod_nets.iter().find(|net| overlaps(block, net));
    let what = match (net, &pods[..]) {
        (Some(net), _) => format!("pods ({net})"),
        (None, []) => return None,
        (None, pods) => words::some(pods, "pod"),
    };
    let (level, help) = if is_everything {
        (Level::Info, "they are allowed with it; if only the outside is meant, except their range")
    } else {
        (Level::Warning, "pods change their addresses: select them by labels, or except their range")
    };
    let message = format!("{cidr} covers {what}");
    Some(context.about(site.policy, &field, (Code::BLOCK_COVERS_CLUSTER, level), message, help))
}

/// Whether some address of `net` is in the block, as far as single excepts tell.
fn overlaps(block: &IpBlock, net: &IpNet) -> bool {
    let common = if block.cidr().contains(net) {
        net
    } else if net.contains(&block.cidr()) {
        &block.cidr()
    } else {
        return false;
    };
    !block.except().iter().any(|except| except.contains(common))
}
