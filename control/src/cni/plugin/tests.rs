//! What needs no container and no gateway. The rest is tested on live frames.

use serde_json::Value;

use super::*;

const CONTAINER: [(&str, &str); 3] =
    [("CNI_CONTAINERID", "c1"), ("CNI_IFNAME", "eth0"), ("CNI_NETNS", "/run/netns/no-such")];

fn with(command: &str, text: &str) -> Result<String, CniError> {
    run(command, text, |name| {
        CONTAINER.iter().find(|(known, _)| *known == name).map(|(_, value)| (*value).to_owned())
    })
}

/// A configuration in that version whose gateway is away.
fn away_in(version: &str, more: &str) -> String {
    format!(
        "{{\"cniVersion\": \"{version}\", \"name\": \"n\", \"socket\": \"/nowhere/api.sock\", \
         \"timeout\": \"100ms\"{more}}}"
    )
}

#[test]
fn versions_are_told_in_the_version_asked_for() {
    for (text, version) in
        [("{\"cniVersion\": \"0.4.0\"}", "0.4.0"), ("", "1.1.0"), ("{\"cniVersion\": \"9\"}", "1.1.0")]
    {
        let told: Value = serde_json::from_str(&with("VERSION", text).unwrap()).unwrap();
        assert_eq!(told["cniVersion"], version);
        assert_eq!(
            told["supportedVersions"],
            serde_json::json!(["0.3.0", "0.3.1", "0.4.0", "1.0.0", "1.1.0"])
        );
    }
}

#[test]
fn commands_are_refused_in_versions_that_lack_them() {
    for (command, version) in [("CHECK", "0.3.1"), ("STATUS", "1.0.0"), ("GC", "1.0.0")] {
        let error = with(command, &away_in(version, "")).unwrap_err();
        assert_eq!(error.code, Code::IncompatibleVersion, "{error}");
        assert!(error.message.contains(command) && error.message.contains(version), "{error}");
    }
    assert_eq!(with("UPDATE", "{}").unwrap_err().code, Code::Environment);
}

#[test]
fn going_always_succeeds() {
    for text in ["", "{", &away_in("0.1.0", ""), &away_in("1.0.0", ""), &away_in("1.0.0", ", \"mode\": 1")] {
        assert_eq!(with("DEL", text).as_deref(), Ok(""), "{text}");
    }
    assert_eq!(run("DEL", &away_in("1.0.0", ""), |_| None).as_deref(), Ok(""));
    let none = ", \"cni.dev/valid-attachments\": []";
    assert_eq!(with("GC", &away_in("1.1.0", none)).as_deref(), Ok(""));
    assert_eq!(with("GC", &away_in("1.1.0", "")).unwrap_err().code, Code::Configuration);
}

#[test]
fn a_gateway_that_is_away_is_not_available() {
    let error = with("STATUS", &away_in("1.1.0", "")).unwrap_err();
    assert_eq!(error.code, Code::NotAvailable);
    assert!(error.message.contains("/nowhere/api.sock"), "{error}");
    assert_eq!(with("STATUS", &away_in("1.1.0", ", \"mode\": \"open\"")).as_deref(), Ok(""));
    let told: Value = serde_json::from_str(&error.to_json(Version::V1_1_0)).unwrap();
    assert_eq!((&told["cniVersion"], &told["code"]), (&"1.1.0".into(), &50.into()));
    assert_eq!(told["msg"], error.message);
}

#[test]
fn an_interface_has_to_be_there() {
    let error = with("ADD", &away_in("1.0.0", "")).unwrap_err();
    assert_eq!(error.code, Code::Configuration);
    assert!(error.message.contains("prevResult"), "{error}");
    let previous = ", \"prevResult\": {\"cniVersion\": \"1.0.0\", \"ips\": []}";
    let error = with("ADD", &away_in("1.0.0", previous)).unwrap_err();
    assert_eq!(error.code, Code::UnknownContainer);
    assert!(error.message.contains("/run/netns/no-such"), "{error}");
    let open = format!("{previous}, \"mode\": \"open\"");
    assert_eq!(
        with("ADD", &away_in("1.0.0", &open)).as_deref(),
        Ok("{\"cniVersion\": \"1.0.0\", \"ips\": []}\n")
    );
}
