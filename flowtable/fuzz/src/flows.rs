//! What is done to a flow table.

use std::time::Duration;

use podgate_flowtable::{
    Addr, Config, Decision, Epoch, ExpiryCursor, ExportedFlow, FlowId, FlowTable, FlowView, HashSecret,
    ImportError, IpProtocol, OpenError, Packet, Quota, Target, Time, Timeouts, Track, Transport, Way,
};

use super::check;
use super::input::Input;
use super::packets::Packets;

/// Tables that one sequence may make: each costs more than many packets.
const MAX_TABLES: usize = 4;

/// Time stops before it could run out.
const MAX_NANOS: u64 = 1 << 60;

struct Play {
    table: FlowTable,
    config: Config,
    quota: Option<Quota>,
    tables: usize,
    now: Time,
    cursor: ExpiryCursor,
    packets: Packets,
    /// One that was given, live or not.
    last_id: Option<FlowId>,
}

pub fn run(input: &mut Input<'_>) {
    let Some(mut play) = Play::begin(input) else { return };
    while play.act(input).is_some() {
        check::table(&play.table, play.quota.is_some());
    }
}

impl Play {
    fn begin(input: &mut Input<'_>) -> Option<Self> {
        let [size, quota, pickup] = input.take()?;
        let config = Config {
            capacity: 1 + usize::from(size % 40),
            secret: HashSecret([u64::from(size), 1]),
            timeouts: Timeouts::default(),
            pickup_until: Time::from_nanos(u64::from(pickup / 64) * 1_000_000_000),
        };
        let quota = (quota >= 64)
            .then(|| Quota { flows: 1 + u32::from(quota % 8), half_open: 1 + u32::from(quota / 8 % 4) });
        let mut play = Self {
            table: FlowTable::new(config).ok()?,
            config,
            quota,
            tables: 1,
            now: Time::default(),
            cursor: ExpiryCursor::default(),
            packets: Packets::default(),
            last_id: None,
        };
        play.table = play.empty()?;
        Some(play)
    }

    fn empty(&self) -> Option<FlowTable> {
        let table = FlowTable::new(self.config).ok()?;
        Some(match self.quota {
            Some(quota) => table.with_quota(quota),
            None => table,
        })
    }

    /// Takes one step; `None` at the end of the input.
    fn act(&mut self, input: &mut Input<'_>) -> Option<()> {
        match input.byte()? {
            0..0xb0 => {
                let packet = self.packets.read(input)?;
                self.meet(&packet);
            }
            // From a millisecond to years.
            0xb0..0xc8 => {
                let [scale, count] = input.take()?;
                let nanos = (1_000_000 << (scale % 24)) * u64::from(count);
                let later = self.now.after(Duration::from_nanos(nanos));
                self.now = Time::from_nanos(later.nanos().min(MAX_NANOS));
            }
            0xc8..0xd4 => {
                let slots = usize::from(input.byte()?);
                let before = self.table.len();
                let expired = self.table.expire(&mut self.cursor, self.now, slots);
                assert_eq!(self.table.len(), before - expired);
            }
            0xd4..0xe0 => self.remove(input.byte()?),
            0xe0..0xec => self.redecide(input.byte()?),
            0xec..0xf4 => self.carry_over()?,
            0xf4..0xfa => Self::import_anything(&self.table, input)?,
            _ => {
                let packet = self.packets.read(input)?;
                self.translate(&packet, input.byte()?);
            }
        }
        Some(())
    }

    /// A packet, as the gateway treats it: tracked, and if need be opened.
    fn meet(&mut self, packet: &Packet) {
        let before = check::flow_of(&self.table, packet);
        match self.table.track(packet, self.now) {
            Track::Known(known) => {
                let after = self.view(known.id);
                check::admitted(packet, self.now, before.as_ref(), &after, known.direction);
                assert_eq!((known.original, known.decision), (after.original, after.decision));
                self.last_id = Some(known.id);
                self.meet_again(packet, &after);
            }
            // Nothing is cut here.
            Track::Denied(known) => panic!("denied: {known:?}"),
            Track::Refused(_) => {
                check::untouched(self.now, before.as_ref(), || check::flow_of(&self.table, packet));
            }
            Track::MayOpen => self.open(packet),
        }
    }

    /// The table may meet a packet twice, and has to make the same of it.
    fn meet_again(&self, packet: &Packet, first: &FlowView) {
        let Track::Known(known) = self.table.track(packet, self.now) else {
            panic!("{packet:?} was admitted to {first:?}, and then not")
        };
        let second = self.view(known.id);
        assert_eq!((known.id, second.state, second.assurance), (first.id, first.state, first.assurance));
        if packet.transport == Transport::Udp {
            let answer = Packet { tuple: packet.tuple.reversed(), ..*packet };
            let answered = self.table.track(&answer, self.now);
            assert!(matches!(answered, Track::Known(answered) if answered.id == first.id), "{answered:?}");
        }
    }

    fn open(&mut self, packet: &Packet) {
        let owner = packet.tuple.source.bits() as u16 % check::OWNERS;
        let decision = Decision { epoch: Epoch(1), egress: 2, ingress: 3, way: Way::Shortcut, owner };
        let (usage, stats) = (self.table.usage(owner), self.table.stats());
        match self.table.open(packet, decision, self.now) {
            Ok(id) => {
                let view = self.view(id);
                assert_eq!((view.original, view.decision, view.packets), (packet.tuple, decision, [1, 0]));
                if let Some(quota) = self.quota {
                    assert!(self.table.usage(owner).flows <= quota.flows, "{:?}", self.table.usage(owner));
                }
                self.last_id = Some(id);
                self.meet_again(packet, &view);
            }
            Err(OpenError::Full) => {
                assert_eq!((self.table.usage(owner), self.table.stats().full), (usage, stats.full + 1));
            }
            Err(OpenError::Quota(_)) => {
                let quota = self.quota.expect("nobody is limited without a quota");
                assert!(usage.flows >= quota.flows || usage.half_open >= quota.half_open, "{usage:?}");
            }
            // It was asked a moment ago.
            Err(error) => panic!("{error:?}: {packet:?}"),
        }
    }

