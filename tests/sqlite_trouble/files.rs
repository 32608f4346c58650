//! Files that are locked, read-only, full, damaged, foreign or too new.

use std::{
    fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use daypass::{
    base::ids::GrantId,
    store::{Committed, Error, Fence, Filter, Store, sqlite::Options},
};

use crate::records::{calendly, new, open, open_with, renewed, seal};

/// Something mounted at a folder, until dropped.
struct Mount(PathBuf);

impl Mount {
    /// Mounts with these arguments; `None` if this user may not.
    fn try_new(at: &Path, arguments: &[&str]) -> Option<Self> {
        let mounted = Command::new("mount").args(arguments).arg(at).output();
        mounted
            .is_ok_and(|output| output.status.success())
            .then(|| Self(at.to_owned()))
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(&self.0).status();
    }
}

#[tokio::test]
async fn the_file_and_those_beside_it_are_private() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(&folder.path().join("db")).unwrap();
    store.check().await.unwrap();
    let mut names = Vec::new();
    for entry in fs::read_dir(folder.path()).unwrap() {
        let entry = entry.unwrap();
        let mode = entry.metadata().unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "{:?}", entry.path());
        names.push(entry.file_name());
    }
    names.sort();
    assert_eq!(names, ["db", "db-shm", "db-wal"]);
}

#[tokio::test]
async fn closing_leaves_one_whole_file() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("db");
    let store = open(&path).unwrap();
    store.save(vec![new("anna", seal("t"))]).await.unwrap();
    drop(store);
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    let again = open(&path).unwrap();
    assert!(again.load(&calendly("anna")).await.unwrap().is_some());
}

#[tokio::test]
async fn a_lock_held_by_another_program_makes_the_store_unavailable_for_writes_only() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("db");
    let store = open(&path).unwrap();
    store.save(vec![new("anna", seal("t"))]).await.unwrap();
    let other = rusqlite::Connection::open(&path).unwrap();
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    let error = store.check().await.unwrap_err();
    assert!(matches!(error, Error::Unavailable { .. }), "{error:?}");
    assert!(error.to_string().contains("locked"), "{error}");
    let error = store.save(vec![new("ben", seal("t"))]).await.unwrap_err();
    assert!(matches!(error, Error::Unavailable { .. }), "{error:?}");
    assert!(store.load(&calendly("anna")).await.unwrap().is_some());
    other.execute_batch("ROLLBACK").unwrap();
    store.check().await.unwrap();
    assert_eq!(store.load(&calendly("ben")).await.unwrap(), None);
}

#[tokio::test]
async fn a_folder_that_is_missing_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let error = open(&folder.path().join("missing/db")).unwrap_err();
    assert!(matches!(error, Error::NotWritable { .. }), "{error:?}");
    assert!(error.to_string().contains("missing/db"), "{error}");
}

#[tokio::test]
async fn a_folder_in_place_of_the_file_is_not_writable() {
    let folder = tempfile::tempdir().unwrap();
    let error = open(folder.path()).unwrap_err();
    assert!(matches!(error, Error::NotWritable { .. }), "{error:?}");
}

#[tokio::test]
async fn a_read_only_disk_is_refused_at_opening() {
    let folder = tempfile::tempdir().unwrap();
    let disk = folder.path();
    let Some(_mount) = Mount::try_new(disk, &["-t", "tmpfs", "-o", "size=8m", "none"]) else {
        return no_right("mount");
    };
    let path = disk.join("db");
    let store = open(&path).unwrap();
    store.save(vec![new("anna", seal("t"))]).await.unwrap();
    drop(store);
    let remount = |mode: &str| {
        let options = format!("remount,{mode}");
        let done = Command::new("mount")
            .args(["-o", &options])
            .arg(disk)
            .status();
        assert!(done.unwrap().success(), "{mode}");
    };
    remount("ro");
    let error = open(&path).unwrap_err();
    assert!(matches!(error, Error::NotWritable { .. }), "{error:?}");
    let error = open(&disk.join("fresh")).unwrap_err();
    assert!(matches!(error, Error::NotWritable { .. }), "{error:?}");
    remount("rw");
    open(&path).unwrap().check().await.unwrap();
}

#[tokio::test]
async fn a_full_disk_refuses_writes_keeps_what_it_has_and_recovers() {
    let folder = tempfile::tempdir().unwrap();
    let Some(_mount) = Mount::try_new(folder.path(), &["-t", "tmpfs", "-o", "size=1m", "none"])
    else {
        return no_right("mount");
    };
    let store = open(&folder.path().join("db")).unwrap();
    store.save(vec![new("anna", seal("t"))]).await.unwrap();
    let ballast = folder.path().join("ballast");
    let stuffed = fs::write(&ballast, vec![0; 2 << 20]);
    assert!(stuffed.is_err(), "the disk is full");
    let large = "x".repeat(600_000);
    let error = store
        .save(vec![new("ben", seal(&large))])
        .await
        .unwrap_err();
    assert!(matches!(error, Error::NotWritable { .. }), "{error:?}");
    assert!(error.to_string().contains("full"), "{error}");
    assert!(store.load(&calendly("anna")).await.unwrap().is_some());
    fs::remove_file(&ballast).unwrap();
    store.check().await.unwrap();
    store.save(vec![new("ben", seal("small"))]).await.unwrap();
}

