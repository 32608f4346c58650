//! Jobs: asked for, claimed, taken over, finished, asked for again.

use std::time::Duration;

use daypass::{
    base::{
        clock::{Clock as _, Timestamp},
        ids::{ConnectionKey, OwnerId},
    },
    store::{Everything, Existing, Job, JobKind, seal::Sealed},
};
use futures_util::future::join_all;

use crate::bench::{Bench, START, calendly, key, owner};

type Whole = Bench<dyn Everything>;

const SECOND: Duration = Duration::from_secs(1);

/// The usual length of a claim.
const TTL: Duration = Duration::from_secs(30);

const KIND: JobKind = JobKind::Sync;

/// A store looks at no seal, so this is none.
fn sealed(name: &str) -> Sealed {
    Sealed::from_bytes(name.as_bytes().to_vec())
}

async fn ask(bench: &Whole, key: &ConnectionKey, name: &str, due_in: Duration) {
    let asked = bench
        .store
        .schedule(KIND, key, Some(sealed(name)), due_in, Existing::Hasten)
        .await;
    asked.unwrap();
}

async fn claim(bench: &Whole, owner: OwnerId) -> Vec<Job> {
    bench.other.claim(KIND, owner, TTL, 100).await.unwrap()
}

/// The users whose jobs are due, which are claimed by `owner` from now on.
async fn users(bench: &Whole, owner: OwnerId) -> Vec<String> {
    let jobs = claim(bench, owner).await;
    jobs.iter().map(|job| job.key.user.to_string()).collect()
}

/// The job, which exists.
async fn read(bench: &Whole, key: &ConnectionKey) -> Job {
    bench.other.job(KIND, key).await.unwrap().unwrap()
}

async fn finish(
    bench: &Whole,
    key: &ConnectionKey,
    owner: OwnerId,
    next: Option<Duration>,
) -> bool {
    let finished = bench
        .store
        .finish(KIND, key, owner, Some(sealed("done")), next);
    finished.await.unwrap()
}

async fn progress(bench: &Whole, key: &ConnectionKey, owner: OwnerId, name: &str) -> bool {
    let written = bench
        .store
        .progress(KIND, key, owner, Some(sealed(name)), TTL);
    written.await.unwrap()
}

fn at(after: Duration) -> Timestamp {
    START.saturating_add(after)
}

pub(crate) async fn a_job_is_handed_out_when_it_is_due(bench: &Whole) {
    let anna = calendly("anna");
    assert_eq!(bench.store.job(KIND, &anna).await.unwrap(), None);
    ask(bench, &anna, "new", TTL).await;
    let asked = Job {
        key: anna.clone(),
        state: Some(sealed("new")),
        due_at: Some(at(TTL)),
        owner: None,
        updated_at: START,
    };
    assert_eq!(read(bench, &anna).await, asked);
    bench
        .clock
        .advance(TTL.saturating_sub(Duration::from_millis(1)));
    assert!(claim(bench, owner()).await.is_empty());
    bench.clock.advance(Duration::from_millis(1));
    let me = owner();
    let claimed = Job {
        due_at: Some(at(TTL * 2)),
        owner: Some(me),
        ..asked
    };
    assert_eq!(claim(bench, me).await, vec![claimed.clone()]);
    assert_eq!(read(bench, &anna).await, claimed);
    assert!(claim(bench, owner()).await.is_empty());
    assert!(claim(bench, me).await.is_empty(), "it is at it already");
}

pub(crate) async fn a_job_may_have_no_state(bench: &Whole) {
    let anna = calendly("anna");
    let asked = bench
        .store
        .schedule(KIND, &anna, None, Duration::ZERO, Existing::Hasten);
    asked.await.unwrap();
    assert_eq!(read(bench, &anna).await.state, None);
    let me = owner();
    assert_eq!(claim(bench, me).await[0].state, None);
    assert!(progress(bench, &anna, me, "some").await);
    assert_eq!(read(bench, &anna).await.state, Some(sealed("some")));
    let written = bench.store.progress(KIND, &anna, me, None, TTL).await;
    assert!(written.unwrap());
    assert_eq!(read(bench, &anna).await.state, None);
    assert!(progress(bench, &anna, me, "some").await);
    let finished = bench.store.finish(KIND, &anna, me, None, None).await;
    assert!(finished.unwrap());
    assert_eq!(read(bench, &anna).await.state, None);
}

