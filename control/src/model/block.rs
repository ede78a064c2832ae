//! `ipBlock`.

use std::net::IpAddr;

use ipnet::IpNet;

/// Addresses in `cidr` and in none of `except`. The excepts limit this block only: another block
/// or rule may allow what they take out.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct IpBlock {
    cidr: IpNet,
    except: Vec<IpNet>,
}

/// An except that takes nothing or everything out of its block.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("except {except} is not a strict subset of {cidr}")]
pub struct BlockError {
    /// The block.
    pub cidr: IpNet,
    /// The except.
    pub except: IpNet,
}

impl IpBlock {
    /// A block; every except must be a strict subset of `cidr` (API validation). Host bits are
    /// cut off: objects from before strict validation may hold them.
    pub fn new(cidr: IpNet, except: &[IpNet]) -> Result<Self, BlockError> {
        let cidr = cidr.trunc();
        let mut except: Vec<_> = except.iter().map(IpNet::trunc).collect();
        if let Some(bad) = except.iter().find(|except| !is_strict_subset(except, &cidr)) {
            return Err(BlockError { cidr, except: *bad });
        }
        except.sort_unstable();
        except.dedup();
        Ok(Self { cidr, except })
    }

    /// The addresses it covers, its excepts apart.
    pub fn cidr(&self) -> IpNet {
        self.cidr
    }

    /// What is taken out of it, sorted.
    pub fn except(&self) -> &[IpNet] {
        &self.except
    }

    /// Whether `address` is in it. `0.0.0.0/0` holds no IPv6 address, `::/0` no IPv4 address.
    pub fn contains(&self, address: IpAddr) -> bool {
        self.cidr.contains(&address) && !self.except.iter().any(|except| except.contains(&address))
    }
}

fn is_strict_subset(inner: &IpNet, outer: &IpNet) -> bool {
    outer.contains(&inner.network()) && inner.prefix_len() > outer.prefix_len()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn net(text: &str) -> IpNet {
        text.parse().unwrap()
    }

    #[test]
    fn families_do_not_mix_and_excepts_are_taken_out() {
        let block = IpBlock::new(net("0.0.0.0/0"), &[net("10.0.0.0/8"), net("10.1.0.0/16")]).unwrap();
        assert!(block.contains("11.0.0.1".parse().unwrap()));
        assert!(!block.contains("10.1.0.1".parse().unwrap()));
        assert!(!block.contains("2001:db8::1".parse().unwrap()));
        let six = IpBlock::new(net("::/0"), &[]).unwrap();
        assert!(!six.contains("11.0.0.1".parse().unwrap()));
    }

    #[test]
    fn an_except_is_a_strict_subset() {
        for except in ["192.168.0.0/24", "10.0.0.0/8", "0.0.0.0/0", "2001:db8::/32"] {
            assert!(IpBlock::new(net("10.0.0.0/8"), &[net(except)]).is_err(), "{except}");
        }
        assert_eq!(IpBlock::new(net("10.0.1.20/24"), &[]).unwrap().cidr(), net("10.0.1.0/24"));
    }
}
