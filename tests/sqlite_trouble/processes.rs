//! Several processes on one file, and processes that are killed.

use std::{
    io::{BufRead, BufReader, Write},
    path::Path,
    process::{Child, Command, Stdio},
    time::Duration,
};

use daypass::{
    base::{ids::OwnerId, random::OsRandom},
    store::{Begun, Committed, Fence, Lease, Redemption, Store, sqlite::Options},
};

use crate::records::{AT, calendly, new, open_with, renewed, seal};

/// Renewals of each process in the race.
const RENEWALS: usize = 60;

/// Refusals after which a process in the race gives up.
const PATIENCE: u32 = 100_000;

/// Processes in the race.
const PROCESSES: usize = 3;

/// Longer than the race: no lease may end during it, or two holders would be right.
const TTL: Duration = Duration::from_mins(10);

/// Starts this program again to do the ignored test `role` on the store at `path`.
pub(crate) fn start(role: &str, path: &Path) -> Child {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--ignored", "--exact", "--nocapture", role])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdin = child.stdin.take().unwrap();
    writeln!(stdin, "{}", path.display()).unwrap();
    child
}

/// The numbers that a process reported with `report`.
pub(crate) fn reports(child: &mut Child) -> impl Iterator<Item = u64> + use<> {
    let stdout = BufReader::new(child.stdout.take().unwrap());
    let lines = stdout.lines().map_while(Result::ok);
    lines.filter_map(|line| line.strip_prefix("did ")?.parse().ok())
}

/// Says, past the test harness, that `number` was done.
pub(crate) fn report(number: u64) {
    let mut stdout = std::io::stdout().lock();
    writeln!(stdout, "\ndid {number}").unwrap();
    stdout.flush().unwrap();
}

/// The store that the parent process named; `None` if there is no parent.
pub(crate) fn named_store() -> Option<daypass::store::sqlite::Sqlite> {
    let mut path = String::new();
    std::io::stdin().read_line(&mut path).unwrap();
    let path = path.trim();
    (!path.is_empty()).then(|| {
        let mut options = Options::default();
        options.busy_timeout = Duration::from_mins(1);
        open_with(Path::new(path), options).unwrap()
    })
}

#[tokio::test]
async fn processes_on_one_file_never_hold_one_lease_together_nor_lose_a_commit() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("db");
    // Nobody has made the file yet: they race for its migrations too.
    let mut children: Vec<Child> = (0..PROCESSES)
        .map(|_| start("processes::child_renews_under_the_lease", &path))
        .collect();
    let mut generations: Vec<u64> = Vec::new();
    for child in &mut children {
        generations.extend(reports(child));
    }
    for mut child in children {
        assert!(child.wait().unwrap().success());
    }
    generations.sort_unstable();
    let total = PROCESSES * RENEWALS;
    let first = generations.first().copied().unwrap();
    let expected: Vec<u64> = (first..).take(total).collect();
    assert_eq!(
        generations, expected,
        "every commit made a generation of its own"
    );
    let store = open_with(&path, Options::default()).unwrap();
    let stored = store.load(&calendly("anna")).await.unwrap().unwrap();
    assert_eq!(Some(&stored.generation.get()), generations.last());
    assert_eq!(stored.intent, None);
}

#[tokio::test]
async fn what_was_acknowledged_survives_the_kill_of_its_process() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("db");
    let mut child = start("processes::child_saves_without_end", &path);
    // Reading on until the pipe is empty: what it said before it died counts too.
    let mut acknowledged = Vec::new();
    for number in reports(&mut child) {
        acknowledged.push(number);
        if acknowledged.len() == 100 {
            child.kill().unwrap();
        }
    }
    child.wait().unwrap();
    assert!(acknowledged.len() >= 100);
    let store = open_with(&path, Options::default()).unwrap();
    store.check().await.unwrap();
    for number in acknowledged {
        let user = calendly(&number.to_string());
        assert!(store.load(&user).await.unwrap().is_some(), "{user} is lost");
    }
}

#[tokio::test]
#[ignore = "done by another test, in a process of its own"]
async fn child_renews_under_the_lease() {
    let Some(store) = named_store() else { return };
    let mut first = new("anna", seal("first"));
    // The same for all processes, so that one of them creates it and the others find it.
    first.fingerprint = Some([1; 32]);
    store.save(vec![first]).await.unwrap();
    let (anna, me) = (calendly("anna"), OwnerId::random(&OsRandom));
    let (mut done, mut refused) = (0, 0);
    while done < RENEWALS {
        let Lease::Granted(held) = store.acquire(&anna, me, TTL).await.unwrap() else {
            // A holder that failed never gives its lease back.
            refused += 1;
            assert!(refused < PATIENCE, "somebody keeps the lease");
            continue;
        };
        assert_eq!(held.intent, None, "somebody else is at it");
        let fence = Fence::of(&held);
        let begun = store
            .begin(&fence, me, Redemption::Standard, AT)
            .await
            .unwrap();
        assert!(
            matches!(begun, Begun::Recorded { attempts: 1 }),
            "{begun:?}"
        );
        let committed = store.commit(&fence, renewed("next")).await.unwrap();
        let Committed::Stored(stored) = committed else {
            panic!("somebody else committed under this lease: {committed:?}");
        };
        assert!(store.release(&anna, me).await.unwrap());
        report(stored.generation.get());
        done += 1;
    }
}

#[tokio::test]
#[ignore = "done by another test, in a process of its own"]
async fn child_saves_without_end() {
    let Some(store) = named_store() else { return };
    for number in 0.. {
        let user = number.to_string();
        store.save(vec![new(&user, seal("t"))]).await.unwrap();
        report(number);
    }
}