pub(crate) async fn jobs_due_longest_come_first_and_no_more_than_asked_for(bench: &Whole) {
    for (user, seconds) in [("b", 2), ("d", 4), ("a", 3), ("c", 1), ("late", 60)] {
        ask(bench, &calendly(user), "s", SECOND * seconds).await;
    }
    bench.clock.advance(SECOND * 10);
    let claimed = async |limit| {
        let jobs = bench.store.claim(KIND, owner(), TTL, limit).await.unwrap();
        let users = jobs.iter().map(|job| job.key.user.to_string());
        users.collect::<Vec<_>>()
    };
    assert!(claimed(0).await.is_empty());
    assert_eq!(claimed(3).await, ["c", "b", "a"]);
    assert_eq!(claimed(3).await, ["d"]);
}

pub(crate) async fn each_job_is_claimed_by_one_of_many(bench: &Whole) {
    for n in 0..30 {
        ask(
            bench,
            &calendly(&format!("user-{n:02}")),
            "s",
            Duration::ZERO,
        )
        .await;
    }
    let claimed = join_all((0..20).map(async |n| {
        let store = if n % 2 == 0 {
            &bench.store
        } else {
            &bench.other
        };
        store.claim(KIND, owner(), TTL, 4).await.unwrap()
    }))
    .await;
    let mut users: Vec<String> = claimed
        .iter()
        .flatten()
        .map(|job| job.key.user.to_string())
        .collect();
    let rest = bench.store.claim(KIND, owner(), TTL, 100).await.unwrap();
    users.extend(rest.iter().map(|job| job.key.user.to_string()));
    users.sort();
    let all: Vec<String> = (0..30).map(|n| format!("user-{n:02}")).collect();
    assert_eq!(users, all);
}

pub(crate) async fn kinds_of_jobs_do_not_mix(bench: &Whole) {
    let anna = calendly("anna");
    ask(bench, &anna, "sync", Duration::ZERO).await;
    let kind = JobKind::Subscription;
    assert!(bench.store.job(kind, &anna).await.unwrap().is_none());
    let asked = bench.store.schedule(
        kind,
        &anna,
        Some(sealed("watch")),
        Duration::ZERO,
        Existing::Hasten,
    );
    asked.await.unwrap();
    let me = owner();
    let jobs = bench.store.claim(kind, me, TTL, 9).await.unwrap();
    assert_eq!(jobs.len(), 1);
    assert_eq!(jobs[0].state, Some(sealed("watch")));
    assert!(!progress(bench, &anna, me, "mine").await);
    assert_eq!(bench.store.jobs(kind, None, 9).await.unwrap().len(), 1);
    assert!(bench.store.cancel(kind, &anna).await.unwrap());
    assert_eq!(read(bench, &anna).await.state, Some(sealed("sync")));
}

pub(crate) async fn users_and_providers_have_jobs_of_their_own(bench: &Whole) {
    let keys = [key("calcom", "anna"), calendly("anna"), calendly("Anna")];
    for key in &keys {
        ask(bench, key, &key.to_string(), Duration::ZERO).await;
    }
    for key in &keys {
        assert_eq!(read(bench, key).await.state, Some(sealed(&key.to_string())));
    }
    assert!(bench.store.cancel(KIND, &keys[0]).await.unwrap());
    assert_eq!(claim(bench, owner()).await.len(), 2);
}

pub(crate) async fn a_dead_workers_job_is_taken_over_as_far_as_it_is(bench: &Whole) {
    let (anna, dead, quick) = (calendly("anna"), owner(), owner());
    ask(bench, &anna, "page 1", Duration::ZERO).await;
    assert_eq!(claim(bench, dead).await.len(), 1);
    assert!(progress(bench, &anna, dead, "page 2").await);
    bench
        .clock
        .advance(TTL.saturating_sub(Duration::from_millis(1)));
    assert!(claim(bench, quick).await.is_empty());
    bench.clock.advance(Duration::from_millis(1));
    let taken = claim(bench, quick).await;
    assert_eq!(taken.len(), 1);
    assert_eq!(taken[0].state, Some(sealed("page 2")));
    assert_eq!(taken[0].owner, Some(quick));
}

