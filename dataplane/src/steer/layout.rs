//! What `bpf/steer.h` says, in Rust. Map values are arrays of words: `aya` moves those without any
//! `unsafe` of ours.

use crate::mac::Mac;
use crate::tag::PortId;

/// Queues a lane can have at most.
pub const MAX_QUEUES: usize = 64;

/// Words of `struct config`.
pub(super) const CONFIG_WORDS: usize = 16;
/// Position of `fallback` in it.
const FALLBACK_WORD: usize = 6;
/// Words of `struct port`.
pub(super) const PORT_WORDS: usize = 3;
/// Counters of `struct counts`.
pub(super) const COUNTS: usize = 16;
/// Position of `COUNT_LIFTED`.
pub(super) const COUNT_LIFTED: usize = 9;
/// Position of `COUNT_DELIVERED`.
pub(super) const COUNT_DELIVERED: usize = 10;
/// Position of `COUNT_PASSED_OPEN`.
pub(super) const COUNT_PASSED_OPEN: usize = 11;

/// One of the two parallel trunks. A port above its rate goes by the heavy one, so that it cannot
/// crowd out the others: each lane has its own queues, rings and qdiscs.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Lane {
    /// Everything else.
    Normal,
    /// Ports above `heavy_pps`.
    Heavy,
}

impl Lane {
    /// Both.
    pub const ALL: [Self; 2] = [Self::Normal, Self::Heavy];

    /// As an index.
    pub const fn index(self) -> usize {
        self as usize
    }

    /// Its program's name.
    pub(super) const fn program(self) -> &'static str {
        match self {
            Self::Normal => "steer_normal",
            Self::Heavy => "steer_heavy",
        }
    }

    /// Index of `queue`'s socket in the map of sockets.
    pub(super) const fn slot(self, queue: u32) -> u32 {
        self as u32 * MAX_QUEUES as u32 + queue
    }
}

/// What becomes of frames while no live worker is behind the trunk.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub enum Fallback {
    /// Drop them.
    #[default]
    Closed,
    /// Let them pass unfiltered.
    Open,
}

/// What the programs are told.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct SteerConfig {
    /// ifindex of the kernel side of each lane's trunk, by [`Lane::index`].
    pub trunk: [u32; 2],
    /// Queues of each lane, `1..=MAX_QUEUES`.
    pub queues: u32,
    /// The secret on a decided frame. Random, changed while running, never 0: a pod could forge a
    /// constant with a program of its own.
    pub mark: u32,
    /// The secret before this one, which frames on their way may still carry; 0 if there is none.
    pub previous_mark: u32,
    /// A second secret, 16 bits and never 0, that tells a decided frame whose mark was cleared.
    pub lap: u16,
    /// What happens without a worker.
    pub fallback: Fallback,
    /// Keys the queue hash.
    pub hash_seed: u32,
    /// Smallest segment a pod may ask the kernel to cut, in bytes.
    pub min_gso_bytes: u32,
    /// Frames a second above which a port goes by the heavy lane.
    pub heavy_pps: u32,
    /// Broadcast and multicast frames a pod may send a second.
    pub broadcast_pps: u32,
    /// A worker silent for this long is dead, in milliseconds; read when the fallback is open.
    pub stale_ms: u32,
}

impl SteerConfig {
    pub(super) fn words(&self) -> [u32; CONFIG_WORDS] {
        let mut words = [0; CONFIG_WORDS];
        words[..12].copy_from_slice(&[
            self.trunk[0],
            self.trunk[1],
            self.queues,
            self.mark,
            self.previous_mark,
            u32::from(self.lap),
            self.fallback as u32,
            self.hash_seed,
            self.min_gso_bytes,
            self.heavy_pps,
            self.broadcast_pps,
            self.stale_ms,
        ]);
        words
    }
}

/// The fallback of a `struct config`.
pub(super) fn fallback_of(words: [u32; CONFIG_WORDS]) -> Fallback {
    if words[FALLBACK_WORD] == Fallback::Open as u32 { Fallback::Open } else { Fallback::Closed }
}

