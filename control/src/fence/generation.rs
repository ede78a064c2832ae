//! Whether anything of nft's has changed: the kernel counts transactions (`NFT_MSG_GETGEN`,
//! include/uapi/linux/netfilter/nf_tables.h). Asking costs a system call, where nft would have to be
//! started.

use netlink_packet_core::{NlaBuffer, NlasIterator};
use netlink_sys::protocols::NETLINK_NETFILTER;
use netlink_sys::{Socket, SocketAddr};

const NLM_F_REQUEST: u16 = 1;
/// `NFNL_SUBSYS_NFTABLES << 8 | NFT_MSG_GETGEN`, and the answer's.
const GET: u16 = 10 << 8 | 16;
const NEW: u16 = 10 << 8 | 15;
/// `struct nlmsghdr` and `struct nfgenmsg`.
const HEADERS_LEN: usize = 16 + 4;
const NFTA_GEN_ID: u16 = 1;

/// The counter of one network namespace.
#[derive(Debug)]
pub(super) struct Generation {
    socket: Option<Socket>,
}

impl Generation {
    /// That of the calling thread's namespace.
    pub(super) fn new() -> Self {
        let open = || -> std::io::Result<Socket> {
            let mut socket = Socket::new(NETLINK_NETFILTER)?;
            socket.bind_auto()?;
            socket.connect(&SocketAddr::new(0, 0))?;
            // The kernel answers within the request.
            socket.set_non_blocking(true)?;
            Ok(socket)
        };
        Self { socket: open().ok() }
    }

    /// How many there have been; `None` if the kernel does not say, which tells nothing.
    pub(super) fn now(&self) -> Option<u32> {
        let socket = self.socket.as_ref()?;
        let mut request = [0; HEADERS_LEN];
        request[..4].copy_from_slice(&(HEADERS_LEN as u32).to_ne_bytes());
        request[4..6].copy_from_slice(&GET.to_ne_bytes());
        request[6..8].copy_from_slice(&NLM_F_REQUEST.to_ne_bytes());
        socket.send(&request, 0).ok()?;
        let (reply, _) = socket.recv_from_full().ok()?;
        read(&reply)
    }
}

/// The number in an answer.
fn read(reply: &[u8]) -> Option<u32> {
    if reply.get(4..6)? != NEW.to_ne_bytes() {
        return None;
    }
    let attributes = NlasIterator::new(reply.get(HEADERS_LEN..)?);
    attributes.filter_map(Result::ok).find_map(|attribute: NlaBuffer<&[u8]>| {
        let value = (attribute.kind() == NFTA_GEN_ID).then(|| attribute.value().try_into().ok()).flatten();
        value.map(u32::from_be_bytes)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_number_stands_among_attributes() {
        let mut reply = vec![0; HEADERS_LEN];
        reply[4..6].copy_from_slice(&NEW.to_ne_bytes());
        // NFTA_GEN_PROC_PID, then NFTA_GEN_ID.
        for (kind, value) in [(2_u16, 77_u32), (NFTA_GEN_ID, 0x0102_0304)] {
            reply.extend(8_u16.to_ne_bytes());
            reply.extend(kind.to_ne_bytes());
            reply.extend(value.to_be_bytes());
        }
        assert_eq!(read(&reply), Some(0x0102_0304));
        assert_eq!(read(&reply[..HEADERS_LEN + 8]), None);
        assert_eq!(read(&reply[..3]), None);
        reply[4] = 2;
        assert_eq!(read(&reply), None, "an error is no answer");
    }
}
