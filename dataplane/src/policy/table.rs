//! The pair matrix: (source identity, destination identity) to the list of allowed ports.
//!
//! A lookup is a few array reads and a search in one short list, however many policies made it.

use podgate_flowtable::IpProtocol;

use super::{Cause, Endpoint, EndpointKind, Half, RangeLists, Row, TableError};

/// All policy of this node, compiled.
#[derive(Clone, Debug, Default)]
pub struct PolicyTable {
    egress: Half,
    ingress: Half,
    lists: RangeLists,
}

/// What policy says of one new flow.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct PolicyVerdict {
    /// The source's side.
    pub egress: Cause,
    /// The destination's side.
    pub ingress: Cause,
}

impl PolicyVerdict {
    /// Whether both sides allow.
    #[inline]
    pub const fn allows(self) -> bool {
        self.egress.allows() && self.ingress.allows()
    }
}

impl PolicyTable {
    /// From its parts, whose copies they may be: nothing is copied.
    pub fn new(egress: Half, ingress: Half, lists: impl Into<RangeLists>) -> Result<Self, TableError> {
        if egress.identities() != ingress.identities() {
            return Err(TableError::Shape {
                cells: ingress.cells(),
                rows: ingress.rows(),
                identities: egress.identities(),
            });
        }
        Ok(Self { egress, ingress, lists: lists.into() })
    }

    /// Whether a new flow from `source` to `destination` may open: egress of the source *and*
    /// ingress of the destination must allow. `port` is the destination port, 0 for protocols
    /// without ports.
    #[inline]
    pub fn decide(
        &self,
        source: &Endpoint,
        destination: &Endpoint,
        protocol: IpProtocol,
        port: u16,
    ) -> PolicyVerdict {
        if source.id.is_some() && source.id == destination.id {
            return PolicyVerdict { egress: Cause::Itself, ingress: Cause::Itself };
        }
        let egress = match source.kind {
            EndpointKind::LocalPod { .. } => {
                self.side(&self.egress, source.identity, destination.identity, protocol, port)
            }
            _ => Cause::NotLocal,
        };
        if !egress.allows() {
            return PolicyVerdict { egress, ingress: Cause::NotReached };
        }
        let ingress = match (destination.kind, source.kind) {
            (EndpointKind::LocalPod { .. }, EndpointKind::OwnNode) => Cause::OwnNode,
            (EndpointKind::LocalPod { .. }, _) => {
                self.side(&self.ingress, destination.identity, source.identity, protocol, port)
            }
            _ => Cause::NotLocal,
        };
        PolicyVerdict { egress, ingress }
    }

    #[inline]
    fn side(&self, half: &Half, subject: u32, peer: u32, protocol: IpProtocol, port: u16) -> Cause {
        match half.row(subject) {
            // An identity the compiler never gave out: nothing is known of it, so nothing passes.
            None => Cause::DefaultDeny,
            Some(Row::Open) => Cause::NotIsolated,
            Some(Row::Isolated(row)) => half
                .list(row, peer)
                .and_then(|list| self.lists.find(list, protocol, port))
                .map_or(Cause::DefaultDeny, Cause::Rule),
        }
    }

    /// Identities the table knows.
    pub fn identities(&self) -> usize {
        self.egress.identities()
    }

    /// Distinct lists of allowed ports.
    pub fn lists(&self) -> usize {
        self.lists.len()
    }

    /// Cells of both halves.
    pub fn pairs(&self) -> usize {
        self.egress.cells() + self.ingress.cells()
    }

    /// Ranges of ports in all lists.
    pub fn ranges(&self) -> usize {
        self.lists.ranges()
    }

    /// Bytes held on the heap, those that snapshots share included.
    pub fn heap_bytes(&self) -> usize {
        self.egress.heap_bytes() + self.ingress.heap_bytes() + self.lists.heap_bytes()
    }
}
