//! How long a silent flow is remembered, and the tick the table counts time in.

use std::time::Duration;

use crate::Time;
use crate::state::{Assurance, CODE_BITS, FlowState, ReplyState, SctpState, TcpState, UdpState};

/// Time in an entry: units of 2^20 ns (1.05 ms).
pub(crate) const TICK_BITS: u32 = 20;

/// Bits of a tick: 36 years. Later is all the same.
pub(crate) const TICK_WIDTH: u32 = 40;

const LAST_TICK: u64 = (1 << TICK_WIDTH) - 1;

/// The tick that `time` is in.
#[inline]
pub(crate) const fn tick(time: Time) -> u64 {
    let ticks = time.nanos() >> TICK_BITS;
    if ticks < LAST_TICK { ticks } else { LAST_TICK }
}

/// When `tick` began.
pub(crate) const fn tick_start(tick: u64) -> Time {
    Time::from_nanos(tick << TICK_BITS)
}

/// `duration` in ticks, rounded up: a flow never expires early.
pub(crate) fn ticks(duration: Duration) -> u64 {
    let ticks = duration.as_nanos().div_ceil(1 << TICK_BITS);
    u64::try_from(ticks).unwrap_or(u64::MAX).min(1 << TICK_WIDTH)
}

/// How long a flow may be silent in each state before it is forgotten.
///
/// The defaults are the Linux kernel's (`Documentation/networking/nf_conntrack-sysctl.rst`; the
/// sources are under `net/netfilter/`):
///
/// | field | default | source |
/// |---|---|---|
/// | `tcp_syn_sent` | 120 s | `nf_conntrack_proto_tcp.c`, `tcp_timeouts`; also for SYN_SENT2 |
/// | `tcp_syn_recv` | 60 s | same |
/// | `tcp_established` | 432,000 s (5 days) | same |
/// | `tcp_fin_wait` | 120 s | same |
/// | `tcp_close_wait` | 60 s | same |
/// | `tcp_last_ack` | 30 s | same |
/// | `tcp_time_wait` | 120 s | same |
/// | `tcp_close` | 10 s | same |
/// | `tcp_unassured` | 300 s | same, `TCP_CONNTRACK_UNACK`: picked up, and only one end heard |
/// | `udp_unreplied` | 30 s | `nf_conntrack_proto_udp.c`, `udp_timeouts`; also right after a reply |
/// | `udp_stream` | 120 s | same |
/// | `icmp` | 30 s | `nf_conntrack_proto_icmp.c`, `nf_conntrack_proto_icmpv6.c` |
/// | `sctp_cookie_wait` | 3 s | `nf_conntrack_proto_sctp.c`, `sctp_timeouts` |
/// | `sctp_cookie_echoed` | 3 s | same |
/// | `sctp_established` | 210 s | same |
/// | `sctp_shutdown` | 3 s | same: SHUTDOWN_SENT, SHUTDOWN_RECD, SHUTDOWN_ACK_SENT |
/// | `sctp_closed` | 10 s | same |
/// | `generic` | 600 s | `nf_conntrack_proto_generic.c` |
/// | `denied` | 60 s | our own: cut by policy; in any case while connections are taken up in the middle |
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[allow(missing_docs, reason = "the table above describes every field")]
pub struct Timeouts {
    pub tcp_syn_sent: Duration,
    pub tcp_syn_recv: Duration,
    pub tcp_established: Duration,
    pub tcp_fin_wait: Duration,
    pub tcp_close_wait: Duration,
    pub tcp_last_ack: Duration,
    pub tcp_time_wait: Duration,
    pub tcp_close: Duration,
    pub tcp_unassured: Duration,
    pub udp_unreplied: Duration,
    pub udp_stream: Duration,
    pub icmp: Duration,
    pub sctp_cookie_wait: Duration,
    pub sctp_cookie_echoed: Duration,
    pub sctp_established: Duration,
    pub sctp_shutdown: Duration,
    pub sctp_closed: Duration,
    pub generic: Duration,
    pub denied: Duration,
}

