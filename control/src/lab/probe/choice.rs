//! Which of a name's addresses a program in a host would connect to.

use std::net::IpAddr;

/// The addresses that a host can connect to, each behind its own address for it, the preferred first.
///
/// As the C library sorts them (RFC 6724, section 6, with the table of its predecessor, which glibc keeps: a
/// unique local address is as good as another of IPv6): those of the kind that the own address is of, then IPv6
/// before IPv4, then as the server gave them.
pub(super) fn in_order(own: &[IpAddr], found: &[IpAddr]) -> Vec<(IpAddr, IpAddr)> {
    let mut pairs: Vec<_> = found.iter().filter_map(|to| Some((source(own, *to)?, *to))).collect();
    pairs.sort_by_key(|(own, to)| (is_unique_local(*own) != is_unique_local(*to), to.is_ipv4()));
    pairs
}

/// Those of them that are tried: the first, and where that fails the first of the other family, as curl does
/// (RFC 8305).
pub(super) fn to_try(pairs: &[(IpAddr, IpAddr)]) -> Vec<(IpAddr, IpAddr)> {
    let Some(first) = pairs.first() else { return Vec::new() };
    let other = pairs.iter().find(|(_, to)| to.is_ipv4() != first.1.is_ipv4());
    [Some(first), other].into_iter().flatten().copied().collect()
}

/// A host's own address towards another.
pub(super) fn source(own: &[IpAddr], to: IpAddr) -> Option<IpAddr> {
    let of_family = || own.iter().copied().filter(|own| own.is_ipv4() == to.is_ipv4());
    of_family().find(|own| is_unique_local(*own) == is_unique_local(to)).or_else(|| of_family().next())
}

fn is_unique_local(address: IpAddr) -> bool {
    matches!(address, IpAddr::V6(address) if address.is_unique_local())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn addresses(texts: &[&str]) -> Vec<IpAddr> {
        texts.iter().map(|text| text.parse().unwrap()).collect()
    }

    fn ordered(own: &[&str], found: &[&str]) -> Vec<String> {
        let pairs = in_order(&addresses(own), &addresses(found));
        pairs.into_iter().map(|(own, to)| format!("{own} {to}")).collect()
    }

    #[test]
    fn addresses_come_as_the_c_library_sorts_them() {
        let both = ["10.96.0.1", "10.96.0.2", "fd00:96::1"];
        assert_eq!(
            ordered(&["10.0.0.5", "fd00::5"], &both),
            ["fd00::5 fd00:96::1", "10.0.0.5 10.96.0.1", "10.0.0.5 10.96.0.2"]
        );
        assert_eq!(ordered(&["fd00::5"], &both), ["fd00::5 fd00:96::1"], "IPv6 alone");
        assert_eq!(ordered(&["10.0.0.5"], &both), ["10.0.0.5 10.96.0.1", "10.0.0.5 10.96.0.2"]);
        assert_eq!(ordered(&["10.0.0.5"], &["fd00::1"]), [""; 0]);
        assert_eq!(
            ordered(&["10.0.0.5", "fd00::5"], &["2001:db8::1", "192.0.2.1"]),
            ["10.0.0.5 192.0.2.1", "fd00::5 2001:db8::1"],
            "a unique local address is not for the whole world"
        );
        assert_eq!(
            ordered(&["fd00::5", "2001:db8::5"], &["2001:db8::1"]),
            ["2001:db8::5 2001:db8::1"],
            "the own address is of its kind"
        );
    }

    #[test]
    fn one_of_each_family_is_tried() {
        let own = addresses(&["10.0.0.5", "fd00::5"]);
        let pairs = in_order(&own, &addresses(&["10.96.0.1", "10.96.0.2", "fd00:96::1", "fd00:96::2"]));
        let tried: Vec<String> = to_try(&pairs).into_iter().map(|(_, to)| to.to_string()).collect();
        assert_eq!(tried, ["fd00:96::1", "10.96.0.1"]);
        assert_eq!(to_try(&[]), []);
    }
}
