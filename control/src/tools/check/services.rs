//! ipBlocks of Services, which admit nothing once the Service's address is translated.

use std::net::IpAddr;

use super::context::Site;
use super::{Code, Context, Finding, Level};
use crate::model::{IpBlock, Peer, Service};

/// PG019.
pub(super) fn check(context: &Context<'_>, findings: &mut Vec<Finding>) {
    for site in context.sites().filter(|site| site.egress) {
        for (at, peer) in site.peers().iter().enumerate() {
            let Peer::Block(block) = peer else { continue };
            let mut services = context.cluster().services().values();
            // One finding for each block: the remedy is the same for every Service in it.
            findings.extend(services.find_map(|service| lost(context, site, at, block, service)));
        }
    }
}

/// What is wrong with a block that covers a Service's address and no pod behind it.
fn lost(
    context: &Context<'_>,
    site: Site<'_>,
    at: usize,
    block: &IpBlock,
    service: &Service,
) -> Option<Finding> {
    let address = service.cluster_ips().iter().find(|address| block.contains(**address))?;
    if service.selector.is_empty() || backends(context, service).any(|backend| block.contains(backend)) {
        return None;
    }
    let message = format!(
        "{} covers {address}, the address of Service {}, and none of the pods behind it: translated, it admits \
         nothing of it",
        block.cidr(),
        service.key
    );
    let labels = service.selector.iter().map(|(key, value)| format!("{key}: {value}"));
    let labels = labels.collect::<Vec<_>>().join(", ");
    let namespace = &service.key.namespace;
    let scope = if *namespace == site.policy.key.namespace {
        String::new()
    } else {
        format!("namespaceSelector: {{matchLabels: {{kubernetes.io/metadata.name: {namespace}}}}}, ")
    };
    let help = format!(
        "policy is judged behind the Service: select its pods, {{{scope}podSelector: {{matchLabels: {{{labels}}}}}}}, \
         on their own port; only with `--services=off` is the block seen"
    );
    let kind = (Code::BLOCK_OF_SERVICE, Level::Warning);
    Some(context.about(site.policy, &site.peer_field(at), kind, message, help))
}

/// Addresses of the pods behind a Service.
fn backends<'a>(context: &Context<'a>, service: &'a Service) -> impl Iterator<Item = IpAddr> + use<'a> {
    let pods = context.cluster().pods().values().filter(|pod| pod.is_live());
    let pods = pods.filter(|pod| pod.key.namespace == service.key.namespace);
    let pods =
        pods.filter(|pod| service.selector.iter().all(|(key, value)| pod.labels.get(key) == Some(value)));
    pods.flat_map(|pod| pod.addresses.iter().copied())
}