#[tokio::test]
async fn a_file_at_its_largest_size_refuses_all_of_a_batch_and_recovers() {
    let folder = tempfile::tempdir().unwrap();
    let mut options = Options::default();
    options.max_pages = Some(64);
    let store = open_with(&folder.path().join("db"), options).unwrap();
    store.save(vec![new("anna", seal("t"))]).await.unwrap();
    let large = "x".repeat(200_000);
    let batch = vec![new("ben", seal("small")), new("carl", seal(&large))];
    let error = store.save(batch).await.unwrap_err();
    assert!(matches!(error, Error::NotWritable { .. }), "{error:?}");
    let page = store.page(&Filter::default(), None, 9).await.unwrap();
    let users: Vec<String> = page.iter().map(|c| c.key.user.to_string()).collect();
    assert_eq!(users, ["anna"]);
    let anna = page.first().unwrap();
    let fence = Fence::of(anna);
    store.commit(&fence, renewed("second")).await.unwrap();
    store.check().await.unwrap();
}

#[tokio::test]
async fn garbage_is_not_taken_for_a_store_and_is_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("db");
    let garbage = "not a database ".repeat(1000);
    fs::write(&path, &garbage).unwrap();
    let error = open(&path).unwrap_err();
    assert!(matches!(error, Error::Corrupt { .. }), "{error:?}");
    assert_eq!(fs::read_to_string(&path).unwrap(), garbage);
}

#[tokio::test]
async fn a_file_cut_in_the_middle_is_reported_as_damaged() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("db");
    let store = open(&path).unwrap();
    for n in 0..50 {
        let fat = seal(&"x".repeat(4000));
        store.save(vec![new(&n.to_string(), fat)]).await.unwrap();
    }
    drop(store);
    let whole = fs::metadata(&path).unwrap().len();
    let file = fs::OpenOptions::new().write(true).open(&path).unwrap();
    file.set_len(whole / 2).unwrap();
    let error = match open(&path) {
        Err(error) => error,
        Ok(store) => store.page(&Filter::default(), None, 99).await.unwrap_err(),
    };
    assert!(matches!(error, Error::Corrupt { .. }), "{error:?}");
    assert!(error.to_string().contains("backup"), "{error}");
}

#[tokio::test]
async fn pages_overwritten_with_noise_are_reported_as_damage() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("db");
    let store = open(&path).unwrap();
    store.save(vec![new("anna", seal("t"))]).await.unwrap();
    drop(store);
    let mut bytes = fs::read(&path).unwrap();
    bytes[4096..].fill(0xa5);
    fs::write(&path, bytes).unwrap();
    let error = match open(&path) {
        Err(error) => error,
        Ok(store) => store.load(&calendly("anna")).await.unwrap_err(),
    };
    assert!(matches!(error, Error::Corrupt { .. }), "{error:?}");
}

#[tokio::test]
async fn a_file_of_a_newer_version_is_not_touched() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("db");
    drop(open(&path).unwrap());
    let db = rusqlite::Connection::open(&path).unwrap();
    db.pragma_update(None, "user_version", 99).unwrap();
    drop(db);
    let before = fs::read(&path).unwrap();
    let error = open(&path).unwrap_err();
    assert!(
        matches!(error, Error::FromTheFuture { found: 99, .. }),
        "{error:?}"
    );
    assert_eq!(fs::read(&path).unwrap(), before);
}

/// During a rolling upgrade a newer version may have migrated the file that an older one has open.
#[tokio::test]
async fn a_file_that_a_newer_version_has_taken_over_is_left_by_those_that_run() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("db");
    let store = open(&path).unwrap();
    store.save(vec![new("anna", seal("t"))]).await.unwrap();
    let fence = Fence::of(&store.load(&calendly("anna")).await.unwrap().unwrap());
    let db = rusqlite::Connection::open(&path).unwrap();
    db.pragma_update(None, "user_version", 99).unwrap();
    let refusals = [
        store.load(&fence.key).await.unwrap_err(),
        store.commit(&fence, renewed("second")).await.unwrap_err(),
        store.save(vec![new("ben", seal("t"))]).await.unwrap_err(),
        store.changes(None, Duration::ZERO).await.unwrap_err(),
        store.check().await.unwrap_err(),
    ];
    for error in refusals {
        let is_future = matches!(
            error,
            Error::FromTheFuture {
                found: 99,
                known: 6
            }
        );
        assert!(is_future, "{error:?}");
    }
    let count = "SELECT count(*), max(generation) FROM connections";
    let found = db.query_row(count, [], |row| Ok((row.get(0)?, row.get(1)?)));
    assert_eq!(found.unwrap(), (1, 1), "nothing was written");
    // A downgrade that was meant is no reason for a restart.
    db.pragma_update(None, "user_version", 1).unwrap();
    store.commit(&fence, renewed("second")).await.unwrap();
}

