//! Flows as text: one a line, or one in full.

use std::time::Duration;

use crate::api::FlowRecord;

const COUNT: usize = 11;
const HEAD: [&str; COUNT] =
    ["ID", "PROTOCOL", "STATE", "SOURCE", "DESTINATION", "AGE", "IDLE", "SENT", "RETURNED", "WAY", "VERDICT"];

/// How wide columns are: as wide as the first flows need. A wider cell of a later one pushes.
pub(super) struct Columns([usize; COUNT]);

impl Columns {
    pub(super) fn of(first: &[FlowRecord]) -> Self {
        let mut widths = HEAD.map(str::len);
        for flow in first {
            for (width, cell) in widths.iter_mut().zip(cells(flow)) {
                *width = (*width).max(cell.chars().count());
            }
        }
        Self(widths)
    }

    pub(super) fn head(&self) -> String {
        self.padded(HEAD)
    }

    pub(super) fn line(&self, flow: &FlowRecord) -> String {
        self.padded(cells(flow).each_ref().map(String::as_str))
    }

    fn padded(&self, cells: [&str; COUNT]) -> String {
        let padded = cells.iter().zip(self.0).map(|(cell, width)| format!("{cell:<width$}"));
        padded.collect::<Vec<_>>().join("  ").trim_end().to_owned()
    }
}

fn cells(flow: &FlowRecord) -> [String; COUNT] {
    let icmp = flow.protocol.starts_with("ICMP");
    [
        flow.id.clone(),
        flow.protocol.clone(),
        flow.state.clone(),
        end(&flow.source, flow.source_port, icmp),
        end(&flow.destination, flow.destination_port, icmp) + &called(flow),
        lasting(flow.age_seconds),
        lasting(flow.idle_seconds),
        format!("{}/{}", flow.packets_sent, size(flow.bytes_sent)),
        format!("{}/{}", flow.packets_returned, size(flow.bytes_returned)),
        flow.way.clone(),
        verdict(flow),
    ]
}

/// All that is known of a flow.
pub(super) fn told(flow: &FlowRecord) -> String {
    let FlowRecord { id, protocol, state, egress, ingress, epoch, way, .. } = flow;
    let icmp = protocol.starts_with("ICMP");
    let address = |name: &str, ip: &str| if name == ip { String::new() } else { format!(" ({ip})") };
    let packets = |count: u64| if count == 1 { "1 packet".into() } else { format!("{count} packets") };
    format!(
        "flow {id}: {protocol} {state}, {}\n\
         from      {}{}\n\
         to        {}{}{}\n\
         age       {}, idle {}, forgotten after {} more of silence\n\
         sent      {}, {}\n\
         returned  {}, {}\n\
         verdict   {}; egress {egress}, ingress {ingress}; decided by snapshot {epoch}\n\
         way       {way}, first seen at {}\n",
        if flow.assured { "assured" } else { "not assured" },
        end(&flow.source, flow.source_port, icmp),
        address(&flow.source, &flow.source_ip),
        end(&flow.destination, flow.destination_port, icmp),
        address(&flow.destination, &flow.destination_ip),
        called(flow),
        lasting(flow.age_seconds),
        lasting(flow.idle_seconds),
        lasting(flow.expires_seconds),
        packets(flow.packets_sent),
        size(flow.bytes_sent),
        packets(flow.packets_returned),
        size(flow.bytes_returned),
        verdict(flow),
        flow.device.as_deref().unwrap_or("(gone)"),
    )
}

/// What the opener calls the other end, where that is another address.
fn called(flow: &FlowRecord) -> String {
    match (&flow.service, flow.called) {
        (Some(service), Some(called)) => format!(" as {service}:{}", called.port()),
        (None, Some(called)) => format!(" as {called}"),
        (_, None) => String::new(),
    }
}

fn verdict(flow: &FlowRecord) -> String {
    match &flow.rule {
        Some(rule) => format!("{} by {rule}", flow.reason),
        None => flow.reason.clone(),
    }
}

