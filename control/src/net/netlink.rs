//! One connection to the kernel's routing tables.

use std::io;
use std::sync::Arc;

use futures::StreamExt;
use futures::stream::Stream;
use netlink_packet_core::{
    ErrorMessage, NLM_F_ACK, NLM_F_DUMP, NLM_F_DUMP_INTR, NLM_F_REQUEST, NetlinkMessage, NetlinkPayload,
    NlasIterator,
};
use netlink_packet_route::RouteNetlinkMessage;
use netlink_proto::sys::AsyncSocket;

use super::{NetError, Netns};

/// A dump that the kernel had to interrupt is begun again this many times.
const DUMP_ATTEMPTS: usize = 16;

/// `NLMSGERR_ATTR_MSG`: the explanation in an extended acknowledgement.
const EXPLANATION: u16 = 1;

/// A connection to the routing tables of one namespace; cheap to clone.
///
/// It stays with the namespace it was opened in, whatever thread uses it, and ends with the tokio
/// runtime it was opened on.
#[derive(Debug, Clone)]
pub struct Netlink {
    handle: rtnetlink::Handle,
    namespace: Arc<str>,
}

/// A request the kernel refused.
#[derive(Debug)]
pub(super) struct Refusal {
    pub(super) source: io::Error,
    pub(super) detail: String,
}

impl Netlink {
    /// A connection in the calling thread's namespace. Must be called on a tokio runtime.
    pub fn connect() -> Result<Self, NetError> {
        Self::open("this namespace".into())
    }

    /// A connection in another namespace. Must be called on a tokio runtime.
    pub fn connect_in(netns: &Netns) -> Result<Self, NetError> {
        let runtime = tokio::runtime::Handle::current();
        netns.run(|| {
            let _entered = runtime.enter();
            Self::open(netns.label().into())
        })?
    }

    /// The namespace's name or path, for messages.
    pub fn namespace(&self) -> &str {
        &self.namespace
    }

    fn open(namespace: Arc<str>) -> Result<Self, NetError> {
        let opened = || {
            // Strict checking makes the kernel obey filters in dumps (the namespace and the device),
            // and refuse what it does not know instead of ignoring it.
            let (mut connection, handle, _) = rtnetlink::new_connection_with_strict_check()?;
            let socket = connection.socket_mut().socket_mut();
            socket.set_ext_ack(true)?;
            socket.set_cap_ack(true)?;
            // An end that was not announced is then known to be the connection's, not the answer's.
            connection.set_forward_ack(true);
            connection.set_forward_done(true);
            tokio::spawn(connection);
            Ok(handle)
        };
        match opened() {
            Ok(handle) => Ok(Self { handle, namespace }),
            Err(source) => Err(NetError::Connect { namespace: namespace.to_string(), source }),
        }
    }

    /// Asks for a change and waits until it is made.
    pub(super) async fn change(&self, message: RouteNetlinkMessage, flags: u16) -> Result<(), Refusal> {
        self.exchange(message, NLM_F_REQUEST | NLM_F_ACK | flags).await.map(drop)
    }

    /// Asks for one thing.
    pub(super) async fn ask(&self, message: RouteNetlinkMessage) -> Result<RouteNetlinkMessage, Refusal> {
        let (mut replies, _) = self.exchange(message, NLM_F_REQUEST).await?;
        replies.pop().ok_or_else(|| Refusal::from(io::Error::from(io::ErrorKind::UnexpectedEof)))
    }

    /// Asks for a whole table, as of one moment.
    pub(super) async fn dump(
        &self,
        message: RouteNetlinkMessage,
    ) -> Result<Vec<RouteNetlinkMessage>, Refusal> {
        for _ in 1..DUMP_ATTEMPTS {
            if let (replies, Dump::Whole) = self.exchange(message.clone(), NLM_F_REQUEST | NLM_F_DUMP).await?
            {
                return Ok(replies);
            }
        }
        // The table changes faster than it can be read: the last reading, torn as it may be.
        self.exchange(message, NLM_F_REQUEST | NLM_F_DUMP).await.map(|(replies, _)| replies)
    }

    async fn exchange(
        &self,
        message: RouteNetlinkMessage,
        flags: u16,
    ) -> Result<(Vec<RouteNetlinkMessage>, Dump), Refusal> {
        let mut request = NetlinkMessage::from(message);
        request.header.flags = flags;
        let stream = self.handle.clone().request(request).map_err(|_| Refusal::closed())?;
        collect(stream, if flags & (NLM_F_ACK | NLM_F_DUMP) == 0 { Ending::Reply } else { Ending::Announced })
            .await
    }

    /// The error for a refused operation on a device.
    pub(super) fn refused(
        &self,
        device: impl Into<String>,
        operation: impl Into<String>,
        refusal: Refusal,
    ) -> NetError {
        let (device, namespace) = (device.into(), self.namespace.to_string());
        if refusal.source.raw_os_error() == Some(nix::libc::ENODEV) {
            return NetError::NoSuchDevice { device, namespace };
        }
        let Refusal { source, detail } = refusal;
        NetError::Device { device, namespace, operation: operation.into(), source, detail }
    }
}

/// Whether a dump was consistent.
pub(super) enum Dump {
    Whole,
    Interrupted,
}

/// How the kernel ends its answer.
pub(super) enum Ending {
    /// With the one message asked for.
    Reply,
    /// With an acknowledgement or an end-of-dump message.
    Announced,
}

/// Reads an answer to its end.
pub(super) async fn collect<T>(
    mut stream: impl Stream<Item = NetlinkMessage<T>> + Unpin,
    ending: Ending,
) -> Result<(Vec<T>, Dump), Refusal> {
    let (mut replies, mut dump) = (Vec::new(), Dump::Whole);
    while let Some(message) = stream.next().await {
        if message.header.flags & NLM_F_DUMP_INTR != 0 {
            dump = Dump::Interrupted;
        }
        match message.payload {
            NetlinkPayload::Error(error) if error.code.is_some() => return Err(error.into()),
            NetlinkPayload::Done(done) if done.code < 0 => {
                return Err(io::Error::from_raw_os_error(-done.code).into());
            }
            NetlinkPayload::Error(_) | NetlinkPayload::Done(_) => return Ok((replies, dump)),
            NetlinkPayload::InnerMessage(reply) => replies.push(reply),
            _ => {}
        }
    }
    match ending {
        Ending::Reply if !replies.is_empty() => Ok((replies, dump)),
        _ => Err(Refusal::closed()),
    }
}

impl Refusal {
    pub(super) fn closed() -> Self {
        io::Error::new(io::ErrorKind::ConnectionAborted, "the netlink connection has ended").into()
    }
}

impl From<io::Error> for Refusal {
    fn from(source: io::Error) -> Self {
        Self { source, detail: String::new() }
    }
}

impl From<ErrorMessage> for Refusal {
    fn from(error: ErrorMessage) -> Self {
        // The request's header (16 bytes), then attributes (NETLINK_CAP_ACK, NETLINK_EXT_ACK).
        let attributes = error.header.get(16..).unwrap_or_default();
        let explanation = NlasIterator::new(attributes)
            .filter_map(Result::ok)
            .find(|attribute| attribute.kind() == EXPLANATION)
            .map(|attribute| String::from_utf8_lossy(attribute.value()).trim_end_matches('\0').to_owned());
        Self { source: error.to_io(), detail: explanation.unwrap_or_default() }
    }
}
