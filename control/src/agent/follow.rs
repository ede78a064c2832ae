//! The devices that lead to pods, as they come, go and change.
//!
//! No port of the bridge is left unguarded: one whose pod's end cannot be seen is guarded as
//! nobody's, and one that cannot be guarded is set down until it can.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use podgate_dataplane::mac::Mac;
use podgate_dataplane::steer::SteerError;

use super::alarms::Subject;
use super::gateway::Gateway;
use super::preflight;
use super::scope::{GuardedBridge, Scope};
use crate::fence::Port;
use crate::net::{AdminState, Event, Link, Monitor, NetError, Netlink, Peer, PodEnd};

/// Events handled before policy is put in force: many ports that come at once cost one compilation,
/// and none waits for all of an endless stream.
const AT_ONCE: usize = 512;
/// And for how long. While devices are set up and down, every question to the kernel about another one waits for some
/// milliseconds (`rtnl_mutex`): hundreds of events would keep a runtime waiting for seconds.
const AT_MOST: Duration = Duration::from_millis(500);

/// The ports of one bridge, and other devices that lead to pods.
pub(super) struct Follow<'a> {
    netlink: &'a Netlink,
    scope: Scope,
    /// What is wrong with a port, by ifindex.
    troubles: BTreeMap<u32, Trouble>,
    /// What of changed addresses could not be read, and why.
    unread: Vec<String>,
}

struct Trouble {
    told: String,
    /// It was set down by us, because it is not guarded.
    set_down: bool,
}

/// Why a device is not guarded.
pub(super) enum Unguarded {
    /// It is not there.
    Gone,
    /// It is none that is to be guarded.
    NoPort,
    /// It could not be; in a sentence.
    Trouble(String),
}

impl<'a> Follow<'a> {
    /// Those of `scope`.
    pub(super) fn new(netlink: &'a Netlink, scope: Scope) -> Self {
        Self { netlink, scope, troubles: BTreeMap::new(), unread: Vec::new() }
    }

    /// The pod's end of every port there is.
    pub(super) async fn ends(&self) -> Result<Vec<PodEnd>, NetError> {
        let mut ends = self.seen_ends().await?;
        let mut links = self.netlink.links().await?;
        links.retain(|link| self.is_port(link) && !ends.iter().any(|end| end.host_index == link.index));
        ends.extend(links.iter().map(nobodys));
        Ok(ends)
    }

    /// Notes those that are too large for the trunk. They are guarded all the same: what does not fit is dropped. A
    /// pod sets the size of its own end, and is not to keep the gateway from starting.
    pub(super) fn note_sizes(&mut self, ends: &[PodEnd]) {
        for end in ends {
            if let Err(error) = preflight::check_mtu(end) {
                self.trouble(end.host_index, error.to_string(), false);
            }
        }
    }

    /// Of those that can be seen.
    async fn seen_ends(&self) -> Result<Vec<PodEnd>, NetError> {
        let mut ports = self.netlink.links().await?;
        ports.retain(|link| self.is_port(link));
        self.netlink.pod_ends_of(&ports).await
    }

    /// What is wrong now.
    pub(super) fn alarms(&self) -> Vec<String> {
        let of_bridge = self.scope.bridge.as_ref().and_then(GuardedBridge::trouble);
        let of_ports = self.troubles.values().map(|trouble| &trouble.told);
        of_bridge.into_iter().chain(of_ports.chain(&self.unread).cloned()).collect()
    }

