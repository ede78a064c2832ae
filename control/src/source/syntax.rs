//! Names, labels, addresses and CIDRs, judged as apimachinery's validation does.

use std::net::{IpAddr, Ipv6Addr};

use ipnet::{IpNet, Ipv4Net};

/// How addresses and CIDRs are judged.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Strictness {
    /// As a new object (StrictIPCIDRValidation): host bits, leading zeros and IPv4-mapped IPv6 are
    /// refused. Right for manifests: what two readers would read in two ways is sent back.
    #[default]
    New,
    /// As an object that an API server already holds: those are accepted, and mean what they
    /// always meant there.
    Stored,
}

/// What is wrong with a CIDR or an address.
pub(super) struct BadSyntax {
    pub(super) detail: &'static str,
    pub(super) remedy: Option<String>,
}

const NOT_A_CIDR: &str = "must be a valid CIDR value, (e.g. 10.9.8.0/24 or 2001:db8::/64)";

/// A CIDR, host bits cut off.
pub(super) fn cidr(text: &str, strictness: Strictness) -> Result<IpNet, BadSyntax> {
    let net = parse_cidr(text).ok_or(BadSyntax { detail: NOT_A_CIDR, remedy: None })?;
    let canonical = without_mapping(net).trunc();
    if strictness == Strictness::Stored {
        return Ok(canonical);
    }
    let remedy = Some(format!("write {canonical}"));
    if canonical.addr().is_ipv4() != net.addr().is_ipv4() {
        return Err(BadSyntax { detail: "must not have an IPv4-mapped IPv6 address", remedy });
    }
    if has_padding(text) {
        return Err(BadSyntax { detail: "must not have leading 0s in IP or prefix length", remedy });
    }
    if net.addr() != canonical.addr() {
        return Err(BadSyntax { detail: "must not have bits set beyond the prefix length", remedy });
    }
    Ok(canonical)
}

/// An address of a pod or node. IPv4-mapped IPv6 is refused: on the wire there is no such thing.
pub(super) fn address(text: &str) -> Result<IpAddr, BadSyntax> {
    let detail = "must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)";
    match text.parse() {
        Ok(IpAddr::V6(v6)) if v6.to_ipv4_mapped().is_some() => {
            Err(BadSyntax { detail: "must not be an IPv4-mapped IPv6 address", remedy: None })
        }
        Ok(address) => Ok(address),
        Err(_) => Err(BadSyntax { detail, remedy: None }),
    }
}

/// Leading zeros are decimal here, as they were in Kubernetes.
fn parse_cidr(text: &str) -> Option<IpNet> {
    let (address, prefix) = text.split_once('/')?;
    let address: IpAddr = if address.contains(':') {
        IpAddr::V6(address.parse::<Ipv6Addr>().ok()?)
    } else {
        let octets: Vec<u8> = address.split('.').map(decimal).collect::<Option<_>>()?;
        IpAddr::from(<[u8; 4]>::try_from(octets).ok()?)
    };
    IpNet::new(address, decimal(prefix)?).ok()
}

fn decimal(text: &str) -> Option<u8> {
    let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    digits.then(|| text.parse().ok()).flatten()
}

/// Leading zeros in a decimal part; the groups of IPv6 may have them.
fn has_padding(text: &str) -> bool {
    let parts = text.rsplit(['.', '/']).filter(|part| !part.contains(':'));
    parts.into_iter().any(|part| part.len() > 1 && part.starts_with('0'))
}

/// An IPv4-mapped network is that IPv4 network (Go's `net.IPNet.Contains`).
fn without_mapping(net: IpNet) -> IpNet {
    if let IpNet::V6(v6) = net
        && let Some(v4) = v6.addr().to_ipv4_mapped()
        && let Some(prefix) = v6.prefix_len().checked_sub(96)
        && let Ok(net) = Ipv4Net::new(v4, prefix)
    {
        return IpNet::V4(net);
    }
    net
}

const LABEL_NAME: &str = "name part must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an \
     alphanumeric character (e.g. 'MyName', or 'my.name', or '123-abc'), at most 63 of them";

/// A label key: an optional DNS prefix, a slash, a name.
pub(super) fn label_key(key: &str) -> Result<(), &'static str> {
    let (prefix, name) = match key.split_once('/') {
        Some((prefix, name)) => (Some(prefix), name),
        None => (None, key),
    };
    if prefix.is_some_and(|prefix| subdomain(prefix).is_err()) {
        return Err("prefix part must be a lowercase RFC 1123 subdomain (e.g. 'example.com')");
    }
    if is_label_word(name) { Ok(()) } else { Err(LABEL_NAME) }
}

