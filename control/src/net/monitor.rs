//! Links and addresses as they change.
//!
//! The kernel's notifications are only a hint of when to look: what a receiver sees is the
//! difference between what it was last told and what is there, so that it can follow from the
//! events alone, even after the kernel had to drop notifications.

use std::collections::BTreeMap;
use std::io;

use futures::StreamExt;
use futures::channel::mpsc::UnboundedReceiver;
use netlink_packet_core::{NetlinkMessage, NetlinkPayload};
use netlink_packet_route::{AddressFamily, RouteNetlinkMessage};
use netlink_proto::sys::{AsyncSocket, SocketAddr};
use rtnetlink::MulticastGroup;
use tokio::sync::mpsc;

use super::address::as_address;
use super::{Link, NetError, Netlink, Netns};

/// How many events may wait for the receiver; then the monitor waits.
const CHANNEL_EVENTS: usize = 1024;

/// Bytes of notifications the kernel holds for each socket.
const RECEIVE_BUFFER_BYTES: u32 = 4 << 20;

type Notifications = UnboundedReceiver<(NetlinkMessage<RouteNetlinkMessage>, SocketAddr)>;

/// Something changed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// A device is there. Those there at the start are reported first, in this way.
    Appeared(Link),
    /// A device is not what it was: another bridge, address, MTU, name or state.
    Changed {
        /// As last reported.
        before: Link,
        /// As it is now.
        now: Link,
    },
    /// A device is gone.
    Removed(Link),
    /// All devices there at the start have been reported.
    Synced,
    /// Addresses of a device with this index changed: of this namespace, or of one of those it has
    /// a number for (the pods whose peers were looked at). Read them again.
    AddressesChanged {
        /// The device's index in its own namespace.
        index: u32,
    },
}

/// Events of one namespace, as a tokio channel. It ends if the namespace cannot be read any more.
#[derive(Debug)]
pub struct Monitor {
    events: mpsc::Receiver<Event>,
}

impl Monitor {
    /// Watches the calling thread's namespace. Must be called on a tokio runtime.
    pub fn start() -> Result<Self, NetError> {
        let (links, addresses) = subscribe("this namespace")?;
        Ok(Self::follow(Netlink::connect()?, links, addresses))
    }

    /// Watches another namespace. Must be called on a tokio runtime.
    pub fn start_in(netns: &Netns) -> Result<Self, NetError> {
        let runtime = tokio::runtime::Handle::current();
        let (links, addresses) = netns.run(|| {
            let _entered = runtime.enter();
            subscribe(netns.label())
        })??;
        Ok(Self::follow(Netlink::connect_in(netns)?, links, addresses))
    }

    /// The next event; waits for it.
    pub async fn next(&mut self) -> Option<Event> {
        self.events.recv().await
    }

    /// The next event, if one waits.
    pub fn waiting(&mut self) -> Option<Event> {
        self.events.try_recv().ok()
    }

    fn follow(netlink: Netlink, links: Notifications, addresses: Notifications) -> Self {
        let (sender, events) = mpsc::channel(CHANNEL_EVENTS);
        tokio::spawn(async move {
            let mut follower = Follower { netlink, known: BTreeMap::new(), sender };
            // Ends when the receiver is dropped or the namespace cannot be read.
            let _ = follower.run(links, addresses).await;
        });
        Self { events }
    }
}

/// Subscribed before the first look, so that nothing falls in between.
fn subscribe(namespace: &str) -> Result<(Notifications, Notifications), NetError> {
    let open = |groups: &[MulticastGroup], all_namespaces| -> io::Result<Notifications> {
        let (mut connection, _, notifications) = rtnetlink::new_multicast_connection(groups)?;
        let socket = connection.socket_mut().socket_mut();
        socket.set_rx_buf_sz(RECEIVE_BUFFER_BYTES)?;
        socket.set_listen_all_namespaces(all_namespaces)?;
        tokio::spawn(connection);
        Ok(notifications)
    };
    let both = || -> io::Result<_> {
        let links = open(&[MulticastGroup::Link], false)?;
        Ok((links, open(&[MulticastGroup::Ipv4Ifaddr, MulticastGroup::Ipv6Ifaddr], true)?))
    };
    both().map_err(|source| NetError::Connect { namespace: namespace.into(), source })
}

