//! What can go wrong inside, and what the caller is told about it.
//!
//! Decisions branch on SQLSTATE codes and on types of errors, never on texts.

use std::{error::Error as StdError, io, time::Duration};

use rustls::CertificateError;
use tokio_postgres::error::{DbError, SqlState};

use crate::store::Error;

/// A failure within the backend.
#[derive(Debug)]
pub(super) enum Failure {
    /// The driver or the server complained.
    Driver(tokio_postgres::Error),
    /// A row contradicts itself.
    Row { row: String, what: String },
    /// No answer in time.
    Late(Duration),
    /// The process is ending.
    Stopped,
    /// A newer version has changed the tables in a way that this one cannot deal with.
    FromTheFuture { found: u32, known: u32 },
    /// The tables are not there, or of an older version, and were not to be made.
    NotReady,
    /// The server or what is in the database is not what it should be.
    Unfit(&'static str),
}

type Source = Option<Box<dyn StdError + Send + Sync>>;

// === impl Failure ===

impl Failure {
    /// What the caller of the store is told; `place` is where the server is.
    pub(super) fn into_error(self, place: &str) -> Error {
        let unavailable = |what: String| Error::Unavailable { what, source: None };
        match self {
            Self::Row { row, what } => Error::Inconsistent { row, what },
            Self::Late(limit) => unavailable(format!(
                "PostgreSQL at {place} did not answer within {} s; look at its load and at the network",
                limit.as_secs()
            )),
            Self::Stopped => unavailable("this process is ending".to_owned()),
            Self::FromTheFuture { found, known } => Error::FromTheFuture { found, known },
            Self::NotReady => Error::NotReady {
                what: format!(
                    "{place} has no tables of this version yet; look whether store.url is right, \
                     `daypass run` makes them"
                ),
            },
            Self::Unfit(what) => Error::NotWritable {
                what: format!("{place}: {what}"),
                source: None,
            },
            Self::Driver(error) => driver(error, place),
        }
    }

    fn code(&self) -> Option<&SqlState> {
        match self {
            Self::Driver(error) => error.code(),
            _ => None,
        }
    }

    /// Whether the server has undone everything and asks for it to be tried again.
    pub(super) fn is_to_be_repeated(&self) -> bool {
        let repeat = [
            &SqlState::T_R_SERIALIZATION_FAILURE,
            &SqlState::T_R_DEADLOCK_DETECTED,
        ];
        self.code().is_some_and(|code| repeat.contains(&code))
    }

    /// Whether the connection is of no more use: gone, or to a server that no longer takes writes.
    pub(super) fn ends_connection(&self) -> bool {
        let Self::Driver(error) = self else {
            return true;
        };
        let Some(code) = error.code() else {
            return true;
        };
        let class = code.code().get(..2);
        matches!(class, Some("08" | "57")) || *code == SqlState::READ_ONLY_SQL_TRANSACTION
    }

    /// Whether the statement does not fit the tables.
    pub(super) fn is_about_tables(&self) -> bool {
        let misfit = [
            &SqlState::UNDEFINED_TABLE,
            &SqlState::UNDEFINED_COLUMN,
            &SqlState::INVALID_SCHEMA_NAME,
            &SqlState::NOT_NULL_VIOLATION,
        ];
        self.code().is_some_and(|code| misfit.contains(&code))
    }
}

impl From<tokio_postgres::Error> for Failure {
    fn from(error: tokio_postgres::Error) -> Self {
        Self::Driver(error)
    }
}

fn driver(error: tokio_postgres::Error, place: &str) -> Error {
    let told = match error.as_db_error() {
        Some(complaint) => from_server(complaint, place),
        None => Told::Unavailable(from_outside(&error, place)),
    };
    let source: Source = Some(Box::new(error));
    match told {
        Told::Unavailable(what) => Error::Unavailable { what, source },
        Told::NotWritable(what) => Error::NotWritable { what, source },
    }
}

enum Told {
    Unavailable(String),
    NotWritable(String),
}

/// What the server itself complains of (postgresql.org/docs/current/errcodes-appendix.html).
fn from_server(complaint: &DbError, place: &str) -> Told {
    use Told::{NotWritable, Unavailable};
    let code = complaint.code();
    let server = format!("PostgreSQL at {place}");
    if *code == SqlState::READ_ONLY_SQL_TRANSACTION {
        return NotWritable(format!(
            "{server} is read-only, most likely a replica; name the primary in store.url"
        ));
    }
    if *code == SqlState::INSUFFICIENT_PRIVILEGE {
        return NotWritable(format!(
            "{server} denies the user of store.url a right; have the schema made for it: \
             CREATE SCHEMA daypass AUTHORIZATION <user>"
        ));
    }
    if *code == SqlState::DISK_FULL {
        return NotWritable(format!("the disk of {server} is full; make room"));
    }
    Unavailable(if *code == SqlState::INVALID_PASSWORD {
        format!("{server} refuses the user or the password; correct store.url")
    } else if *code == SqlState::INVALID_AUTHORIZATION_SPECIFICATION {
        format!(
            "{server} does not let this user in from here; correct the user in store.url, or \
             pg_hba.conf, or use TLS if it asks for that (sslmode)"
        )
    } else if *code == SqlState::INVALID_CATALOG_NAME {
        format!("{server}: there is no such database; create it, or correct store.url")
    } else if *code == SqlState::TOO_MANY_CONNECTIONS {
        format!(
            "{server} takes no more connections; raise max_connections, or put a pooler such as \
             PgBouncer in front of it"
        )
    } else if code.code().starts_with("57P") {
        format!("{server} is stopping or starting; daypass connects again by itself")
    } else if *code == SqlState::UNDEFINED_TABLE || *code == SqlState::INVALID_SCHEMA_NAME {
        format!(
            "the tables in {server} are gone; restore a backup, or restart daypass to begin anew"
        )
    } else {
        format!("{server} failed unexpectedly; the log has its complaint")
    })
}

/// What happened on the way to the server.
fn from_outside(error: &tokio_postgres::Error, place: &str) -> String {
    let server = format!("PostgreSQL at {place}");
    if let Some(complaint) = find::<rustls::Error>(error) {
        return from_tls(complaint, &server);
    }
    if error.is_closed() {
        return format!("{server} closed the connection; daypass connects again by itself");
    }
    if find::<io::Error>(error).is_some() {
        return format!(
            "{server} cannot be reached; check that it runs, and that host and port in store.url are right"
        );
    }
    format!(
        "no agreement with {server} on how to connect; check user and password in store.url, and \
         sslmode: without TLS on the server only sslmode=disable works"
    )
}

fn from_tls(complaint: &rustls::Error, server: &str) -> String {
    match complaint {
        rustls::Error::InvalidCertificate(
            CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. },
        ) => format!(
            "the certificate of {server} is for another name; use in store.url the name it was made for"
        ),
        rustls::Error::InvalidCertificate(CertificateError::UnknownIssuer) => format!(
            "the certificate of {server} comes from an authority that is not trusted; name its \
             certificate in tls.ca_file"
        ),
        _ => format!("TLS with {server} failed; check its certificate"),
    }
}

/// The first cause of type `E`; I/O errors are looked into.
fn find<'e, E: StdError + 'static>(error: &'e (dyn StdError + 'static)) -> Option<&'e E> {
    let mut next = Some(error);
    while let Some(error) = next {
        if let Some(found) = error.downcast_ref::<E>() {
            return Some(found);
        }
        next = match error
            .downcast_ref::<io::Error>()
            .and_then(io::Error::get_ref)
        {
            Some(inner) => Some(inner),
            None => error.source(),
        };
    }
    None
}
