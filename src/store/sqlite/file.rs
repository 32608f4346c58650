//! The file: made private to its user, opened so that what is committed stays.
//!
//! WAL, so that readers never wait for the writer; `synchronous=FULL`, so that a commit that returned
//! survives a power cut.

use std::{
    fs::{File, OpenOptions},
    io,
    os::unix::fs::OpenOptionsExt,
    path::Path,
    thread,
    time::Duration,
};

use rusqlite::{Connection, OpenFlags};

use super::{Options, failure::Failure, schema};
use crate::store::Error;

/// Each operation prepares its statements once.
const STATEMENTS: usize = 128;

/// Pages that the write-ahead log gathers (16 MiB) before they are carried over to the file. SQLite's own
/// measure is a quarter of that; with this one, a renewal writes a third less.
const CARRY_OVER: u32 = 4000;

/// Of each connection that reads. SQLite takes four times as much by itself; but what it has read, the
/// system has in memory too, and shares.
const READ_CACHE_KIB: i32 = 512;

/// While another process turns a new file to WAL, SQLite answers "busy" without waiting.
const WAL_RETRY: Duration = Duration::from_millis(10);

/// Creates the file if there is none, and opens it for writing, its schema up to date.
pub(super) fn open_writer(path: &Path, options: &Options) -> Result<Connection, Error> {
    let failed = |failure: Failure| failure.into_error(path);
    if options.existing_only {
        if !path.exists() {
            return Err(nothing(path));
        }
        let db = connect(path, options).map_err(failed)?;
        schema::check(&db, path)?;
        return Ok(db);
    }
    create(path)?;
    let mut db = connect(path, options).map_err(failed)?;
    turn_to_wal(&db, options).map_err(failed)?;
    schema::migrate(&mut db, path)?;
    Ok(db)
}

fn nothing(path: &Path) -> Error {
    Error::NotReady {
        what: format!(
            "there is no database at {}; look whether store.url is right, `daypass run` makes one",
            path.display()
        ),
    }
}

/// Opens an existing file for reading.
pub(super) fn open_reader(path: &Path, options: &Options) -> Result<Connection, Failure> {
    let db = connect(path, options)?;
    db.pragma_update(None, "query_only", true)?;
    db.pragma_update(None, "cache_size", -READ_CACHE_KIB)?;
    Ok(db)
}

/// SQLite gives the files beside it (`-wal`, `-shm`) the same mode.
fn create(path: &Path) -> Result<(), Error> {
    let made = OpenOptions::new()
        .read(true)
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path);
    match made {
        Ok(_file) => {
            sync_folder(path);
            Ok(())
        }
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        Err(error) => Err(Error::NotWritable {
            what: format!(
                "{} cannot be created; its folder must exist and be writable for this user",
                path.display()
            ),
            source: Some(Box::new(error)),
        }),
    }
}

/// Makes the new name itself survive a power cut, where the file system can.
fn sync_folder(path: &Path) {
    let folder = path
        .parent()
        .filter(|folder| !folder.as_os_str().is_empty());
    let synced = File::open(folder.unwrap_or_else(|| Path::new("."))).and_then(|f| f.sync_all());
    if let Err(error) = synced {
        tracing::debug!(%error, "the folder of the store could not be synced");
    }
}

fn connect(path: &Path, options: &Options) -> Result<Connection, Failure> {
    // Neither CREATE (a file that vanished is not replaced by an empty one) nor URI (a path is a
    // path).
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let db = Connection::open_with_flags(path, flags)?;
    db.busy_timeout(options.busy_timeout)?;
    db.set_prepared_statement_cache_capacity(STATEMENTS);
    db.pragma_update(None, "synchronous", "FULL")?;
    db.pragma_update(None, "wal_autocheckpoint", CARRY_OVER)?;
    if let Some(pages) = options.max_pages {
        db.pragma_update_and_check(None, "max_page_count", pages, |_row| Ok(()))?;
    }
    Ok(db)
}

fn turn_to_wal(db: &Connection, options: &Options) -> Result<(), Failure> {
    let mut waited = Duration::ZERO;
    loop {
        let turned =
            db.pragma_update_and_check(None, "journal_mode", "WAL", |row| row.get::<_, String>(0));
        match turned.map_err(Failure::from) {
            Err(failure) if failure.is_busy() && waited < options.busy_timeout => {
                thread::sleep(WAL_RETRY);
                waited = waited.saturating_add(WAL_RETRY);
            }
            Err(failure) => return Err(failure),
            Ok(_mode) => return Ok(()),
        }
    }
}
