//! What resolv.conf says (resolv.conf(5)).

use std::io;
use std::net::IpAddr;
use std::path::Path;

/// Whom a host asks for names, and for which.
pub(super) struct Resolver {
    pub(super) nameserver: IpAddr,
    search: Vec<String>,
    ndots: usize,
}

impl Resolver {
    pub(super) fn read(path: &Path) -> io::Result<Self> {
        Ok(Self::of(&std::fs::read_to_string(path)?))
    }

    fn of(text: &str) -> Self {
        let mut resolver = Self { nameserver: IpAddr::from([127, 0, 0, 1]), search: Vec::new(), ndots: 1 };
        let mut first = true;
        for line in text.lines() {
            let mut words = line.split_whitespace();
            match words.next() {
                Some("nameserver") if first => {
                    if let Some(address) = words.next().and_then(|word| word.parse().ok()) {
                        (resolver.nameserver, first) = (address, false);
                    }
                }
                Some("search") => resolver.search = words.map(str::to_owned).collect(),
                Some("options") => {
                    let ndots = words.find_map(|word| word.strip_prefix("ndots:")?.parse().ok());
                    resolver.ndots = ndots.unwrap_or(resolver.ndots);
                }
                _ => {}
            }
        }
        resolver
    }

    /// The names to be asked for, in order.
    pub(super) fn candidates(&self, name: &str) -> Vec<String> {
        if name.ends_with('.') {
            return vec![name.to_owned()];
        }
        let listed = self.search.iter().map(|domain| format!("{name}.{domain}."));
        let itself = format!("{name}.");
        if name.matches('.').count() >= self.ndots {
            [itself].into_iter().chain(listed).collect()
        } else {
            listed.chain([itself]).collect()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_search_list_comes_before_a_name_of_few_dots() {
        let resolver =
            Resolver::of("search a.b b\nnameserver fd00::a\nnameserver 10.0.0.1\noptions ndots:2\n");
        assert_eq!(resolver.nameserver, "fd00::a".parse::<IpAddr>().unwrap());
        assert_eq!(resolver.candidates("x"), ["x.a.b.", "x.b.", "x."]);
        assert_eq!(resolver.candidates("x.y.z"), ["x.y.z.", "x.y.z.a.b.", "x.y.z.b."]);
        assert_eq!(resolver.candidates("x."), ["x."]);
    }
}
