//! What is done to a fragment table, and what must hold.

use std::time::Duration;

use podgate_flowtable::{Addr, First, Follow, FragmentKey, FragmentTable, HashSecret, IpProtocol, Time};

use super::input::Input;

const DATAGRAMS: u8 = 12;
const TIMEOUT: Duration = Duration::from_secs(30);

/// What is known of one datagram since its last first fragment that was recorded.
#[derive(Default)]
struct Datagram {
    payload: u64,
    /// When that came; a datagram does not live longer than this and the timeout.
    since: Option<Time>,
    /// Bytes that were let through.
    allowed: Vec<(u32, u32)>,
    /// Where it ends, as a last fragment said.
    end: Option<u32>,
}

pub fn run(input: &mut Input<'_>) {
    let Some(size) = input.byte() else { return };
    let Ok(table) = FragmentTable::new(1 + usize::from(size % 24), HashSecret([u64::from(size), 2])) else {
        return;
    };
    let mut datagrams: [Datagram; DATAGRAMS as usize] = std::array::from_fn(|_| Datagram::default());
    let (mut now, mut payload) = (Time::default(), 0);
    while let Some([what, which, at, len]) = input.take() {
        let which = which % DATAGRAMS;
        let (key, datagram) = (key(which), &mut datagrams[usize::from(which)]);
        let (start, end) = range(at, len);
        match what {
            0..0x50 => {
                payload += 1;
                let length = end - start;
                let first = table.first(key, length, payload, now);
                assert_eq!(table.first(key, length, payload, now), first, "asked again");
                if first == First::Recorded {
                    *datagram = Datagram { payload, since: Some(now), allowed: vec![(0, length)], end: None };
                }
            }
            0x50..0xe0 => {
                let is_last = what >= 0xb0;
                let ask = || {
                    if is_last {
                        table.follow_last(key, start, end, now)
                    } else {
                        table.follow(key, start, end, now)
                    }
                };
                let follow = ask();
                assert_eq!(ask(), follow, "asked again");
                if let Follow::Allowed(told) = follow {
                    datagram.allow(told, (start, end), now);
                    assert!(datagram.end.is_none_or(|known| end <= known && (!is_last || end == known)));
                    datagram.end = datagram.end.or(is_last.then_some(end));
                }
            }
            _ => now = now.after(Duration::from_millis(u64::from(at) * u64::from(len))),
        }
        let stats = table.stats();
        assert!(stats.completed + stats.evicted <= stats.recorded, "{stats:?}");
    }
}

impl Datagram {
    fn allow(&mut self, told: u64, bytes: (u32, u32), now: Time) {
        let since = self.since.expect("a first fragment");
        assert!(now.since(since) <= TIMEOUT, "it had expired");
        assert_eq!(told, self.payload);
        for &(start, end) in &self.allowed {
            let is_apart = bytes.1 <= start || end <= bytes.0;
            assert!(is_apart || bytes == (start, end), "{bytes:?} overlaps {:?}", self.allowed);
        }
        self.allowed.push(bytes);
    }
}

/// Bytes of a datagram, mostly on edges that others share; never none.
fn range(at: u8, len: u8) -> (u32, u32) {
    let start = u32::from(at & 0x7f) * 8 * if at & 0x80 == 0 { 1 } else { 64 };
    let length = match len {
        0..0xc0 => (1 + u32::from(len % 8)) * 8,
        0xc0..0xf0 => 1 + u32::from(len),
        _ => 65_000,
    };
    (start, start + length)
}

fn key(which: u8) -> FragmentKey {
    FragmentKey {
        owner: 0,
        source: Addr::from_v4([10, 0, 0, which % 3]),
        destination: Addr::from_v4([10, 0, 1, 1]),
        protocol: IpProtocol::UDP,
        identification: u32::from(which / 3),
    }
}
