//! What can go wrong inside, and what the caller is told about it.
//!
//! Decisions branch on SQLite's result codes (sqlite.org/rescode.html), never on its texts.

use std::{path::Path, sync::Arc};

use rusqlite::{ErrorCode, ffi};

use crate::store::Error;

/// A failure within the backend. Cheap to clone: one failed commit fails every operation in it.
#[derive(Clone, Debug)]
pub(super) enum Failure {
    /// SQLite complained.
    Driver(Arc<rusqlite::Error>),
    /// A row contradicts itself.
    Row { row: String, what: String },
    /// The thread that owns the connection has ended.
    Ended,
    /// A newer version has taken the file over.
    FromTheFuture { found: u32, known: u32 },
}

type Source = Option<Box<dyn std::error::Error + Send + Sync>>;

// === impl Failure ===

impl Failure {
    /// What the caller of the store is told.
    pub(super) fn into_error(self, path: &Path) -> Error {
        match self {
            Self::Row { row, what } => Error::Inconsistent { row, what },
            Self::FromTheFuture { found, known } => Error::FromTheFuture { found, known },
            Self::Ended => Error::Unavailable {
                what: format!(
                    "the thread of {} has ended; restart daypass",
                    path.display()
                ),
                source: None,
            },
            Self::Driver(error) => driver(error, path),
        }
    }

    /// Whether another connection was in the way.
    pub(super) fn is_busy(&self) -> bool {
        let Self::Driver(error) = self else {
            return false;
        };
        matches!(
            error.sqlite_error_code(),
            Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked)
        )
    }
}

impl From<rusqlite::Error> for Failure {
    fn from(error: rusqlite::Error) -> Self {
        Self::Driver(Arc::new(error))
    }
}

fn driver(error: Arc<rusqlite::Error>, path: &Path) -> Error {
    let at = path.display();
    let extended = error.sqlite_error().map(|error| error.extended_code);
    let code = error.sqlite_error_code();
    let source: Source = Some(Box::new(error));
    let not_writable = |what: String, source| Error::NotWritable { what, source };
    match code {
        Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => Error::Unavailable {
            what: format!(
                "another process keeps {at} locked; look for a backup or shell that has it open"
            ),
            source,
        },
        Some(ErrorCode::DiskFull) => {
            not_writable(format!("the disk of {at} is full; make room"), source)
        }
        Some(ErrorCode::ReadOnly) if extended == Some(ffi::SQLITE_READONLY_DBMOVED) => {
            not_writable(
                format!("{at} was moved or deleted while in use; put it back and restart daypass"),
                source,
            )
        }
        Some(ErrorCode::ReadOnly) => not_writable(
            format!("{at} is read-only; make the file and its folder writable for this user"),
            source,
        ),
        Some(ErrorCode::CannotOpen | ErrorCode::PermissionDenied) => not_writable(
            format!("{at} cannot be opened; its folder must exist and be writable for this user"),
            source,
        ),
        Some(ErrorCode::NotADatabase) => Error::Corrupt {
            path: path.to_owned(),
            what: "it is no SQLite file; check store.url, or restore a backup".to_owned(),
            source,
        },
        Some(ErrorCode::DatabaseCorrupt) => Error::Corrupt {
            path: path.to_owned(),
            what: "it is damaged; restore a backup".to_owned(),
            source,
        },
        Some(ErrorCode::SystemIoFailure) => Error::Unavailable {
            what: format!("reading or writing {at} failed; look at the disk"),
            source,
        },
        _ => Error::Unavailable {
            what: format!("SQLite failed unexpectedly on {at}; the log has its complaint"),
            source,
        },
    }
}