struct Follower {
    netlink: Netlink,
    known: BTreeMap<u32, Link>,
    sender: mpsc::Sender<Event>,
}

/// Why following ends.
enum Over {
    ReceiverGone,
    Unreadable,
}

impl Follower {
    async fn run(&mut self, mut links: Notifications, mut addresses: Notifications) -> Result<(), Over> {
        self.look_again().await?;
        self.send(Event::Synced).await?;
        loop {
            tokio::select! {
                () = self.sender.closed() => return Err(Over::ReceiverGone),
                notification = links.next() => {
                    let (message, _) = notification.ok_or(Over::Unreadable)?;
                    self.on_link(message.payload).await?;
                }
                notification = addresses.next() => {
                    let (message, _) = notification.ok_or(Over::Unreadable)?;
                    self.on_address(message.payload).await?;
                }
            }
        }
    }

    async fn on_link(&mut self, payload: NetlinkPayload<RouteNetlinkMessage>) -> Result<(), Over> {
        // A port that only leaves its bridge is deleted from that, in the bridge's own family.
        let is_deleted = matches!(
            &payload,
            NetlinkPayload::InnerMessage(RouteNetlinkMessage::DelLink(message))
                if message.header.interface_family == AddressFamily::Unspec
        );
        match payload {
            NetlinkPayload::InnerMessage(
                RouteNetlinkMessage::NewLink(message) | RouteNetlinkMessage::DelLink(message),
            ) => {
                // What the message says is not taken: a bridge also announces its ports (AF_BRIDGE,
                // deleted when they only leave it), and those messages lack much.
                let index = message.header.index;
                if is_deleted {
                    // One that is there now is another one, to which the number was given anew.
                    self.report_removed(index).await?;
                }
                match self.netlink.link(index).await {
                    Ok(link) => self.report(link).await,
                    Err(error) if error.is_gone() => self.report_removed(index).await,
                    Err(_) => Err(Over::Unreadable),
                }
            }
            NetlinkPayload::Overrun(_) => self.look_again().await,
            _ => Ok(()),
        }
    }

    async fn on_address(&mut self, payload: NetlinkPayload<RouteNetlinkMessage>) -> Result<(), Over> {
        match payload {
            NetlinkPayload::InnerMessage(message) => match as_address(&message) {
                Some(address) => self.send(Event::AddressesChanged { index: address.index }).await,
                None => Ok(()),
            },
            // Nobody knows whose were lost: every known device's, and its peer's.
            NetlinkPayload::Overrun(_) => {
                let peers = self.known.values().filter_map(|link| link.peer.map(|peer| peer.index));
                let indexes: Vec<u32> = self.known.keys().copied().chain(peers).collect();
                for index in indexes {
                    self.send(Event::AddressesChanged { index }).await?;
                }
                Ok(())
            }
            _ => Ok(()),
        }
    }

    async fn look_again(&mut self) -> Result<(), Over> {
        let links = self.netlink.links().await.map_err(|_| Over::Unreadable)?;
        let gone: Vec<u32> = {
            let is_there = |index: &u32| links.iter().any(|link| link.index == *index);
            self.known.keys().copied().filter(|index| !is_there(index)).collect()
        };
        for index in gone {
            self.report_removed(index).await?;
        }
        for link in links {
            self.report(link).await?;
        }
        Ok(())
    }

    async fn report(&mut self, now: Link) -> Result<(), Over> {
        match self.known.insert(now.index, now.clone()) {
            None => self.send(Event::Appeared(now)).await,
            Some(before) if before != now => self.send(Event::Changed { before, now }).await,
            Some(_) => Ok(()),
        }
    }

    async fn report_removed(&mut self, index: u32) -> Result<(), Over> {
        match self.known.remove(&index) {
            Some(link) => self.send(Event::Removed(link)).await,
            None => Ok(()),
        }
    }

    async fn send(&self, event: Event) -> Result<(), Over> {
        self.sender.send(event).await.map_err(|_| Over::ReceiverGone)
    }
}
