//! The line of `podgate status` on where the objects come from.

use crate::source::{SourceKind, SourceStatus, StateOrigin};

/// Where the objects come from, and how that is. Nothing for manifests.
pub(super) fn render(source: &SourceStatus) -> String {
    if source.kind == SourceKind::Manifests {
        return String::new();
    }
    let server = source.server.as_deref().unwrap_or("an unknown server");
    let used = match source.origin {
        StateOrigin::Nothing => "nothing read yet",
        StateOrigin::Disk => "in force: the last good state, kept on disk",
        StateOrigin::Live if source.is_current() => "in force: what there is",
        StateOrigin::Live => "in force: what was read last",
    };
    let mut text = format!("objects from {server}: {used}");
    if let Some(seconds) = source.last_contact_seconds {
        text.push_str(&format!("; last heard of {seconds:.0} s ago"));
    }
    if let Some(seconds) = source.saved.as_ref().and_then(|saved| saved.age_seconds) {
        text.push_str(&format!("; saved {seconds:.0} s ago"));
    }
    if source.endpoints_fallback {
        text.push_str("; Services by core/v1 Endpoints: the server has no discovery.k8s.io/v1");
    }
    if !source.listed_anew.is_empty() {
        text.push_str(&format!(
            "\nlisted anew: {}: what was read before is in force until the list is whole",
            source.listed_anew.join(", ")
        ));
    }
    for away in &source.away {
        let since = if away.was_read { "followed" } else { "read" };
        text.push_str(&format!("\nnot {since} for {:.0} s: {}: {}", away.seconds, away.resource, away.error));
    }
    text + "\n"
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::source::Away;

    #[test]
    fn it_says_what_is_in_force_and_what_is_away() {
        assert_eq!(render(&SourceStatus::default()), "");
        let away = Away { resource: "pods".into(), was_read: true, seconds: 7.0, error: "refused".into() };
        let status = SourceStatus {
            kind: SourceKind::Kubernetes,
            server: Some("https://10.0.0.1".into()),
            synced: true,
            origin: StateOrigin::Live,
            last_contact_seconds: Some(6.6),
            away: vec![away],
            endpoints_fallback: true,
            ..SourceStatus::default()
        };
        assert_eq!(
            render(&status),
            "objects from https://10.0.0.1: in force: what was read last; last heard of 7 s ago; Services by core/v1 \
             Endpoints: the server has no discovery.k8s.io/v1\nnot followed for 7 s: pods: refused\n"
        );
        let listed_anew = vec!["pods".to_owned()];
        let status = SourceStatus { away: Vec::new(), endpoints_fallback: false, listed_anew, ..status };
        assert_eq!(
            render(&status),
            "objects from https://10.0.0.1: in force: what was read last; last heard of 7 s ago\nlisted anew: pods: what \
             was read before is in force until the list is whole\n"
        );
    }
}
