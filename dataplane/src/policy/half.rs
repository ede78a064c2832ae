//! One direction of the pair matrix.
//!
//! Only identities of this node that some policy isolates have a row; a row has one cell for each
//! identity. Cells are kept in chunks that copies of the table share: a new identity costs one chunk
//! of each row, a new row its own chunks, and nothing else is copied.

use std::sync::Arc;

use super::ListId;

/// Cells of one row that are copied together.
pub const CELLS_IN_CHUNK: usize = 256;

/// Cells of one row for identities that follow each other.
pub type CellChunk = Arc<[ListId; CELLS_IN_CHUNK]>;

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
    /// Row of each identity, or [`OPEN`].
    rows: Arc<[u32]>,
    /// Row by row; `row * chunks_in_row + peer / CELLS_IN_CHUNK`.
    chunks: Arc<[CellChunk]>,
    chunks_in_row: usize,
}

const OPEN: u32 = u32::MAX;

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
}

impl Half {
    /// From the row of each identity and the cells, row by row.
    pub fn new(rows: &[Row], cells: &[ListId]) -> Result<Self, TableError> {
        let identities = rows.len();
        let count = needed(rows);
        if cells.len() != count * identities {
            return Err(TableError::Shape { cells: cells.len(), rows: count, identities });
        }
        let in_chunks = cells.chunks(identities.max(1)).map(|row| {
            let chunk = |cells: &[ListId]| {
                let mut chunk = [ListId::default(); CELLS_IN_CHUNK];
                chunk[..cells.len()].copy_from_slice(cells);
                Arc::new(chunk)
            };
            row.chunks(CELLS_IN_CHUNK).map(chunk).collect::<Vec<_>>()
        });
        let in_chunks: Vec<Vec<CellChunk>> = in_chunks.collect();
        Self::of_chunks(rows, in_chunks.iter().map(Vec::as_slice))
    }

    /// From the row of each identity and the chunks of each row; cells past the last identity are not
    /// read.
    pub fn of_chunks<'a>(
        rows: &[Row],
        chunks: impl Iterator<Item = &'a [CellChunk]>,
    ) -> Result<Self, TableError> {
        let identities = rows.len();
        let chunks_in_row = identities.div_ceil(CELLS_IN_CHUNK);
        let mut all = Vec::new();
        let mut count = 0;
        for row in chunks {
            count += 1;
            all.extend_from_slice(row);
            if all.len() != count * chunks_in_row {
                let cells = all.len() * CELLS_IN_CHUNK;
                return Err(TableError::Shape { cells, rows: count, identities });
            }
        }
        if count < needed(rows) {
            return Err(TableError::Shape { cells: count * identities, rows: needed(rows), identities });
        }
        let number = |row: &Row| match row {
            Row::Open => OPEN,
            Row::Isolated(row) => *row,
        };
        Ok(Self { rows: rows.iter().map(number).collect(), chunks: all.into(), chunks_in_row })
    }

    /// Where an identity stands, if it is one.
    #[inline]
    pub(super) fn row(&self, subject: u32) -> Option<Row> {
        let row = *self.rows.get(subject as usize)?;
        Some(if row == OPEN { Row::Open } else { Row::Isolated(row) })
    }

    /// A row's cell for a peer.
    #[inline]
    pub(super) fn list(&self, row: u32, peer: u32) -> Option<ListId> {
        if peer as usize >= self.rows.len() {
            return None;
        }
        let chunk = self.chunks.get(row as usize * self.chunks_in_row + peer as usize / CELLS_IN_CHUNK)?;
        Some(chunk[peer as usize % CELLS_IN_CHUNK])
    }

    /// Identities this half knows.
    pub fn identities(&self) -> usize {
        self.rows.len()
    }

    /// Its rows.
    pub fn rows(&self) -> usize {
        self.chunks.len().checked_div(self.chunks_in_row).unwrap_or(0)
    }

    /// Cells it holds.
    pub fn cells(&self) -> usize {
        self.rows() * self.identities()
    }

    /// Bytes held on the heap, those that snapshots share included; a chunk that several rows share
    /// is counted for each.
    pub fn heap_bytes(&self) -> usize {
        let chunk = size_of::<CellChunk>() + 2 * size_of::<usize>() + size_of::<[ListId; CELLS_IN_CHUNK]>();
        size_of_val(&*self.rows) + self.chunks.len() * chunk
    }
}

/// How many rows there must be.
fn needed(rows: &[Row]) -> usize {
    let isolated = rows.iter().filter_map(|row| match row {
        Row::Isolated(at) => Some(*at as usize + 1),
        Row::Open => None,
    });
    isolated.max().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cells_are_found_across_chunks_and_nothing_past_them() {
        const IDENTITIES: usize = CELLS_IN_CHUNK + 3;
        let mut rows = vec![Row::Open; IDENTITIES];
        rows[1] = Row::Isolated(1);
        rows[IDENTITIES - 1] = Row::Isolated(0);
        let cells: Vec<ListId> = (0..2 * IDENTITIES as u32).map(ListId).collect();
        let half = Half::new(&rows, &cells).unwrap();
        for peer in 0..IDENTITIES as u32 {
            assert_eq!(half.list(0, peer), Some(ListId(peer)));
            assert_eq!(half.list(1, peer), Some(ListId(IDENTITIES as u32 + peer)));
        }
        assert_eq!((half.list(0, IDENTITIES as u32), half.list(2, 0)), (None, None));
        assert_eq!((half.row(0), half.row(1)), (Some(Row::Open), Some(Row::Isolated(1))));
        assert_eq!(half.row(IDENTITIES as u32), None);
        assert_eq!((half.rows(), half.cells()), (2, cells.len()));
        let few = Half::new(&rows, &cells[1..]).unwrap_err();
        let given = cells.len() - 1;
        assert_eq!(few, TableError::Shape { cells: given, rows: 2, identities: IDENTITIES });
    }

    #[test]
    fn rows_that_identities_have_must_be_there() {
        let chunk: CellChunk = Arc::new([ListId(0); CELLS_IN_CHUNK]);
        let row = [chunk];
        assert!(Half::of_chunks(&[Row::Isolated(0)], [&row[..]].into_iter()).is_ok());
        assert!(Half::of_chunks(&[Row::Isolated(1)], [&row[..]].into_iter()).is_err());
        assert!(Half::of_chunks(&[Row::Isolated(0)], [&[][..]].into_iter()).is_err());
        assert_eq!(Half::default().rows(), 0);
    }
}