    /// The flow of a packet whose sender calls the other end by another address, or the packet on it.
    fn translate(&mut self, packet: &Packet, backend: u8) {
        let protocol = packet.tuple.protocol;
        let has_ports = [IpProtocol::TCP, IpProtocol::UDP, IpProtocol::SCTP].contains(&protocol);
        if !has_ports || self.table.track(packet, self.now) != Track::MayOpen {
            return;
        }
        let becomes = Target { addr: Addr::from_v4([10, 0, 2, backend % 4]), port: 7 };
        let mut real = *packet;
        (real.tuple.destination, real.tuple.destination_port) = (becomes.addr, becomes.port);
        real.tuple.source_port ^= u16::from(backend >> 7);
        let owner = packet.tuple.source.bits() as u16 % check::OWNERS;
        let decision = Decision { epoch: Epoch(1), egress: 2, ingress: 3, way: Way::Bridge, owner };
        let before = self.table.len();
        match self.table.open_translated(packet, becomes, real.tuple.source_port, decision, self.now) {
            Ok(id) => {
                let view = self.view(id);
                let called = Target { addr: packet.tuple.destination, port: packet.tuple.destination_port };
                assert_eq!((view.original, view.called), (real.tuple, Some(called)));
                assert_eq!(view.calling_port, packet.tuple.source_port);
                assert_eq!(check::flow_of(&self.table, packet), Some(view));
                self.last_id = Some(id);
            }
            // Without room for the name there is no flow; what was given up for it is gone all the same.
            Err(OpenError::Full | OpenError::Quota(_)) => assert!(self.table.len() <= before),
            // The backend's own port is in use by the same client, or its name is.
            Err(OpenError::Exists(id)) => _ = self.view(id),
            Err(error) => panic!("{error:?}: {packet:?}"),
        }
    }

    fn remove(&mut self, what: u8) {
        let Some(id) = self.pick(what) else { return };
        let lives = self.table.views().any(|view| view.id == id);
        assert_eq!(self.table.remove(id), lives);
        assert!(!self.table.remove(id));
    }

    fn redecide(&mut self, what: u8) {
        let Some(id) = self.pick(what) else { return };
        let owner = u16::from(what) % check::OWNERS;
        let decision = Decision { epoch: Epoch(9), egress: 8, ingress: 7, way: Way::Bridge, owner };
        let lives = self.table.views().any(|view| view.id == id);
        assert_eq!(self.table.redecide(id, decision), lives);
        assert!(!lives || self.view(id).decision == decision);
    }

    /// A live flow, or the last one that was.
    fn pick(&self, what: u8) -> Option<FlowId> {
        let ids: Vec<FlowId> = self.table.views().map(|view| view.id).collect();
        match ids.len() {
            0 => self.last_id,
            _ if what >= 0xf0 => self.last_id,
            count => Some(ids[usize::from(what) % count]),
        }
    }

    /// All flows, as bytes, into a table of the same kind, as over a restart.
    fn carry_over(&mut self) -> Option<()> {
        if self.tables == MAX_TABLES {
            return Some(());
        }
        self.tables += 1;
        let next = self.empty()?;
        for (flow, old) in self.table.export().zip(self.table.views()) {
            // Epochs are a table's own.
            let mut read = flow;
            read.decision.epoch = Epoch(0);
            assert_eq!(ExportedFlow::from_bytes(&flow.to_bytes()), Ok(read));
            match next.import(&read, self.now) {
                Ok(id) => {
                    let decision = Decision { epoch: Epoch(0), ..old.decision };
                    let expected = FlowView { id, decision, ..old };
                    assert_eq!(next.views().find(|view| view.id == id), Some(expected));
                    assert!(old.expires_at > self.now, "{old:?}");
                }
                Err(ImportError::Expired) => assert!(old.expires_at <= self.now, "{old:?}"),
                Err(error) => panic!("{error:?}: it had room"),
            }
        }
        self.table = next;
        self.cursor = ExpiryCursor::default();
        Some(())
    }

    /// A flow that never was: it is refused or read, and what is read is written as it was.
    fn import_anything(table: &FlowTable, input: &mut Input<'_>) -> Option<()> {
        let mut bytes = [0; podgate_flowtable::EXPORT_LEN_BYTES];
        for byte in &mut bytes {
            *byte = input.byte()?;
        }
        if let Ok(flow) = ExportedFlow::from_bytes(&bytes) {
            assert_eq!(flow.to_bytes(), bytes);
        }
        // Of those that are there, with one byte changed.
        if let Some(flow) = table.export().next() {
            let mut written = flow.to_bytes();
            written[usize::from(bytes[0]) % written.len()] ^= bytes[1];
            if let Ok(flow) = ExportedFlow::from_bytes(&written) {
                assert_eq!(flow.to_bytes(), written);
            }
        }
        Some(())
    }

    fn view(&self, id: FlowId) -> FlowView {
        self.table.views().find(|view| view.id == id).expect("a flow that was just admitted to")
    }
}