pub(crate) async fn a_worker_that_has_lost_its_job_changes_nothing(bench: &Whole) {
    let (anna, slow, quick) = (calendly("anna"), owner(), owner());
    ask(bench, &anna, "s", Duration::ZERO).await;
    assert_eq!(claim(bench, slow).await.len(), 1);
    bench.clock.advance(TTL);
    assert_eq!(claim(bench, quick).await.len(), 1);
    let before = read(bench, &anna).await;
    assert!(!progress(bench, &anna, slow, "slow").await);
    assert!(!finish(bench, &anna, slow, None).await);
    assert!(!progress(bench, &anna, owner(), "stranger").await);
    assert_eq!(read(bench, &anna).await, before);
    assert!(progress(bench, &anna, quick, "quick").await);
}

pub(crate) async fn a_worker_that_is_late_still_has_the_job_that_nobody_took_over(bench: &Whole) {
    let (anna, late) = (calendly("anna"), owner());
    ask(bench, &anna, "s", Duration::ZERO).await;
    assert_eq!(claim(bench, late).await.len(), 1);
    bench.clock.advance(TTL * 2);
    assert!(progress(bench, &anna, late, "page 2").await);
    assert!(claim(bench, owner()).await.is_empty(), "claimed again");
    bench.clock.advance(TTL * 2);
    assert!(finish(bench, &anna, late, None).await);
    assert!(claim(bench, owner()).await.is_empty());
}

pub(crate) async fn writing_how_far_a_job_is_keeps_the_claim(bench: &Whole) {
    let (anna, me) = (calendly("anna"), owner());
    ask(bench, &anna, "page 0", Duration::ZERO).await;
    assert_eq!(claim(bench, me).await.len(), 1);
    for page in 1..5 {
        bench.clock.advance(TTL.saturating_sub(SECOND));
        assert!(progress(bench, &anna, me, &format!("page {page}")).await);
        assert!(claim(bench, owner()).await.is_empty());
    }
    let now = bench.clock.now();
    let job = read(bench, &anna).await;
    assert_eq!(job.state, Some(sealed("page 4")));
    assert_eq!(job.due_at, Some(now.saturating_add(TTL)));
    assert_eq!(job.updated_at, now);
}

pub(crate) async fn a_finished_job_is_due_again_in_time(bench: &Whole) {
    let (anna, me) = (calendly("anna"), owner());
    ask(bench, &anna, "s", Duration::ZERO).await;
    assert_eq!(claim(bench, me).await.len(), 1);
    bench.clock.advance(SECOND);
    assert!(finish(bench, &anna, me, Some(TTL * 4)).await);
    let finished = Job {
        key: anna.clone(),
        state: Some(sealed("done")),
        due_at: Some(at(SECOND.saturating_add(TTL * 4))),
        owner: None,
        updated_at: bench.clock.now(),
    };
    assert_eq!(read(bench, &anna).await, finished);
    assert!(!finish(bench, &anna, me, None).await, "the claim has ended");
    assert!(!progress(bench, &anna, me, "again").await);
    assert_eq!(read(bench, &anna).await, finished);
    bench.clock.advance(TTL * 3);
    assert!(claim(bench, owner()).await.is_empty());
    bench.clock.advance(TTL);
    assert_eq!(users(bench, owner()).await, ["anna"]);
}

pub(crate) async fn a_finished_job_may_wait_for_being_asked_for(bench: &Whole) {
    let (anna, me) = (calendly("anna"), owner());
    ask(bench, &anna, "s", Duration::ZERO).await;
    assert_eq!(claim(bench, me).await.len(), 1);
    assert!(finish(bench, &anna, me, None).await);
    assert_eq!(read(bench, &anna).await.due_at, None);
    bench.clock.advance(Duration::from_hours(1000));
    assert!(claim(bench, me).await.is_empty());
    ask(bench, &anna, "ignored", SECOND).await;
    assert!(claim(bench, me).await.is_empty());
    bench.clock.advance(SECOND);
    assert_eq!(claim(bench, me).await[0].state, Some(sealed("done")));
}

