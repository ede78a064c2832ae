//! Addresses that a pod has given itself beside its own. It gains nothing by them, but somebody should know.

use super::{Bound, Port, PortTable, is_link_local, some_of};
use crate::model::Cluster;

impl PortTable {
    /// What to say of bound ports that have addresses of others.
    pub(in crate::agent) fn strays(&self, cluster: &Cluster) -> Vec<String> {
        let told = self.iter().filter_map(|port| port.stray(cluster, self));
        told.collect()
    }
}

impl Port {
    fn stray(&self, cluster: &Cluster, table: &PortTable) -> Option<String> {
        let Bound { pod, addresses, .. } = self.bound.as_ref()?;
        let others = self.seen.iter().filter(|seen| !addresses.contains(seen) && !is_link_local(**seen));
        let others: Vec<_> = others.copied().collect();
        let (first, device) = (others.first()?, &self.device.name);
        let owner = cluster
            .pods()
            .iter()
            .find(|(key, owner)| **key != pod.key && owner.is_endpoint() && owner.addresses.contains(first));
        let whose = owner.map_or_else(String::new, |(key, _)| {
            let behind =
                table.iter().find(|port| port.bound.as_ref().is_some_and(|bound| bound.pod.key == *key));
            let where_ = behind.map_or_else(String::new, |port| format!(", behind {}", port.device.name));
            format!(" ({first} is pod {key}'s{where_})")
        });
        Some(format!(
            "{device}: pod {pod} has addresses that are not its own: {}{whose}; what it sends from them is dropped \
             (spoofed-ip, spoofed-arp), and nothing that is for them comes to it",
            some_of(&others)
        ))
    }
}