/// A file as the first version left it.
fn of_the_first_version(path: &Path) -> rusqlite::Connection {
    let db = rusqlite::Connection::open(path).unwrap();
    let tables = include_str!("../../src/store/sqlite/migrations/0001_connections.sql");
    db.execute_batch(tables).unwrap();
    db.pragma_update(None, "application_id", 0x4461_7950)
        .unwrap();
    db.pragma_update(None, "user_version", 1).unwrap();
    db
}

#[tokio::test]
async fn a_file_of_the_first_version_is_brought_up_to_date_and_stays_usable_for_it() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("db");
    let db = of_the_first_version(&path);
    db.execute_batch(
        "INSERT INTO connections (provider, user, id, generation, created_at, updated_at, needs_reauth) \
         VALUES ('calendly', 'anna', randomblob(16), 0, 0, 0, 0)",
    )
    .unwrap();
    for _time in 0..2 {
        let store = open(&path).unwrap();
        assert!(store.load(&calendly("anna")).await.unwrap().is_some());
    }
    let says = |pragma| -> i64 {
        db.pragma_query_value(None, pragma, |row| row.get(0))
            .unwrap()
    };
    assert_eq!(says("user_version"), 1, "what the first version asks for");
}

#[tokio::test]
async fn rows_are_kept_when_their_table_is_made_anew_and_a_program_of_before_goes_on_writing() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("db");
    let before = of_the_first_version(&path);
    // As the first version wrote: whole rows, in place of what was there.
    let put = "INSERT OR REPLACE INTO connections (provider, user, id, generation, access, refresh, \
               renewed_at, access_expires_at, refresh_expires_at, scope, created_at, updated_at, \
               fingerprint, needs_reauth) \
               VALUES ('calendly', ?1, zeroblob(16), ?2, ?3, ?3, 1, 2, 3, 'all', 4, 5, zeroblob(32), 0)";
    let sealed = seal("t");
    for n in 0..300 {
        let user = format!("user-{}", (n * 7) % 300);
        before
            .execute(put, rusqlite::params![user, n, sealed.as_bytes()])
            .unwrap();
    }
    let all = |db: &rusqlite::Connection| -> Vec<(String, i64, Vec<u8>, i64, String)> {
        let mut rows = db
            .prepare("SELECT user, generation, access, refresh_expires_at, scope FROM connections ORDER BY user")
            .unwrap();
        let read = rows.query_map([], |row| {
            Ok((
                row.get(0)?,
                row.get(1)?,
                row.get(2)?,
                row.get(3)?,
                row.get(4)?,
            ))
        });
        read.unwrap().map(Result::unwrap).collect()
    };
    let had = all(&before);
    assert_eq!(had.len(), 300);
    let store = open(&path).unwrap();
    assert_eq!(all(&before), had);
    before
        .execute(put, rusqlite::params!["user-7", 500, sealed.as_bytes()])
        .unwrap();
    let seven = store.load(&calendly("user-7")).await.unwrap().unwrap();
    assert_eq!(seven.generation.get(), 500);
    assert_eq!(seven.grant, GrantId::UNNAMED);
    let renewed = renewed("renewed");
    let committed = store.commit(&Fence::of(&seven), renewed.clone()).await;
    let Committed::Stored(eight) = committed.unwrap() else {
        panic!("what a program of before wrote can be renewed");
    };
    assert_eq!(eight.grant, renewed.grant);
    // In place of what was there, and without its name: it can still be renewed by who read it before.
    before
        .execute(put, rusqlite::params!["user-7", 501, sealed.as_bytes()])
        .unwrap();
    let committed = store.commit(&Fence::of(&eight), renewed).await.unwrap();
    assert!(matches!(committed, Committed::Stored(_)), "{committed:?}");
    assert_eq!(
        store
            .page(&Filter::default(), None, 999)
            .await
            .unwrap()
            .len(),
        300
    );
}

#[tokio::test]
async fn a_newer_file_that_this_version_can_work_with_is_worked_with() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("db");
    drop(open(&path).unwrap());
    let db = rusqlite::Connection::open(&path).unwrap();
    db.execute("INSERT INTO schema_versions VALUES (99, 1)", [])
        .unwrap();
    let store = open(&path).unwrap();
    store.save(vec![new("anna", seal("t"))]).await.unwrap();
}

#[tokio::test]
async fn another_programs_database_is_not_touched() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("db");
    let db = rusqlite::Connection::open(&path).unwrap();
    db.execute_batch("CREATE TABLE invoices (id INTEGER)")
        .unwrap();
    drop(db);
    let error = open(&path).unwrap_err();
    assert!(matches!(error, Error::Corrupt { .. }), "{error:?}");
    assert!(error.to_string().contains("another program"), "{error}");
    let db = rusqlite::Connection::open(&path).unwrap();
    let tables: i64 = db
        .query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0))
        .unwrap();
    assert_eq!(tables, 1);
}

/// Says, where a person looks, that a test ended early.
fn no_right(what: &str) {
    use std::io::Write;
    let _ = writeln!(std::io::stderr(), "not checked: this user may not {what}");
}
