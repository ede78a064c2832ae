//! What there was to see in a trace: a check that looks at nothing proves nothing.

use std::collections::HashMap;

use podgate_flowtable::{TcpFlags, Tuple};

use super::{Trace, segment_of};

/// Segments of each kind, of the connections to one port.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Seen {
    /// All of them.
    pub segments: u64,
    /// SYN without ACK.
    pub syns: u64,
    /// Of these, with data.
    pub syns_with_data: u64,
    /// SYN and ACK.
    pub syn_acks: u64,
    /// FIN.
    pub fins: u64,
    /// FIN of an end that has not seen the other's, which is under way.
    pub crossed_fins: u64,
    /// RST.
    pub resets: u64,
    /// With data.
    pub data: u64,
    /// With data, longer than any frame on the wire: to be segmented by the device.
    pub large: u64,
    /// With data that was sent before.
    pub repeated: u64,
    /// With data beyond the next that was expected.
    pub early: u64,
    /// Without data, one before the next byte: a probe that wants an answer.
    pub probes: u64,
    /// That close the window.
    pub zero_windows: u64,
}

/// What one end has sent.
#[derive(Clone, Copy, Default)]
struct Progress {
    /// The sequence number after the last, once there was a segment.
    end: Option<u32>,
    fin: bool,
}

impl Trace {
    /// What there is of connections to `port`. The lower port is the one that was connected to.
    pub fn seen(&self, port: u16) -> Seen {
        let mut seen = Seen::default();
        let mut ends: HashMap<Tuple, Progress> = HashMap::new();
        for (_, packet) in &self.segments {
            let Tuple { source_port, destination_port, .. } = packet.tuple;
            if source_port.min(destination_port) != port {
                continue;
            }
            let segment = segment_of(packet);
            let has = |flag| segment.flags.contains(flag);
            let (syn, ack, fin) = (has(TcpFlags::SYN), has(TcpFlags::ACK), has(TcpFlags::FIN));
            let reset = has(TcpFlags::RST);
            let carries = segment.payload_len_bytes > 0;
            let other = ends.get(&packet.tuple.reversed()).copied().unwrap_or_default();
            let own = ends.entry(packet.tuple).or_default();
            if syn {
                *own = Progress::default();
            }
            let start = segment.sequence;
            let end = start
                .wrapping_add(u32::from(segment.payload_len_bytes))
                .wrapping_add(u32::from(syn) + u32::from(fin));
            let is_after = |a: u32, b: u32| a.wrapping_sub(b).cast_signed() > 0;
            let expected = own.end.unwrap_or(start);
            seen.segments += 1;
            seen.syns += u64::from(syn && !ack);
            seen.syns_with_data += u64::from(syn && !ack && carries);
            seen.syn_acks += u64::from(syn && ack);
            seen.fins += u64::from(fin);
            let hears_no_fin = other.end.is_some_and(|end| is_after(end, segment.acknowledgement));
            seen.crossed_fins += u64::from(fin && !own.fin && other.fin && hears_no_fin);
            seen.resets += u64::from(reset);
            seen.data += u64::from(carries);
            seen.large += u64::from(carries && packet.len_bytes > 1500);
            seen.repeated += u64::from(carries && !syn && is_after(expected, start));
            seen.early += u64::from(carries && is_after(start, expected));
            let is_bare = !(syn || fin || reset || carries);
            seen.probes += u64::from(is_bare && own.end.is_some() && start == expected.wrapping_sub(1));
            seen.zero_windows += u64::from(!reset && !syn && segment.window == 0);
            if !reset && (own.end.is_none() || is_after(end, expected)) {
                own.end = Some(end);
            }
            own.fin |= fin;
        }
        seen
    }
}
