//! Generic netlink: messages to a family that is found by name.
//!
//! Layout: `Documentation/userspace-api/netlink/intro.rst`, `include/uapi/linux/genetlink.h`.

use std::convert::Infallible;
use std::io;
use std::sync::Arc;

use netlink_packet_core::{
    DefaultNla, Emitable, NLA_F_NESTED, NLA_HEADER_SIZE, NLM_F_ACK, NLM_F_DUMP, NLM_F_REQUEST,
    NetlinkDeserializable, NetlinkHeader, NetlinkMessage, NetlinkPayload, NetlinkSerializable, NlaBuffer,
    NlasIterator,
};
use netlink_proto::ConnectionHandle;
use netlink_proto::sys::{AsyncSocket, SocketAddr, protocols::NETLINK_GENERIC};

use super::netlink::{Ending, Refusal, collect};
use super::{NetError, Netns};

/// `GENL_ID_CTRL`, the family that knows the others.
const CONTROL: u16 = 16;
const CTRL_CMD_GETFAMILY: u8 = 3;
const CTRL_ATTR_FAMILY_ID: u16 = 1;
const CTRL_ATTR_FAMILY_NAME: u16 = 2;

/// `struct genlmsghdr`: command, version, two reserved bytes.
const HEADER_LEN: usize = 4;

/// A connection to one generic netlink family, in one namespace.
#[derive(Debug, Clone)]
pub(super) struct Family {
    handle: ConnectionHandle<Message>,
    id: u16,
    namespace: Arc<str>,
}

/// A generic netlink message: a command and its attributes.
#[derive(Debug, Clone)]
pub(super) struct Message {
    family: u16,
    command: u8,
    attributes: Vec<u8>,
}

impl Family {
    pub(super) async fn connect(
        name: &'static str,
        since: &'static str,
        netns: Option<&Netns>,
    ) -> Result<Self, NetError> {
        let namespace: Arc<str> = netns.map_or("this namespace", Netns::label).into();
        let opened = match netns {
            None => open(),
            Some(netns) => {
                let runtime = tokio::runtime::Handle::current();
                netns.run(|| {
                    let _entered = runtime.enter();
                    open()
                })?
            }
        };
        let handle =
            opened.map_err(|source| NetError::Connect { namespace: namespace.to_string(), source })?;
        let mut family = Self { handle, id: CONTROL, namespace };
        let attributes = [text(CTRL_ATTR_FAMILY_NAME, name)];
        let missing = |refusal: Refusal| NetError::NoFamily { family: name, since, source: refusal.source };
        let replies = family.ask(CTRL_CMD_GETFAMILY, &attributes).await.map_err(missing)?;
        let id = replies.iter().find_map(|reply| find(&reply.attributes, CTRL_ATTR_FAMILY_ID));
        let id = id.and_then(|value| Some(u16::from_ne_bytes(value.try_into().ok()?)));
        family.id = id.ok_or_else(|| missing(io::Error::from(io::ErrorKind::InvalidData).into()))?;
        Ok(family)
    }

    pub(super) async fn ask(&self, command: u8, attributes: &[DefaultNla]) -> Result<Vec<Message>, Refusal> {
        self.exchange(command, attributes, NLM_F_REQUEST | NLM_F_ACK).await
    }

    pub(super) async fn dump(&self, command: u8, attributes: &[DefaultNla]) -> Result<Vec<Message>, Refusal> {
        // The kernel acknowledges no dump, asked or not. Asking keeps the connection listening until its
        // end: replies of the netdev family lack the mark that more are to come.
        self.exchange(command, attributes, NLM_F_REQUEST | NLM_F_DUMP | NLM_F_ACK).await
    }

    /// The error for a refused operation on a device.
    pub(super) fn refused(&self, device: &str, operation: String, refusal: Refusal) -> NetError {
        let (device, namespace) = (device.to_owned(), self.namespace.to_string());
        match refusal.source.raw_os_error() {
            Some(nix::libc::ENODEV) => NetError::NoSuchDevice { device, namespace },
            _ => NetError::Device {
                device,
                namespace,
                operation,
                source: refusal.source,
                detail: refusal.detail,
            },
        }
    }