    /// Deals with an event and those that wait behind it. Returns whether policy has to be put in
    /// force anew.
    pub(super) async fn on(&mut self, gateway: &Gateway, first: Event, monitor: &mut Monitor) -> bool {
        let (mut changed, mut addresses) = (false, false);
        let (mut first, begun) = (Some(first), Instant::now());
        for _ in 0..AT_ONCE {
            let Some(event) = first.take().or_else(|| monitor.waiting()) else { break };
            self.follow_bridge(&event).await;
            match event {
                Event::Appeared(link) | Event::Changed { now: link, .. } if self.is_port(&link) => {
                    changed |= self.guard(gateway, &link).await;
                }
                Event::Removed(link) => changed |= self.let_go(gateway, link.index, false).await,
                Event::Appeared(link) | Event::Changed { now: link, .. } => {
                    changed |= self.let_go_unless_port(gateway, link.index).await;
                }
                Event::AddressesChanged { .. } => addresses = true,
                Event::Synced => {}
            }
            if begun.elapsed() >= AT_MOST {
                break;
            }
        }
        if addresses {
            changed |= self.read_addresses(gateway).await;
        }
        self.settle_fence(gateway).await;
        changed
    }

    /// The bridge may be made anew, or called otherwise.
    async fn follow_bridge(&mut self, event: &Event) {
        let Some(bridge) = &mut self.scope.bridge else { return };
        match event {
            Event::Appeared(link) | Event::Changed { now: link, .. } => bridge.note(link),
            Event::Removed(link) if bridge.is(link.index) => {
                bridge.forget();
                // One of its name may have been there beside it.
                if let Ok(link) = self.netlink.link_named(bridge.name()).await {
                    bridge.note(&link);
                }
            }
            _ => {}
        }
    }

    /// A device that was no port when the event was made. By now it may be one, and guarded: a runtime that asks
    /// for it is answered before events that wait.
    async fn let_go_unless_port(&mut self, gateway: &Gateway, index: u32) -> bool {
        if gateway.guarded().contains(&index)
            && let Ok(link) = self.netlink.link(index).await
            && self.is_port(&link)
        {
            return self.guard(gateway, &link).await;
        }
        self.let_go(gateway, index, true).await
    }

    /// Lets the ports that are guarded by now pass the fence, and no others.
    pub(super) async fn settle_fence(&self, gateway: &Gateway) {
        let others =
            if gateway.fence_asks_for_others().await { self.ports_of_others().await } else { Vec::new() };
        gateway.set_alarms(Subject::OtherBridges, others.first().map(told_of_others).into_iter().collect());
        gateway.settle_fence(others).await;
    }

    /// Veths of other bridges.
    pub(super) async fn ports_of_others(&self) -> Vec<Port> {
        let links = self.netlink.links().await.unwrap_or_default();
        let others = self.scope.veths_of_others(&links);
        others.map(|link| Port { ifindex: link.index, name: link.name.clone() }).collect()
    }

    /// Looks at all ports there are: for those in trouble, and for what no event has told.
    pub(super) async fn look_again(&mut self, gateway: &Gateway) -> bool {
        let Ok(links) = self.netlink.links().await else { return false };
        if let Some(bridge) = &mut self.scope.bridge {
            bridge.settle(&links);
        }
        let (ports, others): (Vec<_>, Vec<_>) = links.iter().partition(|link| self.is_port(link));
        let (guarded, unseen) = (gateway.guarded(), gateway.unseen());
        let mut changed = false;
        for link in ports {
            let index = &link.index;
            if !guarded.contains(index) || unseen.contains(index) || self.troubles.contains_key(index) {
                changed |= self.guard(gateway, link).await;
            }
        }
        if !self.unread.is_empty() {
            changed |= self.read_addresses(gateway).await;
        }
        let gone = |index: &u32| !links.iter().any(|link| link.index == *index);
        changed |= gateway.forget_gone(|index| !gone(&index));
        for index in guarded.into_iter().filter(gone).collect::<Vec<_>>() {
            changed |= self.let_go(gateway, index, false).await;
        }
        for link in others {
            changed |= self.let_go(gateway, link.index, true).await;
        }
        self.settle_fence(gateway).await;
        changed
    }