pub(crate) async fn asking_again_brings_a_job_forward_and_never_back(bench: &Whole) {
    let anna = calendly("anna");
    ask(bench, &anna, "first", SECOND * 10).await;
    bench.clock.advance(SECOND);
    ask(bench, &anna, "second", SECOND * 20).await;
    let job = read(bench, &anna).await;
    assert_eq!(job.due_at, Some(at(SECOND * 10)));
    assert_eq!((job.state, job.updated_at), (Some(sealed("first")), START));
    ask(bench, &anna, "third", SECOND * 5).await;
    let job = read(bench, &anna).await;
    assert_eq!(job.due_at, Some(at(SECOND * 6)));
    assert_eq!(job.state, Some(sealed("first")));
}

pub(crate) async fn a_job_asked_for_while_it_is_worked_on_is_done_once_more(bench: &Whole) {
    let (anna, me) = (calendly("anna"), owner());
    ask(bench, &anna, "s", Duration::ZERO).await;
    for next in [None, Some(TTL)] {
        assert_eq!(users(bench, me).await, ["anna"]);
        ask(bench, &anna, "ignored", Duration::ZERO).await;
        ask(bench, &anna, "ignored", Duration::ZERO).await;
        assert!(claim(bench, owner()).await.is_empty(), "it goes on");
        assert!(progress(bench, &anna, me, "page 2").await);
        assert!(finish(bench, &anna, me, next).await);
        assert_eq!(read(bench, &anna).await.state, Some(sealed("done")));
    }
    assert_eq!(users(bench, me).await, ["anna"]);
    assert!(finish(bench, &anna, me, None).await);
    assert!(
        claim(bench, owner()).await.is_empty(),
        "once more, not for ever"
    );
}

pub(crate) async fn a_job_asked_for_later_while_it_is_worked_on_is_done_then(bench: &Whole) {
    let (anna, me) = (calendly("anna"), owner());
    for (next, asked, due) in [
        (None, SECOND * 9, SECOND * 9),
        (Some(SECOND * 5), SECOND * 9, SECOND * 5),
        (Some(SECOND * 9), SECOND * 5, SECOND * 5),
    ] {
        let now = bench.clock.now();
        ask(bench, &anna, "s", Duration::ZERO).await;
        assert_eq!(users(bench, me).await, ["anna"]);
        ask(bench, &anna, "s", asked).await;
        ask(bench, &anna, "s", SECOND * 60).await;
        assert!(finish(bench, &anna, me, next).await);
        let job = read(bench, &anna).await;
        assert_eq!(
            job.due_at,
            Some(now.saturating_add(due)),
            "{next:?} {asked:?}"
        );
    }
}

pub(crate) async fn a_job_asked_for_before_it_was_taken_over_is_done_once_more(bench: &Whole) {
    let (anna, dead, quick) = (calendly("anna"), owner(), owner());
    ask(bench, &anna, "s", Duration::ZERO).await;
    assert_eq!(claim(bench, dead).await.len(), 1);
    ask(bench, &anna, "s", Duration::ZERO).await;
    bench.clock.advance(TTL);
    assert_eq!(claim(bench, quick).await.len(), 1);
    assert!(finish(bench, &anna, quick, None).await);
    assert_eq!(users(bench, quick).await, ["anna"]);
    assert!(finish(bench, &anna, quick, None).await);
    assert!(claim(bench, quick).await.is_empty());
}

pub(crate) async fn replacing_a_job_takes_it_from_its_worker(bench: &Whole) {
    let (anna, me) = (calendly("anna"), owner());
    ask(bench, &anna, "old", Duration::ZERO).await;
    assert_eq!(claim(bench, me).await.len(), 1);
    ask(bench, &anna, "ignored", Duration::ZERO).await;
    bench.clock.advance(SECOND);
    let replaced = bench.store.schedule(
        KIND,
        &anna,
        Some(sealed("new")),
        SECOND * 9,
        Existing::Replace,
    );
    replaced.await.unwrap();
    let fresh = Job {
        key: anna.clone(),
        state: Some(sealed("new")),
        due_at: Some(at(SECOND * 10)),
        owner: None,
        updated_at: bench.clock.now(),
    };
    assert_eq!(read(bench, &anna).await, fresh);
    assert!(!progress(bench, &anna, me, "late").await);
    assert!(!finish(bench, &anna, me, None).await);
    assert_eq!(read(bench, &anna).await, fresh);
    bench.clock.advance(SECOND * 9);
    assert_eq!(claim(bench, me).await[0].state, Some(sealed("new")));
    assert!(finish(bench, &anna, me, None).await);
    assert!(
        claim(bench, me).await.is_empty(),
        "the old wish is forgotten"
    );
}

