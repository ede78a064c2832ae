//! Huge pages for what is large and read in no order.
//!
//! A table of a million flows covers 40,000 small pages, many more than a CPU remembers the places of.

use std::ops::Range;
use std::{fs, io};

use nix::errno::Errno;
use nix::libc::{MADV_COLLAPSE, madvise};
use podgate_flowtable::FlowTable;

/// Where the kernel says how large a huge page is.
const HUGE_PAGE_SIZE: &str = "/sys/kernel/mm/transparent_hugepage/hpage_pmd_size";

/// Why a table is left in small pages. It works all the same.
#[derive(Debug, thiserror::Error)]
pub enum NoHugePages {
    /// The kernel has none.
    #[error("no huge pages: {HUGE_PAGE_SIZE}: {0}")]
    Unknown(String),
    /// The kernel has none to give.
    #[error("no huge pages for a table of {len_bytes} bytes: {source}")]
    Refused {
        /// How much was to be moved into them.
        len_bytes: usize,
        /// What the kernel said.
        source: io::Error,
    },
}

/// Moves the memory of `flows` into huge pages (`MADV_COLLAPSE`, Linux 6.1:
/// Documentation/admin-guide/mm/transhuge.rst); what is smaller than one stays where it is. Call it
/// before the workers start: it copies the table.
pub fn prefer_huge_pages(flows: &FlowTable) -> Result<(), NoHugePages> {
    let size = fs::read_to_string(HUGE_PAGE_SIZE).map_err(|error| NoHugePages::Unknown(error.to_string()))?;
    let size = size.trim().parse().ok().filter(|size: &usize| size.is_power_of_two());
    let size = size.ok_or_else(|| NoHugePages::Unknown("not a power of two".into()))?;
    for Range { start, end } in flows.memory() {
        // Whole pages only: what lies beside the table is not its business.
        let (from, to) = (start.addr().next_multiple_of(size), end.addr() / size * size);
        let Some(len_bytes) = to.checked_sub(from).filter(|len| *len > 0) else { continue };
        let from = start.with_addr(from).cast_mut().cast();
        // SAFETY: collapsing pages changes how memory is mapped, never what it holds; the range is the
        // table's own, which lives through this call.
        if unsafe { madvise(from, len_bytes, MADV_COLLAPSE) } != 0 {
            return Err(NoHugePages::Refused { len_bytes, source: Errno::last().into() });
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use podgate_flowtable::{
        Config, Decision, Epoch, HashSecret, IpProtocol, Packet, Time, Timeouts, Transport, Tuple, Way,
    };

    use super::*;

    /// Memory of this process in huge pages (`AnonHugePages`, Documentation/filesystems/proc.rst).
    fn huge_kib() -> u64 {
        let smaps = fs::read_to_string("/proc/self/smaps_rollup").unwrap();
        let line = smaps.lines().find_map(|line| line.strip_prefix("AnonHugePages:")).unwrap();
        line.trim().trim_end_matches(" kB").parse().unwrap()
    }

    #[test]
    fn a_table_keeps_its_flows() {
        let config = Config {
            capacity: 1 << 16,
            secret: HashSecret([1, 2]),
            timeouts: Timeouts::default(),
            pickup_until: Time::default(),
        };
        let flows = FlowTable::new(config).unwrap();
        let now = Time::default().after(Duration::from_secs(1));
        let tuple = |source_port| Tuple {
            source: "10.0.0.1".parse::<std::net::IpAddr>().unwrap().into(),
            destination: "10.0.0.2".parse::<std::net::IpAddr>().unwrap().into(),
            source_port,
            destination_port: 53,
            protocol: IpProtocol::UDP,
        };
        let decision = Decision { epoch: Epoch(1), egress: 0, ingress: 0, way: Way::Bridge, owner: 1 };
        for port in 0..=u16::MAX {
            let packet = Packet { tuple: tuple(port), transport: Transport::Udp, len_bytes: 60 };
            flows.open(&packet, decision, now).unwrap();
        }
        match prefer_huge_pages(&flows) {
            Ok(()) => assert!(huge_kib() > 0, "the kernel said that it had moved the table"),
            // A machine without them; what is left to see is that the table is as it was.
            Err(error) => eprintln!("{error}"),
        }
        assert!((0..=u16::MAX).all(|port| flows.find(&tuple(port)).is_some()));
    }
}
