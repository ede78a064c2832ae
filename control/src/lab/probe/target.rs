//! What is connected to, as it is written.

use std::fmt;
use std::str::FromStr;

use crate::model::{ObjectKey, Protocol};

/// What is connected to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    written: String,
    /// At which host.
    pub(super) host: Host,
    /// At which port.
    pub(super) port: u16,
    pub(super) protocol: Protocol,
    /// What is asked for by HTTP, if it is.
    pub(super) path: Option<String>,
}

/// A host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Host {
    /// An address, or a name that the pod looks up.
    Name(String),
    /// A pod's own address.
    Pod(ObjectKey),
}

/// A text that is no target.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "{text:?} is nothing to connect to: write http://HOST[:PORT]/, HOST:PORT[/PROTOCOL] or \
     pod:NAMESPACE/NAME:PORT[/PROTOCOL], with TCP or UDP as protocol"
)]
pub struct TargetError {
    /// The text.
    pub text: String,
}

impl FromStr for Target {
    type Err = TargetError;

    fn from_str(text: &str) -> Result<Self, TargetError> {
        let wrong = || TargetError { text: text.to_owned() };
        if let Some(rest) = text.strip_prefix("http://") {
            let (authority, path) = rest.split_once('/').unwrap_or((rest, ""));
            let (host, port) = match authority.rsplit_once(':') {
                Some((host, port)) if !authority.ends_with(']') => (host, port.parse().map_err(|_| wrong())?),
                _ => (authority, 80),
            };
            let host = Host::name(host).ok_or_else(wrong)?;
            let path = Some(format!("/{path}"));
            return Ok(Self { written: text.to_owned(), host, port, protocol: Protocol::Tcp, path });
        }
        let (rest, is_pod) = text.strip_prefix("pod:").map_or((text, false), |rest| (rest, true));
        let (host, port) = rest.rsplit_once(':').ok_or_else(wrong)?;
        let (port, protocol) = port.split_once('/').unwrap_or((port, "TCP"));
        let port = port.parse().ok().filter(|port| *port > 0).ok_or_else(wrong)?;
        let protocol =
            Protocol::from_name(protocol).filter(|one| *one != Protocol::Sctp).ok_or_else(wrong)?;
        let host = if is_pod { host.parse().ok().map(Host::Pod) } else { Host::name(host) };
        Ok(Self { written: text.to_owned(), host: host.ok_or_else(wrong)?, port, protocol, path: None })
    }
}

impl Host {
    fn name(text: &str) -> Option<Self> {
        let text = text.trim_start_matches('[').trim_end_matches(']');
        (!text.is_empty() && !text.contains('/')).then(|| Self::Name(text.to_owned()))
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.written)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_form_is_read() {
        for (text, host, port, path) in [
            ("http://web.shop/", "web.shop", 80, Some("/")),
            ("http://web.shop:8080/a/b", "web.shop", 8080, Some("/a/b")),
            ("http://[fd00::1]:81", "fd00::1", 81, Some("/")),
            ("203.0.113.10:443", "203.0.113.10", 443, None),
            ("[fd00::1]:53/UDP", "fd00::1", 53, None),
        ] {
            let target: Target = text.parse().unwrap();
            assert_eq!(target.host, Host::Name(host.to_owned()), "{text}");
            assert_eq!(
                (target.port, target.path.as_deref(), target.to_string().as_str()),
                (port, path, text)
            );
        }
        let pod: Target = "pod:shop/web:53/UDP".parse().unwrap();
        assert_eq!((pod.host, pod.protocol), (Host::Pod(ObjectKey::new("shop", "web")), Protocol::Udp));
        for text in [
            "",
            "web",
            "web:",
            "web:0",
            "web:65536",
            "web:80/SCTP",
            "pod:web:80",
            "http://",
            "http:///",
            "ftp://a/b:1",
        ] {
            assert_eq!(text.parse::<Target>(), Err(TargetError { text: text.to_owned() }), "{text}");
        }
    }
}