    /// Looks at a device at once and guards it, whatever events of it are still under way. Returns the pod's
    /// end, where it can be seen, and whether policy has to be put in force anew.
    pub(super) async fn look_at(
        &mut self,
        gateway: &Gateway,
        index: u32,
    ) -> Result<(Option<PodEnd>, bool), Unguarded> {
        let link = match self.port(index).await {
            Err(Unguarded::NoPort) => {
                // Its bridge may have been made for it just now.
                if let (Some(bridge), Ok(links)) = (&mut self.scope.bridge, self.netlink.links().await) {
                    bridge.settle(&links);
                }
                self.port(index).await?
            }
            found => found?,
        };
        let changed = self.guard(gateway, &link).await;
        Ok((self.guarded_end(gateway, &link).await?, changed))
    }

    /// That a device is guarded. Returns the pod's end, where it can be seen.
    pub(super) async fn is_guarded(
        &self,
        gateway: &Gateway,
        index: u32,
    ) -> Result<Option<PodEnd>, Unguarded> {
        let link = self.port(index).await?;
        self.guarded_end(gateway, &link).await
    }

    /// Looks at these ports anew. The kernel tells of a pod's addresses, but not of its MAC address.
    pub(super) async fn refresh(&mut self, gateway: &Gateway, ifindexes: &BTreeSet<u32>) {
        if ifindexes.is_empty() {
            return;
        }
        let mut links = self.netlink.links().await.unwrap_or_default();
        links.retain(|link| ifindexes.contains(&link.index) && self.is_port(link));
        for link in &links {
            self.guard(gateway, link).await;
        }
        self.settle_fence(gateway).await;
        gateway.tell_of_strays();
    }

    /// Sets up again what was set down. For the end, when the wire is to be open.
    pub(super) async fn give_back(&mut self) {
        for (index, trouble) in std::mem::take(&mut self.troubles) {
            if trouble.set_down {
                let _ = self.netlink.set_state(index, AdminState::Up).await;
            }
        }
    }

    fn is_port(&self, link: &Link) -> bool {
        self.scope.has(link)
    }

    async fn port(&self, index: u32) -> Result<Link, Unguarded> {
        match self.netlink.link(index).await {
            Ok(link) if self.is_port(&link) => Ok(link),
            Ok(_) => Err(Unguarded::NoPort),
            Err(error) if error.is_gone() => Err(Unguarded::Gone),
            Err(error) => Err(Unguarded::Trouble(error.to_string())),
        }
    }

    async fn guarded_end(&self, gateway: &Gateway, link: &Link) -> Result<Option<PodEnd>, Unguarded> {
        if !gateway.guarded().contains(&link.index) {
            let trouble = self.troubles.get(&link.index).map(|trouble| trouble.told.clone());
            return Err(Unguarded::Trouble(
                trouble.unwrap_or_else(|| format!("{} is not guarded", link.name)),
            ));
        }
        Ok(self.netlink.pod_end(link).await.ok().flatten())
    }

    /// Guards a port, or looks at it again.
    async fn guard(&mut self, gateway: &Gateway, link: &Link) -> bool {
        let seen = self.netlink.pod_end(link).await;
        let is_known = gateway.guarded().contains(&link.index);
        let end = match seen {
            Ok(Some(end)) => end,
            // Its pod is just being made or taken away. What is guarded is guarded.
            Ok(None) | Err(_) if is_known => return false,
            Ok(None) | Err(_) => nobodys(link),
        };
        match gateway.take_up(&end) {
            Ok(changed) => {
                let was_down = self.troubles.remove(&link.index).is_some_and(|trouble| trouble.set_down);
                if was_down && let Err(error) = self.netlink.set_state(link.index, AdminState::Up).await {
                    let told = format!("{error}; it is guarded now, and was set down before");
                    self.trouble(link.index, told, false);
                } else if let Err(error) = preflight::check_mtu(&end) {
                    // Guarded all the same: what is too large for the trunk is dropped, not passed.
                    self.trouble(link.index, error.to_string(), false);
                }
                changed
            }
            Err(error) => {
                self.keep_closed(&end, is_known, error).await;
                false
            }
        }
    }

