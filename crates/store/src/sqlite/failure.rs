//! What SQLite's errors mean for the store. A failed fsync ends the process here.

use rusqlite::{Error, ErrorCode, ffi};

use crate::StoreError;

impl From<Error> for StoreError {
    fn from(error: Error) -> Self {
        match &error {
            Error::SqliteFailure(failure, _) => of_code(*failure, &error),
            Error::FromSqlConversionFailure(..) | Error::InvalidColumnType(..) | Error::IntegralValueOutOfRange(..) => {
                Self::Corrupt(error.to_string())
            }
            _ => Self::Unavailable(error.to_string()),
        }
    }
}

fn of_code(failure: ffi::Error, error: &Error) -> StoreError {
    if matches!(failure.extended_code, ffi::SQLITE_IOERR_FSYNC | ffi::SQLITE_IOERR_DIR_FSYNC) {
        // After a failed fsync the kernel may have dropped the pages: nothing this process still
        // believes about the file is safe. A restart reads what is really there.
        tracing::error!(%error, "fsync failed; aborting so that nothing lost is acknowledged");
        std::process::abort();
    }
    match failure.code {
        ErrorCode::DiskFull => StoreError::Full,
        // The shared-memory file could not grow.
        _ if failure.extended_code == ffi::SQLITE_IOERR_SHMSIZE => StoreError::Full,
        ErrorCode::ConstraintViolation => StoreError::Conflict(error.to_string()),
        ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase => StoreError::Corrupt(error.to_string()),
        _ => StoreError::Unavailable(error.to_string()),
    }
}