impl Default for Timeouts {
    fn default() -> Self {
        let secs = Duration::from_secs;
        Self {
            tcp_syn_sent: secs(120),
            tcp_syn_recv: secs(60),
            tcp_established: secs(432_000),
            tcp_fin_wait: secs(120),
            tcp_close_wait: secs(60),
            tcp_last_ack: secs(30),
            tcp_time_wait: secs(120),
            tcp_close: secs(10),
            tcp_unassured: secs(300),
            udp_unreplied: secs(30),
            udp_stream: secs(120),
            icmp: secs(30),
            sctp_cookie_wait: secs(3),
            sctp_cookie_echoed: secs(3),
            sctp_established: secs(210),
            sctp_shutdown: secs(3),
            sctp_closed: secs(10),
            generic: secs(600),
            denied: secs(60),
        }
    }
}

impl Timeouts {
    /// How long a flow in `state` may be silent.
    pub fn of(&self, state: FlowState, assurance: Assurance) -> Duration {
        match state {
            FlowState::Tcp(state) => match (state, assurance) {
                (TcpState::SynSent | TcpState::SynSent2, _) => self.tcp_syn_sent,
                (TcpState::SynRecv, _) => self.tcp_syn_recv,
                (TcpState::Established, Assurance::Tentative) => self.tcp_unassured,
                (TcpState::Established, Assurance::Assured) => self.tcp_established,
                (TcpState::FinWait, _) => self.tcp_fin_wait,
                (TcpState::CloseWait, _) => self.tcp_close_wait,
                (TcpState::LastAck, _) => self.tcp_last_ack,
                (TcpState::TimeWait, _) => self.tcp_time_wait,
                (TcpState::Close, _) => self.tcp_close,
            },
            FlowState::Udp(UdpState::Unreplied | UdpState::Replied) => self.udp_unreplied,
            FlowState::Udp(UdpState::Stream) => self.udp_stream,
            FlowState::Icmp(ReplyState::Unreplied | ReplyState::Replied) => self.icmp,
            FlowState::Sctp(state) => match state {
                SctpState::CookieWait => self.sctp_cookie_wait,
                SctpState::CookieEchoed => self.sctp_cookie_echoed,
                SctpState::Established => self.sctp_established,
                SctpState::ShutdownSent | SctpState::ShutdownReceived | SctpState::ShutdownAckSent => {
                    self.sctp_shutdown
                }
                SctpState::Closed => self.sctp_closed,
            },
            FlowState::Other(ReplyState::Unreplied | ReplyState::Replied) => self.generic,
            FlowState::Denied => self.denied,
        }
    }
}

/// [`Timeouts`] in ticks, indexed by what an entry stores.
pub(crate) struct TimeoutTicks([u64; 2 << CODE_BITS]);

impl TimeoutTicks {
    pub(crate) fn new(timeouts: &Timeouts) -> Self {
        Self(std::array::from_fn(|index| {
            let state = FlowState::from_code(index as u8 & ((1 << CODE_BITS) - 1));
            let assurance = if index >> CODE_BITS == 0 { Assurance::Tentative } else { Assurance::Assured };
            ticks(timeouts.of(state, assurance))
        }))
    }

    #[inline]
    pub(crate) fn of(&self, state: FlowState, assurance: Assurance) -> u64 {
        self.0[usize::from(state.code()) + ((assurance as usize) << CODE_BITS)]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticks_never_shorten_a_timeout() {
        assert_eq!(ticks(Duration::ZERO), 0);
        assert_eq!(ticks(Duration::from_nanos(1)), 1);
        assert_eq!(ticks(Duration::from_nanos(1 << TICK_BITS)), 1);
        assert_eq!(ticks(Duration::from_nanos((1 << TICK_BITS) + 1)), 2);
        assert_eq!(ticks(Duration::MAX), 1 << TICK_WIDTH);
    }

    #[test]
    fn the_indexed_form_agrees_with_the_named_one() {
        let timeouts = Timeouts::default();
        let indexed = TimeoutTicks::new(&timeouts);
        for code in 0..1 << CODE_BITS {
            let state = FlowState::from_code(code);
            for assurance in [Assurance::Tentative, Assurance::Assured] {
                assert_eq!(indexed.of(state, assurance), ticks(timeouts.of(state, assurance)));
            }
        }
    }
}