pub(crate) async fn replacing_a_job_may_put_it_off(bench: &Whole) {
    let anna = calendly("anna");
    ask(bench, &anna, "old", Duration::ZERO).await;
    let replaced = bench
        .store
        .schedule(KIND, &anna, None, SECOND * 9, Existing::Replace);
    replaced.await.unwrap();
    let job = read(bench, &anna).await;
    assert_eq!((job.state, job.due_at), (None, Some(at(SECOND * 9))));
    let ben = calendly("ben");
    let made = bench
        .store
        .schedule(KIND, &ben, Some(sealed("s")), SECOND, Existing::Replace);
    made.await.unwrap();
    assert_eq!(read(bench, &ben).await.due_at, Some(at(SECOND)));
}

pub(crate) async fn of_many_who_ask_for_a_job_all_get_the_same(bench: &Whole) {
    let anna = calendly("anna");
    let asked = (0..20).map(async |n| {
        let store = if n % 2 == 0 {
            &bench.store
        } else {
            &bench.other
        };
        let due_in = SECOND * (20 - n);
        store
            .schedule(
                KIND,
                &anna,
                Some(sealed(&n.to_string())),
                due_in,
                Existing::Hasten,
            )
            .await
            .unwrap();
    });
    join_all(asked).await;
    let jobs = bench.store.jobs(KIND, None, 9).await.unwrap();
    assert_eq!(jobs.len(), 1);
    assert_eq!(jobs[0].due_at, Some(at(SECOND)), "the soonest of all");
}

pub(crate) async fn a_canceled_job_is_gone_whoever_works_on_it(bench: &Whole) {
    let (anna, me) = (calendly("anna"), owner());
    assert!(!bench.store.cancel(KIND, &anna).await.unwrap());
    ask(bench, &anna, "s", Duration::ZERO).await;
    assert_eq!(claim(bench, me).await.len(), 1);
    ask(bench, &anna, "s", Duration::ZERO).await;
    assert!(bench.other.cancel(KIND, &anna).await.unwrap());
    assert!(!bench.store.cancel(KIND, &anna).await.unwrap());
    assert!(!progress(bench, &anna, me, "late").await);
    assert!(!finish(bench, &anna, me, Some(Duration::ZERO)).await);
    assert_eq!(bench.store.job(KIND, &anna).await.unwrap(), None);
    bench.clock.advance(TTL * 9);
    assert!(claim(bench, me).await.is_empty());
}

pub(crate) async fn jobs_are_listed_in_the_order_of_their_keys(bench: &Whole) {
    let keys = [
        key("calcom", "a"),
        key("calcom", "z"),
        calendly("B"),
        calendly("a"),
    ];
    for key in keys.iter().rev() {
        ask(bench, key, "s", TTL).await;
    }
    let mut seen: Vec<ConnectionKey> = Vec::new();
    loop {
        let page = bench.other.jobs(KIND, seen.last(), 3).await.unwrap();
        if page.is_empty() {
            break;
        }
        assert!(page.len() <= 3);
        assert_eq!(page[0], read(bench, &page[0].key).await);
        seen.extend(page.into_iter().map(|job| job.key));
    }
    assert_eq!(seen, keys);
    assert!(bench.store.jobs(KIND, None, 0).await.unwrap().is_empty());
}

pub(crate) async fn removing_a_connection_leaves_its_jobs(bench: &Whole) {
    let anna = bench.connections().connect("anna").await;
    ask(bench, &anna.key, "s", Duration::ZERO).await;
    bench.store.remove(&anna.key).await.unwrap();
    assert_eq!(users(bench, owner()).await, ["anna"]);
}
