//! Keyset paging: a page starts after a row, never at an offset. Encoding of cursors for clients
//! is not done here.

use ostler_core::time::Timestamp;

use crate::{Document, SessionRow};

/// The order of a list.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Order {
    /// Oldest first.
    Ascending,
    /// Newest first.
    #[default]
    Descending,
}

impl Order {
    pub(crate) fn reversed(self) -> Self {
        match self {
            Self::Ascending => Self::Descending,
            Self::Descending => Self::Ascending,
        }
    }
}

/// Which side of the cursor a page lies on, in the order of the list.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Direction {
    /// The rows after the cursor.
    #[default]
    Forward,
    /// The rows before the cursor, still in the order of the list.
    Backward,
}

/// The place of one row in a list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cursor {
    /// Creation time in microseconds; in a list of versions the version.
    pub sort_key: i64,
    /// The id of the row, which orders rows made in the same microsecond.
    pub id: String,
}

impl Cursor {
    /// The place of a document among documents.
    pub fn of_document(document: &Document) -> Self {
        Self { sort_key: document.created_at.0, id: document.id.clone() }
    }

    /// The place of a version among the versions of its document.
    pub fn of_version(document: &Document) -> Self {
        Self { sort_key: i64::try_from(document.version).unwrap_or(i64::MAX), id: document.id.clone() }
    }

    /// The place of a session among sessions.
    pub fn of_session(row: &SessionRow) -> Self {
        Self { sort_key: row.created_at.0, id: row.id.as_str().to_owned() }
    }
}

/// One page asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PageRequest {
    /// At most so many rows; see [`crate::limits::PAGE_ROWS`].
    pub limit: usize,
    /// The row next to the page, not part of it. `None` starts at the first row (forward) or ends
    /// at the last (backward).
    pub cursor: Option<Cursor>,
    /// The side of the cursor.
    pub direction: Direction,
}

impl PageRequest {
    /// The first `limit` rows.
    pub fn first(limit: usize) -> Self {
        Self { limit, cursor: None, direction: Direction::Forward }
    }

    /// `limit` rows after a row.
    pub fn after(cursor: Cursor, limit: usize) -> Self {
        Self { limit, cursor: Some(cursor), direction: Direction::Forward }
    }

    /// `limit` rows before a row.
    pub fn before(cursor: Cursor, limit: usize) -> Self {
        Self { limit, cursor: Some(cursor), direction: Direction::Backward }
    }
}

/// One page answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Page<T> {
    /// The rows, in the order of the list whatever the direction.
    pub rows: Vec<T>,
    /// Rows follow this page.
    pub has_next: bool,
    /// Rows precede this page.
    pub has_prev: bool,
}

/// A span of time; every bound given must hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct TimeRange {
    /// At or after.
    pub gte: Option<Timestamp>,
    /// After.
    pub gt: Option<Timestamp>,
    /// At or before.
    pub lte: Option<Timestamp>,
    /// Before.
    pub lt: Option<Timestamp>,
}