fn end(name: &str, port: u16, icmp: bool) -> String {
    match port {
        0 => name.to_owned(),
        port if icmp => format!("{name} id {port}"),
        // An IPv6 address; names of pods and nodes have one colon at most.
        port if name.matches(':').count() > 1 => format!("[{name}]:{port}"),
        port => format!("{name}:{port}"),
    }
}

fn lasting(seconds: f64) -> String {
    let rounded = Duration::from_secs(seconds as u64);
    if seconds < 10.0 {
        format!("{seconds:.1}s")
    } else {
        humantime::format_duration(rounded).to_string().replace(' ', "")
    }
}

fn size(bytes: u64) -> String {
    const UNITS: [&str; 6] = ["KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];
    let mut scaled = bytes as f64 / 1024.0;
    if scaled < 1.0 {
        return format!("{bytes}B");
    }
    let mut units = UNITS.iter();
    while scaled >= 1024.0 && units.len() > 1 {
        scaled /= 1024.0;
        units.next();
    }
    format!("{scaled:.1}{}", units.next().unwrap_or(&"EiB"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn flow() -> FlowRecord {
        FlowRecord {
            id: "1c.3".into(),
            source: "shop/api".into(),
            source_ip: "10.244.1.11".into(),
            source_port: 40112,
            destination: "fd00::7".into(),
            destination_ip: "fd00::7".into(),
            destination_port: 443,
            called: None,
            service: None,
            protocol: "TCP".into(),
            state: "ESTABLISHED".into(),
            assured: true,
            age_seconds: 123.4,
            idle_seconds: 0.42,
            expires_seconds: 432_000.0,
            packets_sent: 120,
            bytes_sent: 1_023,
            packets_returned: 1,
            bytes_returned: 88_210,
            reason: "policy".into(),
            egress: "policy".into(),
            ingress: "not-local".into(),
            policies: vec!["shop/out".into()],
            rule: Some("shop/out egress[0]".into()),
            way: "bridge".into(),
            device: Some("veth9".into()),
            epoch: 7,
        }
    }

    #[test]
    fn columns_are_as_wide_as_the_first_flows_need() {
        let ping = FlowRecord {
            id: "2.1".into(),
            protocol: "ICMP".into(),
            state: "REPLIED".into(),
            source: "node:worker".into(),
            destination: "shop/db".into(),
            source_port: 9,
            destination_port: 9,
            rule: None,
            reason: "own-node".into(),
            ..flow()
        };
        let columns = Columns::of(&[flow(), ping.clone()]);
        let expected = "\
ID    PROTOCOL  STATE        SOURCE            DESTINATION    AGE   IDLE  SENT       RETURNED   WAY     VERDICT
1c.3  TCP       ESTABLISHED  shop/api:40112    [fd00::7]:443  2m3s  0.4s  120/1023B  1/86.1KiB  bridge  policy by shop/out egress[0]
2.1   ICMP      REPLIED      node:worker id 9  shop/db id 9   2m3s  0.4s  120/1023B  1/86.1KiB  bridge  own-node";
        assert_eq!([columns.head(), columns.line(&flow()), columns.line(&ping)].join("\n"), expected);
    }

    #[test]
    fn one_flow_in_full() {
        let expected = "\
flow 1c.3: TCP ESTABLISHED, assured
from      shop/api:40112 (10.244.1.11)
to        [fd00::7]:443
age       2m3s, idle 0.4s, forgotten after 5days more of silence
sent      120 packets, 1023B
returned  1 packet, 86.1KiB
verdict   policy by shop/out egress[0]; egress policy, ingress not-local; decided by snapshot 7
way       bridge, first seen at veth9
";
        assert_eq!(told(&flow()), expected);
    }

    #[test]
    fn sizes_have_a_unit_that_fits() {
        let sizes = [0, 1023, 1024, 1_048_576, 3 << 30, u64::MAX].map(size);
        assert_eq!(sizes, ["0B", "1023B", "1.0KiB", "1.0MiB", "3.0GiB", "16.0EiB"]);
    }
}
