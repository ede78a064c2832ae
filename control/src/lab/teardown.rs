//! All of a lab is taken away, however much of it is there.

use std::fs;
use std::path::Path;
use std::time::Duration;

use super::build::GROUP;
use super::process::stop;
use super::record::{Directory, Lock, State};
use super::{LabError, LabHost, Process};
use crate::net::{LinkKind, Netlink, Netns};

/// How long the node's programs may take to end by themselves.
const PATIENCE: Duration = Duration::from_secs(5);

/// Takes a lab away. Every step is tried; the first error is returned, and the record then stays,
/// so that it can be tried again.
pub(super) async fn tear_down(
    directory: &Directory,
    lock: &Lock,
    state: Option<&State>,
) -> Result<(), LabError> {
    let mut outcome = Ok(());
    let mut note = |step: Result<(), LabError>| {
        if let (Ok(()), Err(error)) = (&outcome, step) {
            outcome = Err(error);
        }
    };
    if let Some(state) = state {
        // The gateway first: it may still have to let go of devices.
        note(stop(&state.processes.values().collect::<Vec<_>>(), PATIENCE));
        let in_hosts: Vec<&Process> = state.hosts().flat_map(LabHost::processes).collect();
        note(stop(&in_hosts, Duration::ZERO));
        note(delete_devices(&state.plan.node_netns).await);
        let coming = state.changing.iter().flat_map(|changing| &changing.coming);
        let coming = coming.map(|host| host.netns.as_path()).filter(|path| !path.as_os_str().is_empty());
        for netns in coming.chain(state.plan.namespaces()) {
            note(Netns::delete_at(netns).map_err(LabError::from));
        }
    }
    note(release_mounts(directory));
    outcome?;
    directory.remove(lock)
}

/// Takes some hosts away, however much of them there is; every step is tried.
pub(super) async fn remove_hosts(node: &Path, hosts: &[&LabHost]) -> Result<(), LabError> {
    let in_hosts: Vec<&Process> = hosts.iter().flat_map(|host| host.processes()).collect();
    let mut outcome = stop(&in_hosts, Duration::ZERO);
    let node = Netlink::connect_in(&Netns::open_at(node)?)?;
    for host in hosts {
        let deleted = match node.link_named(&host.host_device).await {
            Ok(link) => node.delete_link(link.index).await,
            Err(error) => Err(error),
        };
        if let Err(error) = deleted
            && !error.is_gone()
        {
            outcome = outcome.and(Err(error.into()));
        }
        if !host.netns.as_os_str().is_empty() {
            outcome = outcome.and(Netns::delete_at(&host.netns).map_err(LabError::from));
        }
    }
    outcome
}

/// Deletes the node's devices, the pods' with them. The kernel would do so when the namespace ends,
/// but later, and not while any process is left in it.
async fn delete_devices(node: &Path) -> Result<(), LabError> {
    // None was made, or its file only, or it has been deleted.
    if !is_namespace(node) {
        return Ok(());
    }
    let node = Netlink::connect_in(&Netns::open_at(node)?)?;
    node.delete_group(GROUP).await?;
    for link in node.links().await? {
        let is_virtual = !matches!(link.kind, LinkKind::Loopback | LinkKind::Physical);
        if is_virtual {
            // A veth may have gone with its peer just before.
            match node.delete_link(link.index).await {
                Err(error) if !error.is_gone() => return Err(error.into()),
                _ => {}
            }
        }
    }
    Ok(())
}

/// The gateway keeps private namespaces in the lab's directory.
fn release_mounts(directory: &Directory) -> Result<(), LabError> {
    let mounts = fs::read_to_string("/proc/self/mountinfo")
        .map_err(|source| directory.error("list what is mounted in it", source))?;
    for line in mounts.lines() {
        let path = line.split(' ').nth(4).map(Path::new);
        if let Some(path) = path.filter(|path| path.starts_with(directory.path())) {
            Netns::delete_at(path)?;
        }
    }
    Ok(())
}

fn is_namespace(path: &Path) -> bool {
    nix::sys::statfs::statfs(path).is_ok_and(|found| found.filesystem_type() == NSFS)
}

/// `NSFS_MAGIC`.
const NSFS: nix::sys::statfs::FsType = nix::sys::statfs::FsType(0x6e73_6673);