    /// Sees to a port that could not be guarded.
    pub(super) async fn keep_closed(&mut self, end: &PodEnd, is_guarded: bool, error: SteerError) {
        let (index, name) = (end.host_index, &end.host_name);
        match self.netlink.link(index).await {
            // It is gone; the event that says so is on its way.
            Err(gone) if gone.is_gone() => return,
            _ if is_guarded => return self.trouble(index, error.to_string(), false),
            _ => {}
        }
        let set = self.netlink.set_state(index, AdminState::Down).await;
        let done = match &set {
            Ok(()) => "it is set down until it can be guarded".to_owned(),
            Err(error) => format!("IT IS OPEN: it could not be set down either ({error})"),
        };
        self.trouble(index, format!("{name} is not guarded: {error}; {done}"), set.is_ok());
    }

    fn trouble(&mut self, index: u32, told: String, set_down: bool) {
        // Once set down by us, it is for us to set it up again.
        let set_down = set_down || self.troubles.get(&index).is_some_and(|trouble| trouble.set_down);
        self.troubles.insert(index, Trouble { told, set_down });
    }

    /// A device that is gone, or no port of the bridge any more.
    async fn let_go(&mut self, gateway: &Gateway, index: u32, is_there: bool) -> bool {
        if self.troubles.remove(&index).is_some_and(|trouble| trouble.set_down) {
            // If it is there still, it is nobody's business here any more.
            let _ = self.netlink.set_state(index, AdminState::Up).await;
        }
        // It may join the bridge again before this is over.
        if is_there && gateway.guarded().contains(&index) {
            gateway.close_at_fence(index).await;
        }
        match gateway.let_go(index) {
            Ok(changed) => changed,
            Err(error) => {
                tracing::warn!(%error, "what is left of a port could not be removed");
                true
            }
        }
    }

    /// Addresses changed somewhere: this node's, or those at some pod's end. What cannot be read is read again.
    async fn read_addresses(&mut self, gateway: &Gateway) -> bool {
        let mut changed = false;
        self.unread.clear();
        match self.netlink.host_addresses().await {
            Ok(addresses) => changed |= gateway.set_node_addresses(addresses),
            Err(error) => self.unread("this node's addresses could not be read", &error),
        }
        let guarded = gateway.guarded();
        let ends = self.seen_ends().await.unwrap_or_else(|error| {
            self.unread("the addresses of pods could not be read", &error);
            Vec::new()
        });
        for end in ends.iter().filter(|end| guarded.contains(&end.host_index)) {
            match gateway.take_up(end) {
                Ok(more) => changed |= more,
                Err(error) => self.unread("a pod's addresses could not be taken over", &error),
            }
        }
        gateway.tell_of_strays();
        changed
    }

    fn unread(&mut self, what: &str, error: &dyn std::error::Error) {
        self.unread.push(format!("{what}: {error}; it is tried again every second"));
    }
}

/// What is to be known where the kernel does not tell bridges apart.
fn told_of_others(port: &Port) -> String {
    format!(
        "this kernel does not tell nft which bridge a port is of (CONFIG_NFT_BRIDGE_META): veths of other bridges, as \
         {} is one, are closed until podgate has seen them, and those that come while it does not run stay closed; \
         --fence off leaves them alone",
        port.name
    )
}

/// The end of a port whose pod cannot be seen: nothing is for it, and it is bound to no pod.
fn nobodys(link: &Link) -> PodEnd {
    PodEnd {
        host_index: link.index,
        host_name: link.name.clone(),
        host_mac: link.mac.unwrap_or(Mac([0; 6])),
        peer: link.peer.unwrap_or(Peer { index: 0, netns_id: None }),
        peer_mac: Mac([0; 6]),
        mtu: link.mtu,
        addresses: Vec::new(),
    }
}
