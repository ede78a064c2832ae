//! The states a flow can be in, for every protocol.

/// Declares a state enum together with its names and the list of its members.
macro_rules! states {
    ($(#[$doc:meta])* $name:ident { $($(#[$variant_doc:meta])* $variant:ident = $text:literal,)+ }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
        pub enum $name { $($(#[$variant_doc])* $variant,)+ }

        impl $name {
            pub(crate) const COUNT: u8 = [$(Self::$variant),+].len() as u8;

            /// The state's name, as conntrack tools print it.
            pub const fn name(self) -> &'static str {
                match self { $(Self::$variant => $text,)+ }
            }

            #[inline]
            pub(crate) const fn from_index(index: u8) -> Option<Self> {
                $(if index == Self::$variant as u8 { return Some(Self::$variant); })+
                None
            }
        }
    };
}

states! {
    /// TCP, with the states of `net/netfilter/nf_conntrack_proto_tcp.c`.
    TcpState {
        /// The originator's SYN was seen.
        SynSent = "SYN_SENT",
        /// Both ends sent a SYN (simultaneous open, RFC 9293, 3.5).
        SynSent2 = "SYN_SENT2",
        /// The SYN was answered with SYN and ACK.
        SynRecv = "SYN_RECV",
        /// Data may flow.
        Established = "ESTABLISHED",
        /// One end sent a FIN.
        FinWait = "FIN_WAIT",
        /// That FIN was acknowledged.
        CloseWait = "CLOSE_WAIT",
        /// Both ends sent a FIN.
        LastAck = "LAST_ACK",
        /// Both FINs were acknowledged.
        TimeWait = "TIME_WAIT",
        /// An acceptable RST was seen.
        Close = "CLOSE",
    }
}

states! {
    /// UDP, with the two timeouts of `net/netfilter/nf_conntrack_proto_udp.c`.
    UdpState {
        /// Only the originator has sent.
        Unreplied = "UNREPLIED",
        /// Both ends have sent, as in one question and one answer.
        Replied = "REPLIED",
        /// Both ends still send two seconds after the flow opened.
        Stream = "ASSURED",
    }
}

states! {
    /// Protocols of which only the answer matters: ICMP queries, and whatever has no tracker.
    ReplyState {
        /// Only the originator has sent.
        Unreplied = "UNREPLIED",
        /// Both ends have sent.
        Replied = "REPLIED",
    }
}

states! {
    /// SCTP, after `net/netfilter/nf_conntrack_proto_sctp.c`.
    SctpState {
        /// INIT or INIT ACK was seen.
        CookieWait = "COOKIE_WAIT",
        /// COOKIE ECHO was seen.
        CookieEchoed = "COOKIE_ECHOED",
        /// COOKIE ACK was seen.
        Established = "ESTABLISHED",
        /// The originator sent SHUTDOWN.
        ShutdownSent = "SHUTDOWN_SENT",
        /// The other end sent SHUTDOWN.
        ShutdownReceived = "SHUTDOWN_RECD",
        /// SHUTDOWN ACK was seen.
        ShutdownAckSent = "SHUTDOWN_ACK_SENT",
        /// The association ended or was aborted.
        Closed = "CLOSED",
    }
}

/// Where a flow stands, in its protocol's own words.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum FlowState {
    /// TCP.
    Tcp(TcpState),
    /// UDP.
    Udp(UdpState),
    /// An ICMP query.
    Icmp(ReplyState),
    /// SCTP.
    Sctp(SctpState),
    /// Any other protocol.
    Other(ReplyState),
    /// Cut by policy, and kept so that none of its segments is taken for an opening one, see
    /// [`FlowTable::cut`](crate::FlowTable::cut).
    Denied,
}

const UDP: u8 = TcpState::COUNT;
const ICMP: u8 = UDP + UdpState::COUNT;
const SCTP: u8 = ICMP + ReplyState::COUNT;
const OTHER: u8 = SCTP + SctpState::COUNT;
const DENIED: u8 = OTHER + ReplyState::COUNT;

/// Bits of a state's code in an entry.
pub(crate) const CODE_BITS: u32 = 5;
const _: () = assert!(DENIED < 1 << CODE_BITS);

impl FlowState {
    /// The state's name, as conntrack tools print it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Tcp(state) => state.name(),
            Self::Udp(state) => state.name(),
            Self::Icmp(state) | Self::Other(state) => state.name(),
            Self::Sctp(state) => state.name(),
            Self::Denied => "DENIED",
        }
    }

    /// The state as a small number, unique over all protocols.
    #[inline]
    pub(crate) const fn code(self) -> u8 {
        match self {
            Self::Tcp(state) => state as u8,
            Self::Udp(state) => UDP + state as u8,
            Self::Icmp(state) => ICMP + state as u8,
            Self::Sctp(state) => SCTP + state as u8,
            Self::Other(state) => OTHER + state as u8,
            Self::Denied => DENIED,
        }
    }

    /// Of [`FlowState::code`]; a code that no state has gives `Other(Unreplied)`.
    #[inline]
    pub(crate) fn from_code(code: u8) -> Self {
        DECODED[usize::from(code) % DECODED.len()]
    }

    const fn decode(code: u8) -> Self {
        if let Some(state) = TcpState::from_index(code) {
            Self::Tcp(state)
        } else if let Some(state) = UdpState::from_index(code - UDP) {
            Self::Udp(state)
        } else if let Some(state) = ReplyState::from_index(code - ICMP) {
            Self::Icmp(state)
        } else if let Some(state) = SctpState::from_index(code - SCTP) {
            Self::Sctp(state)
        } else if let Some(state) = ReplyState::from_index(code - OTHER) {
            Self::Other(state)
        } else if code == DENIED {
            Self::Denied
        } else {
            Self::Other(ReplyState::Unreplied)
        }
    }

    /// Whether only the originator has been heard, or the handshake has not got past both SYNs.
    #[inline]
    pub(crate) const fn is_unanswered(self) -> bool {
        matches!(
            self,
            Self::Tcp(TcpState::SynSent | TcpState::SynSent2)
                | Self::Udp(UdpState::Unreplied)
                | Self::Icmp(ReplyState::Unreplied)
                | Self::Other(ReplyState::Unreplied)
                | Self::Sctp(SctpState::CookieWait)
        )
    }

    /// Whether the flow still opens: unanswered, or answered and not confirmed. What a flood of openings
    /// is made of, whether the other end answers it or not.
    #[inline]
    pub(crate) const fn is_half_open(self) -> bool {
        self.is_unanswered()
            || matches!(self, Self::Tcp(TcpState::SynRecv) | Self::Sctp(SctpState::CookieEchoed))
    }

    /// Whether the flow is over and is only remembered for stragglers.
    #[inline]
    pub const fn is_finished(self) -> bool {
        matches!(
            self,
            Self::Tcp(TcpState::TimeWait | TcpState::Close) | Self::Sctp(SctpState::Closed) | Self::Denied
        )
    }
}

static DECODED: [FlowState; 1 << CODE_BITS] = {
    let mut decoded = [FlowState::Other(ReplyState::Unreplied); 1 << CODE_BITS];
    let mut code = 0;
    while code < decoded.len() {
        decoded[code] = FlowState::decode(code as u8);
        code += 1;
    }
    decoded
};

/// Whether a flow has shown that both ends want it. The table never gives up an assured flow to
/// make room for a new one.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Assurance {
    /// One packet may have made it, or a whole flood.
    Tentative,
    /// Both ends have agreed: nf_conntrack's `IPS_ASSURED`.
    Assured,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_unique_and_decode() {
        let mut seen = std::collections::HashSet::new();
        for code in 0..=DENIED {
            let state = FlowState::from_code(code);
            assert_eq!(state.code(), code);
            assert!(seen.insert(state));
            assert!(!state.name().is_empty());
        }
        assert_eq!(seen.len(), 9 + 3 + 2 + 7 + 2 + 1);
    }
}