/// `struct port` of a device.
pub(super) fn port_words(port: PortId, mac: Mac) -> [u32; PORT_WORDS] {
    let [a, b, c, d, e, f] = mac.0;
    [u32::from(port.number()), u32::from_ne_bytes([a, b, c, d]), u32::from_ne_bytes([e, f, 0, 0])]
}

/// The port number of a `struct port`.
pub(super) fn port_of(words: [u32; PORT_WORDS]) -> Option<PortId> {
    PortId::new(u16::try_from(words[0]).ok()?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tag::MAX_PORTS;
    use crate::verdict::DropReason;

    const HEADER: &str = include_str!("../../bpf/steer.h");

    fn define(name: &str) -> usize {
        let line = HEADER.lines().find(|line| line.starts_with(&format!("#define {name} "))).unwrap();
        line.split_whitespace().nth(2).unwrap().parse().unwrap()
    }

    /// Names of an enum of the header, in order.
    fn names(of: &str) -> Vec<String> {
        let body = HEADER.split(&format!("enum {of} {{")).nth(1).unwrap();
        let body = body.split('}').next().unwrap();
        body.split(',').map(|name| name.trim().to_owned()).filter(|name| !name.is_empty()).collect()
    }

    #[test]
    fn the_header_says_the_same() {
        assert_eq!(define("MAX_PORTS"), MAX_PORTS);
        assert_eq!(define("MAX_QUEUES"), MAX_QUEUES);
        assert_eq!(names("lane"), ["LANE_NORMAL", "LANE_HEAVY"]);
        assert_eq!(names("fallback"), ["FALLBACK_CLOSED", "FALLBACK_OPEN"]);
        let reasons = names("drop_reason");
        for (at, reason) in DropReason::ALL[..DropReason::STEERING].iter().enumerate() {
            let name = format!("DROP_{}", reason.name().replace('-', "_").to_uppercase());
            assert_eq!(reasons[at], name);
            assert_eq!(*reason as usize, at);
        }
        assert_eq!(reasons[COUNT_LIFTED], "COUNT_LIFTED");
        assert_eq!(reasons[COUNT_DELIVERED], "COUNT_DELIVERED");
        assert_eq!(reasons[COUNT_PASSED_OPEN], "COUNT_PASSED_OPEN");
        assert_eq!(reasons[COUNT_LIFTED + 3], format!("COUNTS = {COUNTS}"));
        assert_eq!(DropReason::STEERING, COUNT_LIFTED);
    }

    #[test]
    fn configuration_words_stand_where_the_header_has_them() {
        let config = SteerConfig {
            trunk: [1, 2],
            queues: 3,
            mark: 4,
            previous_mark: 5,
            lap: 6,
            fallback: Fallback::Open,
            hash_seed: 8,
            min_gso_bytes: 9,
            heavy_pps: 10,
            broadcast_pps: 11,
            stale_ms: 12,
        };
        let body = HEADER.split("struct config {").nth(1).unwrap().split('}').next().unwrap();
        let fields: Vec<_> = body
            .lines()
            .filter_map(|line| line.trim().strip_prefix("__u32 ")?.split(';').next().map(str::to_owned))
            .collect();
        assert_eq!(
            fields,
            [
                "trunk[LANES]",
                "queues",
                "mark",
                "previous_mark",
                "lap",
                "fallback",
                "hash_seed",
                "min_gso_bytes",
                "heavy_pps",
                "broadcast_pps",
                "stale_ms",
                "reserved[4]"
            ]
        );
        assert_eq!(config.words()[..12], [1, 2, 3, 4, 5, 6, 1, 8, 9, 10, 11, 12]);
        assert_eq!(fallback_of(config.words()), Fallback::Open);
        assert_eq!(fallback_of([0; CONFIG_WORDS]), Fallback::Closed);
    }

    #[test]
    fn port_numbers_round_trip() {
        let port = PortId::new(1234).unwrap();
        let words = port_words(port, Mac([1, 2, 3, 4, 5, 6]));
        assert_eq!(port_of(words), Some(port));
        assert_eq!(words[1].to_ne_bytes(), [1, 2, 3, 4]);
        assert_eq!(words[2].to_ne_bytes(), [5, 6, 0, 0]);
    }
}
