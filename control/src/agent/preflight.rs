//! What must be so before anything is touched. Every refusal says what to do.

use nix::sched::{CpuSet, sched_getaffinity};
use nix::sys::utsname::uname;
use nix::unistd::Pid;

use super::paths::check_name;
use super::{NameError, RunOptions, TRUNK_MTU};
use crate::net::{Link, LinkKind, MarkRule, NetError, PodEnd};

/// Why a gateway cannot run here, or not as it was told.
#[derive(Debug, thiserror::Error)]
pub enum PreflightError {
    /// A capability is missing.
    #[error("this process lacks {missing}; run it as root, or give it {missing}")]
    Capability {
        /// Which ones.
        missing: String,
    },
    /// The kernel is too old.
    #[error("Linux {found} has no tcx hooks; podgate needs Linux 6.6 or newer")]
    Kernel {
        /// What runs here.
        found: String,
    },
    /// The kernel was built without AF_XDP.
    #[error("this kernel has no XDP sockets; it must be built with CONFIG_XDP_SOCKETS")]
    NoXdpSockets,
    /// There is no such bridge.
    #[error("there is no device {bridge} in this network namespace; name the pod bridge with --bridge")]
    NoBridge {
        /// The name given.
        bridge: String,
    },
    /// The device is no bridge.
    #[error("{bridge} is not a bridge; name the bridge that the pods' veths are ports of with --bridge")]
    NotABridge {
        /// The name given.
        bridge: String,
    },
    /// A pod sends larger packets than the trunk carries.
    #[error(
        "{device} has MTU {mtu}, but the trunk carries packets of at most {TRUNK_MTU} bytes; lower it \
         (ip link set {device} mtu {TRUNK_MTU}, and the pod's end and the CNI configuration alike), or \
         leave the device out with --except {device}"
    )]
    Mtu {
        /// The port.
        device: String,
        /// Its MTU, in bytes.
        mtu: u32,
    },
    /// Routing rules claim every mark.
    #[error(
        "routing rules match on marks in a way that leaves none for decided frames (rule {priority}: fwmark \
         {mark:#x}/{mask:#x}); narrow that rule's mask"
    )]
    MarkInUse {
        /// The rule's priority.
        priority: u32,
        /// Its mark.
        mark: u32,
        /// Its mask.
        mask: u32,
    },
    /// CPUs that this process may not use.
    #[error("--cpus names cpu {cpu}, which this process may not use; it may use {allowed}")]
    Cpu {
        /// The CPU.
        cpu: usize,
        /// Those it may use.
        allowed: String,
    },
    /// A number of workers that cannot be.
    #[error("--workers {workers}: give a number from 1 to {}", podgate_dataplane::steer::MAX_QUEUES)]
    Workers {
        /// The number given.
        workers: u32,
    },
    /// A name that no instance can have.
    #[error(transparent)]
    Name(#[from] NameError),
    /// The system could not be asked.
    #[error(transparent)]
    Net(#[from] NetError),
}

const CAP_NET_ADMIN: u32 = 12;
const CAP_NET_RAW: u32 = 13;
/// To be told of addresses that change in the pods' namespaces (net/netlink/af_netlink.c, NETLINK_LISTEN_ALL_NSID).
const CAP_NET_BROADCAST: u32 = 11;
const CAP_SYS_ADMIN: u32 = 21;
const CAP_BPF: u32 = 39;

/// What can be said from the options and the process alone.
pub(super) fn check_process(options: &RunOptions) -> Result<(), PreflightError> {
    check_name(&options.name)?;
    if options.workers == 0 || options.workers as usize > podgate_dataplane::steer::MAX_QUEUES {
        return Err(PreflightError::Workers { workers: options.workers });
    }
    check_capabilities(effective_capabilities())?;
    check_kernel(&uname().map_or_else(|_| String::new(), |name| name.release().to_string_lossy().into()))?;
    if !has_xdp_sockets() {
        return Err(PreflightError::NoXdpSockets);
    }
    check_cpus(&options.cpus)
}

/// Every socket family the kernel was built with stands in this list.
fn has_xdp_sockets() -> bool {
    std::fs::read_to_string("/proc/net/protocols")
        .is_ok_and(|protocols| protocols.lines().any(|line| line.starts_with("XDP")))
}

fn effective_capabilities() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("CapEff:"));
    line.and_then(|hex| u64::from_str_radix(hex.trim(), 16).ok()).unwrap_or(0)
}

fn check_capabilities(effective: u64) -> Result<(), PreflightError> {
    let has = |capability: u32| effective >> capability & 1 == 1;
    let mut missing = Vec::new();
    for (capability, name) in [
        (CAP_NET_ADMIN, "CAP_NET_ADMIN"),
        (CAP_NET_BROADCAST, "CAP_NET_BROADCAST"),
        (CAP_NET_RAW, "CAP_NET_RAW"),
        (CAP_SYS_ADMIN, "CAP_SYS_ADMIN"),
    ] {
        if !has(capability) {
            missing.push(name);
        }
    }
    // CAP_SYS_ADMIN includes CAP_BPF (include/linux/capability.h, bpf_capable).
    if !has(CAP_BPF) && !has(CAP_SYS_ADMIN) {
        missing.push("CAP_BPF");
    }
    if missing.is_empty() {
        Ok(())
    } else {
        Err(PreflightError::Capability { missing: missing.join(" and ") })
    }
}

