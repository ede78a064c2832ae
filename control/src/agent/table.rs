//! The flow table in numbers, and who comes near a quota.

use podgate_dataplane::tag::{PortId, Tag};
use podgate_flowtable::{FlowTable, FragmentStats, Quota, TableStats, Usage};

use super::gateway::{Gateway, State};
use super::history::passage_word;
use crate::api::{FlowTableStatus, FragmentCounts, QuotaUse};

/// The part of a quota, in percent, from which on its owner is named.
const NEAR_PERCENT: u64 = 80;
/// Not more than so many are named.
const MOST_NAMED: usize = 5;

impl Gateway {
    pub(super) fn table_status(&self, state: &State) -> FlowTableStatus {
        let quota = self.quota;
        let ports: Vec<_> = state.ports.iter().map(|port| port.id).collect();
        let named = near_quota(&self.shared.flows, quota, &ports).into_iter().filter_map(|(tag, usage)| {
            let port = state.ports.iter().find(|port| port.id == tag.port)?;
            Some(QuotaUse {
                pod: port.enforced.as_ref().map(|bound| bound.pod.to_string()),
                device: port.device.name.clone(),
                passage: passage_word(tag.passage).into(),
                flows: usage.flows,
                half_open: usage.half_open,
            })
        });
        let TableStats {
            opened,
            expired,
            removed,
            evicted,
            reopened,
            full,
            over_flow_quota,
            over_half_open_quota,
        } = self.shared.flows.stats();
        FlowTableStatus {
            opened,
            expired,
            removed,
            evicted,
            reopened,
            full,
            over_flow_quota,
            over_half_open_quota,
            flows_per_pod: quota.flows,
            half_open_per_pod: quota.half_open,
            near_quota: named.collect(),
            fragments: fragment_counts(&self.shared.fragments.stats()),
        }
    }
}

fn fragment_counts(stats: &FragmentStats) -> FragmentCounts {
    let FragmentStats { recorded, completed, overlapping, evicted, over_quota } = *stats;
    FragmentCounts { recorded, completed, overlapping, evicted, over_quota }
}

/// Owners near their quota, the closest first.
fn near_quota(flows: &FlowTable, quota: Quota, ports: &[PortId]) -> Vec<(Tag, Usage)> {
    let percent = |usage: Usage| {
        let of = |used: u32, limit: u32| u64::from(used) * 100 / u64::from(limit.max(1));
        of(usage.flows, quota.flows).max(of(usage.half_open, quota.half_open))
    };
    let tags = ports.iter().flat_map(|&port| [Tag::from_pod(port), Tag::to_pod(port)]);
    let mut near: Vec<_> = tags
        .map(|tag| (tag, flows.usage(tag.tci())))
        .filter(|(_, usage)| percent(*usage) >= NEAR_PERCENT)
        .collect();
    near.sort_by_key(|(_, usage)| std::cmp::Reverse(percent(*usage)));
    near.truncate(MOST_NAMED);
    near
}

#[cfg(test)]
mod tests {
    use podgate_flowtable::{
        Addr, Config, Decision, Epoch, HashSecret, IpProtocol, Packet, Time, Timeouts, Transport, Tuple, Way,
    };

    use super::*;

    #[test]
    fn the_closest_to_a_quota_come_first() {
        let quota = Quota { flows: 10, half_open: 20 };
        let (secret, pickup_until) = (HashSecret([1, 2]), Time::default());
        let config = Config { capacity: 1000, secret, timeouts: Timeouts::default(), pickup_until };
        let table = FlowTable::new(config).unwrap().with_quota(quota);
        let ports: Vec<_> = (1..=9).map(|number| PortId::new(number).unwrap()).collect();
        let open = |tag: Tag, flows: u16| {
            for source_port in 0..flows {
                let tuple = Tuple {
                    source: Addr::from_v4([10, 0, (tag.tci() >> 8) as u8, tag.tci() as u8]),
                    destination: Addr::from_v4([10, 9, 9, 9]),
                    source_port,
                    destination_port: 53,
                    protocol: IpProtocol::UDP,
                };
                let packet = Packet { tuple, transport: Transport::Udp, len_bytes: 60 };
                let decision =
                    Decision { epoch: Epoch(1), egress: 0, ingress: 0, way: Way::Bridge, owner: tag.tci() };
                table.open(&packet, decision, Time::from_nanos(1)).unwrap();
            }
        };
        assert_eq!(near_quota(&table, quota, &ports), []);
        open(Tag::from_pod(ports[0]), 7);
        open(Tag::to_pod(ports[0]), 8);
        open(Tag::from_pod(ports[1]), 10);
        let used = |flows| Usage { flows, half_open: flows };
        assert_eq!(
            near_quota(&table, quota, &ports),
            [(Tag::from_pod(ports[1]), used(10)), (Tag::to_pod(ports[0]), used(8))]
        );
        let tight = Quota { flows: 1000, half_open: 7 };
        assert_eq!(near_quota(&table, tight, &ports).len(), 3, "either quota counts");
        ports[2..].iter().for_each(|&port| open(Tag::from_pod(port), 9));
        assert_eq!(near_quota(&table, quota, &ports).len(), MOST_NAMED);
    }
}
