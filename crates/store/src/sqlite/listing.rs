//! Lists with a keyset cursor: conditions in, one page out. Which conditions, the caller knows.

use ostler_core::time::Timestamp;
use rusqlite::types::Value;
use rusqlite::{Row, params_from_iter};

use super::db::Db;
use crate::{Cursor, Direction, Order, Page, PageRequest, StoreError, TimeRange, limits};

/// A list being asked for. SQL parts are constants of the program; values are only ever bound.
pub(super) struct Listing {
    select: &'static str,
    sort: &'static str,
    conditions: Vec<&'static str>,
    values: Vec<Value>,
}

impl Listing {
    /// `select` is everything before WHERE; `sort` the column that orders, before `id`.
    pub(super) fn new(select: &'static str, sort: &'static str) -> Self {
        Self { select, sort, conditions: Vec::new(), values: Vec::new() }
    }

    /// A condition without a value.
    pub(super) fn plain(&mut self, condition: &'static str) {
        self.conditions.push(condition);
    }

    /// A condition with one `?`.
    pub(super) fn with(&mut self, condition: &'static str, value: impl Into<Value>) {
        self.conditions.push(condition);
        self.values.push(value.into());
    }

    /// A condition with one `?` that holds when there is no value.
    pub(super) fn with_some(&mut self, condition: &'static str, value: Option<impl Into<Value>>) {
        if let Some(value) = value {
            self.with(condition, value);
        }
    }

    /// The column `created_at` within a span.
    pub(super) fn created(&mut self, range: &TimeRange) {
        let micros = |at: Option<Timestamp>| at.map(|at| at.0);
        self.with_some("created_at >= ?", micros(range.gte));
        self.with_some("created_at > ?", micros(range.gt));
        self.with_some("created_at <= ?", micros(range.lte));
        self.with_some("created_at < ?", micros(range.lt));
    }

    /// One page.
    pub(super) fn page<T>(
        &self,
        db: &Db<'_>,
        order: Order,
        request: &PageRequest,
        read: impl Fn(&Row<'_>) -> Result<T, StoreError>,
        place: impl Fn(&T) -> Cursor,
    ) -> Result<Page<T>, StoreError> {
        let limit = request.limit.clamp(1, limits::PAGE_ROWS);
        let walk = match request.direction {
            Direction::Forward => order,
            Direction::Backward => order.reversed(),
        };
        let cursor = request.cursor.as_ref();
        let mut rows = self.rows(db, walk, cursor, limit + 1, &read)?;
        let further = rows.len() > limit;
        rows.truncate(limit);
        // Rows on the other side; beyond the end, whatever there is lies behind the cursor.
        let nearest = rows.first().map(&place);
        let behind = cursor.is_some() && !self.rows(db, walk.reversed(), nearest.as_ref(), 1, &read)?.is_empty();
        if request.direction == Direction::Backward {
            rows.reverse();
            return Ok(Page { rows, has_next: behind, has_prev: further });
        }
        Ok(Page { rows, has_next: further, has_prev: behind })
    }

    fn rows<T>(
        &self,
        db: &Db<'_>,
        walk: Order,
        cursor: Option<&Cursor>,
        limit: usize,
        read: impl Fn(&Row<'_>) -> Result<T, StoreError>,
    ) -> Result<Vec<T>, StoreError> {
        let sql = self.sql(walk, cursor.is_some());
        let mut values = self.values.clone();
        if let Some(cursor) = cursor {
            values.push(cursor.sort_key.into());
            values.push(cursor.id.clone().into());
        }
        values.push(i64::try_from(limit).unwrap_or(i64::MAX).into());
        db.all(&sql, params_from_iter(values), read)
    }

    /// The query for a walk in one direction.
    pub(super) fn sql(&self, walk: Order, with_cursor: bool) -> String {
        let (comparison, order) = match walk {
            Order::Ascending => (">", "ASC"),
            Order::Descending => ("<", "DESC"),
        };
        let sort = self.sort;
        let mut sql = format!("{} WHERE 1", self.select);
        for condition in &self.conditions {
            sql.push_str(" AND ");
            sql.push_str(condition);
        }
        if with_cursor {
            sql.push_str(&format!(" AND ({sort}, id) {comparison} (?, ?)"));
        }
        sql.push_str(&format!(" ORDER BY {sort} {order}, id {order} LIMIT ?"));
        sql
    }
}
