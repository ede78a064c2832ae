//! Tables of objects, as kubectl prints them.

use std::net::IpAddr;

use serde_json::Value;

use super::kind::Kind;
use super::table;

/// A table of objects of one kind; with their kind before their names where it stands among others.
pub(super) fn rows(kind: Kind, items: &[Value], show_labels: bool, is_mixed: bool) -> String {
    let mut head: Vec<&str> = match kind.name {
        "Pod" => vec!["NAMESPACE", "NAME", "IP", "PORTS"],
        "Service" => vec!["NAMESPACE", "NAME", "CLUSTER-IP", "PORTS"],
        "NetworkPolicy" => vec!["NAMESPACE", "NAME", "POD-SELECTOR", "TYPES"],
        "Endpoints" => vec!["NAMESPACE", "NAME", "ENDPOINTS"],
        "EndpointSlice" => vec!["NAMESPACE", "NAME", "PORTS", "ENDPOINTS"],
        _ if kind.is_workload() => vec!["NAMESPACE", "NAME", "READY"],
        "Namespace" | "Node" => vec!["NAME"],
        _ => vec!["NAMESPACE", "NAME"],
    };
    if show_labels {
        head.push("LABELS");
    }
    let rows: Vec<Vec<String>> = items
        .iter()
        .map(|item| {
            let (metadata, spec) = (&item["metadata"], &item["spec"]);
            let name = text(&metadata["name"]);
            let name = if is_mixed { format!("{}/{name}", kind.qualified) } else { name };
            let mut row = vec![text(&metadata["namespace"]), name];
            match kind.name {
                "Pod" => {
                    row.push(each(&item["status"]["podIPs"], |ip| text(&ip["ip"])));
                    row.push(each(&spec["containers"][0]["ports"], |port| {
                        format!("{}/{}", port["containerPort"], text(&port["protocol"]))
                    }));
                }
                "Service" => {
                    row.push(match (&spec["clusterIPs"], spec["clusterIP"].as_str()) {
                        (Value::Array(all), _) if !all.is_empty() => each(&spec["clusterIPs"], text),
                        (_, Some(none)) => none.to_owned(),
                        _ => text(&spec["externalName"]),
                    });
                    row.push(each(&spec["ports"], |port| {
                        format!("{}/{}", port["port"], text(&port["protocol"]))
                    }));
                }
                "NetworkPolicy" => {
                    row.push(selector(&spec["podSelector"]));
                    row.push(each(&spec["policyTypes"], text));
                }
                "Endpoints" => row.push(endpoints(item)),
                "EndpointSlice" => {
                    row.push(each(&item["ports"], |port| {
                        format!("{}/{}", port["port"], text(&port["protocol"]))
                    }));
                    row.push(each(&item["endpoints"], |endpoint| each(&endpoint["addresses"], text)));
                }
                _ if kind.is_workload() => {
                    let count = |field| item["status"][field].as_u64().unwrap_or_default();
                    row.push(format!("{}/{}", count("readyReplicas"), count("replicas")));
                }
                "Namespace" | "Node" => {
                    row.remove(0);
                }
                _ => {}
            }
            if show_labels {
                row.push(pairs(&metadata["labels"]).unwrap_or_else(|| "<none>".to_owned()));
            }
            row
        })
        .collect();
    table::render_columns(&head, &rows)
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

fn each(list: &Value, show: impl Fn(&Value) -> String) -> String {
    let shown: Vec<String> = list.as_array().into_iter().flatten().map(show).collect();
    if shown.is_empty() { "<none>".to_owned() } else { shown.join(",") }
}

fn pairs(map: &Value) -> Option<String> {
    let map = map.as_object().filter(|map| !map.is_empty())?;
    Some(map.iter().map(|(key, value)| format!("{key}={}", text(value))).collect::<Vec<_>>().join(","))
}

/// As kubectl writes selectors: `app=web,tier in (a,b)`.
fn selector(selector: &Value) -> String {
    let mut parts: Vec<String> = pairs(&selector["matchLabels"]).into_iter().collect();
    for expression in selector["matchExpressions"].as_array().into_iter().flatten() {
        let key = text(&expression["key"]);
        let values = || {
            let all: Vec<String> = expression["values"].as_array().into_iter().flatten().map(text).collect();
            all.join(",")
        };
        parts.push(match expression["operator"].as_str() {
            Some("In") => format!("{key} in ({})", values()),
            Some("NotIn") => format!("{key} notin ({})", values()),
            Some("DoesNotExist") => format!("!{key}"),
            _ => key,
        });
    }
    if parts.is_empty() { "<none>".to_owned() } else { parts.join(",") }
}

/// `10.0.0.5:80,10.0.0.6:80`: every address with every port.
fn endpoints(object: &Value) -> String {
    let list = |value: &Value| value.as_array().cloned().unwrap_or_default();
    let mut shown = Vec::new();
    for subset in list(&object["subsets"]) {
        for address in list(&subset["addresses"]) {
            let Ok(ip) = text(&address["ip"]).parse::<IpAddr>() else { continue };
            if list(&subset["ports"]).is_empty() {
                shown.push(ip.to_string());
            }
            for port in list(&subset["ports"]) {
                let number =
                    port["port"].as_u64().and_then(|port| u16::try_from(port).ok()).unwrap_or_default();
                shown.push(std::net::SocketAddr::new(ip, number).to_string());
            }
        }
    }
    if shown.is_empty() { "<none>".to_owned() } else { shown.join(",") }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn endpoints_are_shown_with_their_ports() {
        let subset = |ip: &str, ports: Value| json!({"addresses": [{"ip": ip}], "ports": ports});
        let both = json!([{"port": 80}, {"port": 53}]);
        let object = json!({"subsets": [subset("10.0.0.5", both), subset("fd00::5", json!([]))]});
        assert_eq!(endpoints(&object), "10.0.0.5:80,10.0.0.5:53,fd00::5");
        assert_eq!(endpoints(&json!({"subsets": []})), "<none>");
    }

    #[test]
    fn names_among_other_kinds_say_theirs() {
        let item = json!({"metadata": {"namespace": "shop", "name": "web"}, "status": {"replicas": 3, "readyReplicas": 2}});
        let kind = Kind::meant_by("deploy").unwrap();
        let table = |is_mixed| {
            let table = rows(kind, std::slice::from_ref(&item), false, is_mixed);
            table.lines().last().unwrap_or_default().split_whitespace().map(str::to_owned).collect::<Vec<_>>()
        };
        assert_eq!(table(false), ["shop", "web", "2/3"]);
        assert_eq!(table(true), ["shop", "deployment.apps/web", "2/3"]);
    }
}
