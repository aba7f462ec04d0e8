//! Numbers, times and ids to columns and back. A column that cannot be read is damage, not a
//! default.

use std::str::FromStr;

use ostler_core::time::Timestamp;
use rusqlite::Row;

use crate::StoreError;

/// An unsigned number as a column.
pub(super) fn integer(value: u64) -> Result<i64, StoreError> {
    i64::try_from(value).map_err(|_| StoreError::Invalid(format!("{value} is too large")))
}

/// A column that is an unsigned number.
pub(super) fn unsigned(row: &Row<'_>, column: usize) -> Result<u64, StoreError> {
    let value: i64 = row.get(column)?;
    u64::try_from(value).map_err(|_| StoreError::Corrupt(format!("column {column} is negative")))
}

/// A column that is a small unsigned number.
pub(super) fn small(row: &Row<'_>, column: usize) -> Result<u32, StoreError> {
    let value: i64 = row.get(column)?;
    u32::try_from(value).map_err(|_| StoreError::Corrupt(format!("column {column} is out of range")))
}

/// A column that is a time.
pub(super) fn time(row: &Row<'_>, column: usize) -> Result<Timestamp, StoreError> {
    Ok(Timestamp(row.get(column)?))
}

/// A column that is a time or NULL.
pub(super) fn optional_time(row: &Row<'_>, column: usize) -> Result<Option<Timestamp>, StoreError> {
    Ok(row.get::<_, Option<i64>>(column)?.map(Timestamp))
}

/// A column that is an id.
pub(super) fn id<T: FromStr>(row: &Row<'_>, column: usize) -> Result<T, StoreError> {
    let text = row.get_ref(column)?.as_str().map_err(|error| StoreError::Corrupt(error.to_string()))?;
    text.parse().map_err(|_| StoreError::Corrupt(format!("column {column} is not an id")))
}

/// Refuses a text over the limit of bodies.
pub(super) fn bounded(text: &str) -> Result<(), StoreError> {
    if text.len() > crate::limits::BODY_BYTES {
        return Err(StoreError::Invalid("a body is too large".to_owned()));
    }
    Ok(())
}