/// A label value; it may be empty.
pub(super) fn label_value(value: &str) -> Result<(), &'static str> {
    if value.is_empty() || is_label_word(value) {
        return Ok(());
    }
    Err(
        "a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or '.', and must \
         start and end with an alphanumeric character (e.g. 'MyValue', or 'my_value', or '12345'), at most 63 of them",
    )
}

fn is_label_word(word: &str) -> bool {
    let inside = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
    word.len() <= 63 && word.bytes().all(inside) && has_alphanumeric_ends(word)
}

fn has_alphanumeric_ends(word: &str) -> bool {
    let alphanumeric = |byte: Option<u8>| byte.is_some_and(|byte| byte.is_ascii_alphanumeric());
    alphanumeric(word.bytes().next()) && alphanumeric(word.bytes().last())
}

/// Name of a pod, node or policy (RFC 1123).
pub(super) fn subdomain(name: &str) -> Result<(), &'static str> {
    if name.len() <= 253 && name.split('.').all(|part| part.len() <= 253 && is_dns_word(part)) {
        return Ok(());
    }
    Err(
        "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must \
         start and end with an alphanumeric character (e.g. 'example.com'), at most 253 of them",
    )
}

/// Name of a namespace (RFC 1123).
pub(super) fn dns_label(name: &str) -> Result<(), &'static str> {
    if name.len() <= 63 && is_dns_word(name) {
        return Ok(());
    }
    Err(
        "a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must start and \
         end with an alphanumeric character (e.g. 'my-name', or '123-abc'), at most 63 of them",
    )
}

fn is_dns_word(word: &str) -> bool {
    word.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-')
        && has_alphanumeric_ends(word)
}

/// Everything that is wrong with a port's name (apimachinery, IsValidPortName).
pub(super) fn port_name(name: &str) -> Vec<&'static str> {
    let allowed = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    let mut wrong = Vec::new();
    if name.len() > 15 {
        wrong.push("must be no more than 15 characters");
    }
    if name.is_empty() || !name.bytes().all(allowed) {
        wrong.push("must contain only alpha-numeric characters (a-z, 0-9), and hyphens (-)");
    }
    if !name.bytes().any(|byte| byte.is_ascii_lowercase()) {
        wrong.push("must contain at least one letter (a-z)");
    }
    if name.contains("--") {
        wrong.push("must not contain consecutive hyphens");
    }
    if name.starts_with('-') || name.ends_with('-') {
        wrong.push("must not begin or end with a hyphen");
    }
    wrong
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stored_cidrs_mean_what_they_always_meant() {
        for (text, means) in [
            ("10.0.1.20/24", "10.0.1.0/24"),
            ("010.0.0.0/8", "10.0.0.0/8"),
            ("10.0.0.0/08", "10.0.0.0/8"),
            ("::ffff:10.0.0.0/104", "10.0.0.0/8"),
            ("2001:db8::1/32", "2001:db8::/32"),
        ] {
            assert_eq!(cidr(text, Strictness::Stored).ok(), means.parse().ok(), "{text}");
            let refused = cidr(text, Strictness::New).err().unwrap();
            assert_eq!(refused.remedy, Some(format!("write {means}")), "{text}");
            assert!(cidr(means, Strictness::New).is_ok());
        }
        for bad in [
            "10.0.0.0",
            "10.0.0.0/33",
            "10.0.0.0/+8",
            "10.0.0/8",
            "any",
            "",
            "/8",
            "10.0.0.0/",
            "256.0.0.0/8",
        ] {
            assert!(cidr(bad, Strictness::Stored).is_err(), "{bad}");
        }
    }

    #[test]
    fn names_and_labels() {
        for good in ["a", "a-b.c", "10", "x1"] {
            assert!(subdomain(good).is_ok(), "{good}");
        }
        for bad in ["", "A", "a_b", "-a", "a-", "a..b", ".a"] {
            assert!(subdomain(bad).is_err(), "{bad}");
        }
        assert!(dns_label("a.b").is_err());
        for good in ["app", "kubernetes.io/metadata.name", "a_b", "A.9"] {
            assert!(label_key(good).is_ok(), "{good}");
        }
        for bad in ["", "/a", "a/", "A/b", "a/b/c", "Not=Allowed", &"a".repeat(64)] {
            assert!(label_key(bad).is_err(), "{bad}");
        }
        assert!(label_value("").is_ok());
        assert!(label_value("b c").is_err());
        assert!(port_name("serve-80-tcp").is_empty());
        assert_eq!(port_name("80").len(), 1);
        assert_eq!(port_name("a--b").len(), 1);
    }
}