    async fn exchange(
        &self,
        command: u8,
        attributes: &[DefaultNla],
        flags: u16,
    ) -> Result<Vec<Message>, Refusal> {
        let message = Message { family: self.id, command, attributes: bytes(attributes) };
        let mut request =
            NetlinkMessage::new(NetlinkHeader::default(), NetlinkPayload::InnerMessage(message));
        request.header.flags = flags;
        let stream = self.handle.request(request, SocketAddr::new(0, 0)).map_err(|_| Refusal::closed())?;
        collect(stream, Ending::Announced).await.map(|(replies, _)| replies)
    }
}

impl Message {
    /// The value of the first attribute of that kind.
    pub(super) fn attribute(&self, kind: u16) -> Option<&[u8]> {
        find(&self.attributes, kind)
    }
}

impl NetlinkSerializable for Message {
    fn message_type(&self) -> u16 {
        self.family
    }

    fn buffer_len(&self) -> usize {
        HEADER_LEN + self.attributes.len()
    }

    fn serialize(&self, buffer: &mut [u8]) {
        let (header, rest) = buffer.split_at_mut(HEADER_LEN);
        header.copy_from_slice(&[self.command, 1, 0, 0]);
        rest[..self.attributes.len()].copy_from_slice(&self.attributes);
    }
}

impl NetlinkDeserializable for Message {
    type Error = Infallible;

    fn deserialize(header: &NetlinkHeader, payload: &[u8]) -> Result<Self, Infallible> {
        let command = payload.first().copied().unwrap_or_default();
        let attributes = payload.get(HEADER_LEN..).unwrap_or_default().to_vec();
        Ok(Self { family: header.message_type, command, attributes })
    }
}

fn open() -> io::Result<ConnectionHandle<Message>> {
    let (mut connection, handle, _) = netlink_proto::new_connection(NETLINK_GENERIC)?;
    let socket = connection.socket_mut().socket_mut();
    socket.set_ext_ack(true)?;
    socket.set_cap_ack(true)?;
    connection.set_forward_ack(true);
    connection.set_forward_done(true);
    tokio::spawn(connection);
    Ok(handle)
}

/// An attribute that holds others.
pub(super) fn nested(kind: u16, inner: &[DefaultNla]) -> DefaultNla {
    DefaultNla::new(kind | NLA_F_NESTED, bytes(inner))
}

/// An attribute that is true by being there.
pub(super) fn flag(kind: u16) -> DefaultNla {
    DefaultNla::new(kind, Vec::new())
}

/// A zero-terminated text.
pub(super) fn text(kind: u16, value: &str) -> DefaultNla {
    DefaultNla::new(kind, value.bytes().chain([0]).collect())
}

/// A number in the machine's byte order.
pub(super) fn number(kind: u16, value: u32) -> DefaultNla {
    DefaultNla::new(kind, value.to_ne_bytes().to_vec())
}

/// The attributes in a value, those that cannot be read left out.
pub(super) fn attributes(value: &[u8]) -> impl Iterator<Item = NlaBuffer<&[u8]>> {
    NlasIterator::new(value).filter_map(Result::ok)
}

/// The value of the first attribute of that kind.
pub(super) fn find(value: &[u8], kind: u16) -> Option<&[u8]> {
    let found = attributes(value).find(|attribute| attribute.kind() == kind)?;
    let length = usize::from(found.length());
    // What the iterator gives runs on to the end of the whole.
    Some(&found.into_inner()[NLA_HEADER_SIZE..length])
}

/// A number from an attribute's value.
pub(super) fn as_number(value: &[u8]) -> Option<u32> {
    Some(u32::from_ne_bytes(value.try_into().ok()?))
}

/// A text from an attribute's value.
pub(super) fn as_text(value: &[u8]) -> String {
    String::from_utf8_lossy(value).trim_end_matches('\0').to_owned()
}

fn bytes(attributes: &[DefaultNla]) -> Vec<u8> {
    let mut buffer = Vec::new();
    for attribute in attributes {
        let start = buffer.len();
        buffer.resize(start + attribute.buffer_len(), 0);
        attribute.emit(&mut buffer[start..]);
    }
    buffer
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nested_attributes_are_found_again() {
        let inner = [text(2, "abc"), number(3, 7), flag(4)];
        let value = bytes(&[number(1, 1), nested(5, &inner)]);
        let found = find(&value, 5).expect("the nested attribute");
        assert_eq!(find(found, 2).map(as_text).as_deref(), Some("abc"));
        assert_eq!(find(found, 3).and_then(as_number), Some(7));
        assert_eq!(find(found, 4), Some(&[][..]));
        assert_eq!(find(found, 9), None);
    }
}
