//! The keyed hash that places a flow.
//!
//! Whoever can choose addresses and ports must not be able to compute tuples that fall together
//! (Crosby and Wallach, "Denial of Service via Algorithmic Complexity Attacks", 2003). The key is
//! hashed with NH (Black et al., "UMAC: Fast and Secure Message Authentication", 1999) at 64-bit
//! width: for any two keys fixed before the secret is drawn, the 128-bit sums collide with
//! probability 2^-64, whatever the keys are. One more keyed multiplication spreads the sum over
//! the 64 bits that the table uses.

use std::fmt;

use crate::key::Key;

/// 128 secret random bits, drawn once per process, that key the placement of flows.
#[derive(Clone, Copy)]
pub struct HashSecret(pub [u64; 2]);

impl fmt::Debug for HashSecret {
    /// Does not show the secret: a log line must not give it away.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("HashSecret(..)")
    }
}

/// The secret, stretched to the words that NH consumes.
pub(crate) struct KeyedHash([u64; 8]);

impl KeyedHash {
    pub(crate) fn new(secret: HashSecret) -> Self {
        Self(std::array::from_fn(|index| stretch(secret, index as u64)))
    }

    /// The hash of `key`, the same for both directions of a flow.
    #[inline]
    pub(crate) fn of(&self, key: &Key) -> u64 {
        let k = &self.0;
        let (low, high) = (key.low.bits(), key.high.bits());
        let sum = product(word(low, 1, k[0]), word(low, 0, k[1]))
            .wrapping_add(product(word(high, 1, k[2]), word(high, 0, k[3])))
            .wrapping_add(product(key.ends.wrapping_add(k[4]), k[5]));
        let spread = product(sum as u64 ^ k[6], (sum >> 64) as u64 ^ k[7]);
        spread as u64 ^ (spread >> 64) as u64
    }
}

/// Half `index` of a 128-bit address, plus a key word.
#[inline]
fn word(bits: u128, index: u32, key: u64) -> u64 {
    ((bits >> (64 * index)) as u64).wrapping_add(key)
}

#[inline]
fn product(a: u64, b: u64) -> u128 {
    u128::from(a) * u128::from(b)
}

/// SipHash-2-4 (Aumasson and Bernstein, 2012) of one counter word under the secret: a pseudo-random
/// function is what NH's proof asks of its key words. Runs 8 times per table, never per packet.
fn stretch(secret: HashSecret, counter: u64) -> u64 {
    let HashSecret([k0, k1]) = secret;
    let mut v =
        [k0 ^ 0x736f6d6570736575, k1 ^ 0x646f72616e646f6d, k0 ^ 0x6c7967656e657261, k1 ^ 0x7465646279746573];
    // The second word is SipHash's closing block: the message length, 8, in its top byte.
    for block in [counter, 8 << 56] {
        v[3] ^= block;
        sip_rounds(&mut v, 2);
        v[0] ^= block;
    }
    v[2] ^= 0xff;
    sip_rounds(&mut v, 4);
    v[0] ^ v[1] ^ v[2] ^ v[3]
}

fn sip_rounds(v: &mut [u64; 4], count: u32) {
    for _ in 0..count {
        v[0] = v[0].wrapping_add(v[1]);
        v[1] = v[1].rotate_left(13) ^ v[0];
        v[0] = v[0].rotate_left(32);
        v[2] = v[2].wrapping_add(v[3]);
        v[3] = v[3].rotate_left(16) ^ v[2];
        v[0] = v[0].wrapping_add(v[3]);
        v[3] = v[3].rotate_left(21) ^ v[0];
        v[2] = v[2].wrapping_add(v[1]);
        v[1] = v[1].rotate_left(17) ^ v[2];
        v[2] = v[2].rotate_left(32);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Addr, IpProtocol, Tuple};

    fn key(client: u32, port: u16) -> Key {
        Key::of(&Tuple {
            source: Addr::from_v4(client.to_be_bytes()),
            destination: Addr::from_v4([10, 0, 0, 1]),
            source_port: port,
            destination_port: 443,
            protocol: IpProtocol::TCP,
        })
        .0
    }

    #[test]
    fn stretch_is_siphash_2_4() {
        // From the reference vectors of the SipHash paper's implementation: key 00..0f, message 00..07.
        let secret = HashSecret([0x0706050403020100, 0x0f0e0d0c0b0a0908]);
        assert_eq!(stretch(secret, 0x0706050403020100), 0x93f5f5799a932462);
    }

    #[test]
    fn near_keys_spread_evenly_over_both_halves() {
        let hash = KeyedHash::new(HashSecret([1, 2]));
        let mut high = [0u32; 64];
        let mut low = [0u32; 64];
        for client in 0..64 {
            for port in 0..1024 {
                let value = hash.of(&key(0x0a00_0000 + client, port));
                high[(value >> 58) as usize] += 1;
                low[(value as u32 >> 26) as usize] += 1;
            }
        }
        // 65,536 keys in 64 cells: 1,024 each, standard deviation 32; six of them are allowed.
        for count in high.into_iter().chain(low) {
            assert!((832..1216).contains(&count), "{count}");
        }
    }

    #[test]
    fn the_secret_decides_and_is_not_shown() {
        let (one, other) = (KeyedHash::new(HashSecret([1, 2])), KeyedHash::new(HashSecret([1, 3])));
        assert_ne!(one.of(&key(7, 7)), other.of(&key(7, 7)));
        assert_eq!(format!("{:?}", HashSecret([1, 2])), "HashSecret(..)");
    }
}
