//! What the group commit promises.

use super::*;
use crate::{
    base::clock::{ManualClock, Timestamp},
    store::sqlite::{Options, file},
};

fn desk() -> Desk {
    Desk::new(Arc::new(ManualClock::new(Timestamp::EPOCH)), 8)
}

fn open() -> (tempfile::TempDir, Connection) {
    let folder = tempfile::tempdir().unwrap();
    let db = file::open_writer(&folder.path().join("db"), &Options::default()).unwrap();
    (folder, db)
}

fn insert(db: &Connection, user: &str) -> Result<(), Failure> {
    db.execute(
        "INSERT INTO changes (provider, user) VALUES ('p', ?1)",
        [user],
    )?;
    Ok(())
}

fn users(db: &Connection) -> Vec<String> {
    let mut statement = db.prepare("SELECT user FROM changes ORDER BY seq").unwrap();
    let rows = statement.query_map([], |row| row.get(0)).unwrap();
    rows.map(Result::unwrap).collect()
}

#[test]
fn an_operation_that_fails_is_undone_alone() {
    let (_folder, db) = open();
    let (first, mut first_answer) = asked(|db, _desk| insert(db, "first"));
    let (bad, mut bad_answer) = asked(|db, _desk| {
        insert(db, "bad")?;
        Err::<(), _>(Failure::Row {
            row: "p/bad".into(),
            what: "test".into(),
        })
    });
    let (last, mut last_answer) = asked(|db, _desk| insert(db, "last"));
    let mut batch = vec![first, bad, last];
    let committed = transact(&db, &desk(), &mut batch);
    assert!(committed.is_ok());
    for operation in batch {
        operation.settle(committed.clone());
    }
    assert!(first_answer.try_recv().unwrap().is_ok());
    assert!(bad_answer.try_recv().unwrap().is_err());
    assert!(last_answer.try_recv().unwrap().is_ok());
    assert_eq!(users(&db), ["first", "last"]);
}

#[test]
fn a_transaction_that_is_lost_fails_everybody_in_it() {
    let (_folder, db) = open();
    let (first, mut first_answer) = asked(|db, _desk| insert(db, "first"));
    let (lost, mut lost_answer) = asked(|db, _desk| {
        // As SQLite does by itself on a full disk.
        db.execute_batch("ROLLBACK")?;
        Err::<(), _>(Failure::Ended)
    });
    let mut batch = vec![first, lost];
    let committed = transact(&db, &desk(), &mut batch);
    assert!(committed.is_err());
    for operation in batch {
        operation.settle(committed.clone());
    }
    assert!(first_answer.try_recv().unwrap().is_err());
    assert!(lost_answer.try_recv().unwrap().is_err());
    assert!(users(&db).is_empty());
}

#[test]
fn what_was_queued_is_written_although_nobody_waits_for_it() {
    let (folder, db) = open();
    let (queue, queued) = mpsc::channel(4);
    let (operation, answer) = asked(|db, _desk| insert(db, "orphan"));
    queue.try_send(operation).ok().unwrap();
    drop((queue, answer));
    write_all(db, &desk(), queued, &Arc::new(Notify::new()));
    let again = Connection::open(folder.path().join("db")).unwrap();
    assert_eq!(users(&again), ["orphan"]);
}

/// Looks, when it is told that all is well, whether another connection sees its write.
struct Witness {
    path: std::path::PathBuf,
    seen: mpsc::Sender<Vec<String>>,
}

impl Operation for Witness {
    fn run(&mut self, db: &Connection, _desk: &Desk) -> Result<(), Failure> {
        insert(db, "witnessed")
    }

    fn settle(self: Box<Self>, committed: Result<(), Failure>) {
        assert!(committed.is_ok());
        let other = Connection::open(&self.path).unwrap();
        self.seen.try_send(users(&other)).unwrap();
    }
}

#[test]
fn nobody_is_answered_before_the_commit() {
    let (folder, db) = open();
    let (seen, mut saw) = mpsc::channel(1);
    let path = folder.path().join("db");
    let (queue, queued) = mpsc::channel::<Queued>(4);
    let witness = Witness { path, seen };
    queue.try_send(Box::new(witness)).ok().unwrap();
    drop(queue);
    write_all(db, &desk(), queued, &Arc::new(Notify::new()));
    assert_eq!(saw.try_recv().unwrap(), ["witnessed"]);
}
