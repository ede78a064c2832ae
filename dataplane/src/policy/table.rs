//! The pair matrix: (source identity, destination identity) to the list of allowed ports.
//!
//! Only identities of this node that some policy isolates have a row; a row has one cell for each
//! identity. A lookup is two array reads and a search in one short list, however many policies
//! made it.

use podgate_flowtable::IpProtocol;

use super::{Cause, Endpoint, EndpointKind, RangeList};

/// Index of a [`RangeList`] in its table.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct ListId(pub u32);

/// Where an identity stands in one half of the table.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Row {
    /// No policy isolates it in this direction (or it is no pod of this node).
    Open,
    /// Isolated: its cells are in this row.
    Isolated(u32),
}

/// One direction: rows are the isolated identities of this node, columns are all identities.
#[derive(Clone, Debug, Default)]
pub struct Half {
    /// Row of each identity.
    rows: Box<[Row]>,
    /// `row * identities + peer identity` to a list.
    cells: Box<[ListId]>,
}

/// What is wrong with the parts a table was to be made of.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum TableError {
    /// The cells are not rows × identities.
    #[error("{cells} cells for {rows} rows of {identities} identities")]
    Shape {
        /// Cells given.
        cells: usize,
        /// Isolated rows.
        rows: usize,
        /// Identities.
        identities: usize,
    },
    /// A row or list index points past the end.
    #[error("index {index} where there are {len}")]
    Dangling {
        /// The index.
        index: u32,
        /// How many there are.
        len: usize,
    },
}

impl Half {
    /// From the row of each identity and the cells, row by row.
    pub fn new(rows: Vec<Row>, cells: Vec<ListId>) -> Result<Self, TableError> {
        let identities = rows.len();
        let isolated = rows.iter().filter_map(|row| match row {
            Row::Isolated(at) => Some(*at),
            Row::Open => None,
        });
        let count = isolated.clone().max().map_or(0, |last| last as usize + 1);
        if cells.len() != count * identities {
            return Err(TableError::Shape { cells: cells.len(), rows: count, identities });
        }
        Ok(Self { rows: rows.into(), cells: cells.into() })
    }

    #[inline]
    fn list(&self, subject: u32, peer: u32) -> Option<ListId> {
        match self.rows.get(subject as usize) {
            None | Some(Row::Open) => None,
            Some(Row::Isolated(row)) => {
                self.cells.get(*row as usize * self.rows.len() + peer as usize).copied()
            }
        }
    }

    /// Identities this half knows.
    pub fn identities(&self) -> usize {
        self.rows.len()
    }

    /// Cells it holds.
    pub fn cells(&self) -> usize {
        self.cells.len()
    }
}

/// All policy of this node, compiled.
#[derive(Clone, Debug, Default)]
pub struct PolicyTable {
    egress: Half,
    ingress: Half,
    lists: Box<[RangeList]>,
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
    /// From its parts; every index is checked here, once.
    pub fn new(egress: Half, ingress: Half, lists: Vec<RangeList>) -> Result<Self, TableError> {
        if egress.identities() != ingress.identities() {
            return Err(TableError::Shape {
                cells: ingress.cells(),
                rows: ingress.identities(),
                identities: egress.identities(),
            });
        }
        for half in [&egress, &ingress] {
            if let Some(bad) = half.cells.iter().find(|list| list.0 as usize >= lists.len()) {
                return Err(TableError::Dangling { index: bad.0, len: lists.len() });
            }
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
        if subject as usize >= half.identities() {
            // An identity the compiler never gave out: nothing is known of it, so nothing passes.
            return Cause::DefaultDeny;
        }
        if half.rows[subject as usize] == Row::Open {
            return Cause::NotIsolated;
        }
        half.list(subject, peer)
            .and_then(|list| self.lists[list.0 as usize].find(protocol, port))
            .map_or(Cause::DefaultDeny, Cause::Rule)
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

    /// Bytes held on the heap.
    pub fn heap_bytes(&self) -> usize {
        let half = |half: &Half| size_of_val(&*half.rows) + size_of_val(&*half.cells);
        half(&self.egress)
            + half(&self.ingress)
            + size_of_val(&*self.lists)
            + self.lists.iter().map(RangeList::heap_bytes).sum::<usize>()
    }
}