fn check_kernel(release: &str) -> Result<(), PreflightError> {
    let mut numbers = release.split(|letter: char| !letter.is_ascii_digit()).map(str::parse::<u32>);
    match (numbers.next(), numbers.next()) {
        (Some(Ok(major)), Some(Ok(minor))) if (major, minor) < (6, 6) => {
            Err(PreflightError::Kernel { found: release.into() })
        }
        _ => Ok(()),
    }
}

fn check_cpus(cpus: &[usize]) -> Result<(), PreflightError> {
    let Ok(allowed) = sched_getaffinity(Pid::from_raw(0)) else { return Ok(()) };
    let may = |cpu: usize| allowed.is_set(cpu).unwrap_or(false);
    match cpus.iter().find(|&&cpu| !may(cpu)) {
        None => Ok(()),
        Some(&cpu) => {
            let list: Vec<_> =
                (0..CpuSet::count()).filter(|&cpu| may(cpu)).map(|cpu| cpu.to_string()).collect();
            Err(PreflightError::Cpu { cpu, allowed: list.join(", ") })
        }
    }
}

/// That the device is the bridge.
pub(super) fn check_bridge(bridge: &str, link: Option<&Link>) -> Result<u32, PreflightError> {
    match link {
        None => Err(PreflightError::NoBridge { bridge: bridge.into() }),
        Some(link) if link.kind != LinkKind::Bridge => {
            Err(PreflightError::NotABridge { bridge: bridge.into() })
        }
        Some(link) => Ok(link.index),
    }
}

/// That the trunk can carry what this pod sends.
pub(super) fn check_mtu(end: &PodEnd) -> Result<(), PreflightError> {
    if end.mtu > TRUNK_MTU {
        return Err(PreflightError::Mtu { device: end.host_name.clone(), mtu: end.mtu });
    }
    Ok(())
}

/// A mark that no routing rule of this host looks for, out of `draw`'s.
pub(super) fn free_mark(rules: &[MarkRule], mut draw: impl FnMut() -> u32) -> Result<u32, PreflightError> {
    let claims = |rule: &MarkRule, mark: u32| mark & rule.mask == rule.mark;
    let mut last = None;
    for _ in 0..256 {
        let mark = draw();
        if mark == 0 {
            continue;
        }
        match rules.iter().find(|rule| claims(rule, mark)) {
            None => return Ok(mark),
            claimed => last = claimed.or(last),
        }
    }
    let rule = last.copied().unwrap_or(MarkRule {
        family: netlink_packet_route::AddressFamily::Inet,
        priority: 0,
        mark: 0,
        mask: 0,
        table: 0,
    });
    Err(PreflightError::MarkInUse { priority: rule.priority, mark: rule.mark, mask: rule.mask })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn missing_capabilities_are_named() {
        assert!(check_capabilities(u64::MAX).is_ok());
        let error =
            check_capabilities(1 << CAP_NET_ADMIN | 1 << CAP_NET_BROADCAST | 1 << CAP_SYS_ADMIN).unwrap_err();
        assert_eq!(
            error.to_string(),
            "this process lacks CAP_NET_RAW; run it as root, or give it CAP_NET_RAW"
        );
        let error = check_capabilities(0).unwrap_err().to_string();
        for name in ["CAP_NET_ADMIN", "CAP_NET_BROADCAST", "CAP_NET_RAW", "CAP_SYS_ADMIN", "CAP_BPF"] {
            assert!(error.contains(name), "{error}");
        }
    }

    #[test]
    fn kernels_without_tcx_are_refused() {
        for release in ["6.6.0", "6.18.44-fc", "7.0-rc1", "nonsense"] {
            assert!(check_kernel(release).is_ok(), "{release}");
        }
        for release in ["6.5.13", "5.15.0-91-generic", "4.19"] {
            assert!(check_kernel(release).unwrap_err().to_string().contains(release), "{release}");
        }
    }

    #[test]
    fn a_mark_that_rules_look_for_is_not_taken() {
        let rule = |mark, mask| MarkRule {
            family: netlink_packet_route::AddressFamily::Inet,
            priority: 100,
            mark,
            mask,
            table: 7,
        };
        let mut draws = [0, 0x4000, 0x5000_4000, 0x1234_0001].into_iter().cycle();
        let mark = free_mark(&[rule(0x4000, 0xf000)], || draws.next().unwrap()).unwrap();
        assert_eq!(mark, 0x1234_0001);
        let error = free_mark(&[rule(0, 0)], || 5).unwrap_err().to_string();
        assert!(error.contains("rule 100: fwmark 0x0/0x0"), "{error}");
    }
}
