//! The clock that a store goes by is set back, by an hour or by a year: no claim lasts longer than it was
//! made for, and nothing waits longer than it was put off for, from when a worker looks next. Leases and
//! duties are tried beside their other guarantees.

use std::time::Duration;

use daypass::{
    base::{
        clock::{Clock as _, Timestamp},
        ids::OwnerId,
    },
    store::{DeliveryId, Existing, JobKind, Settled},
};

use crate::{
    bench::{calendly, owner},
    events::{HOLD, SECOND, Whole, failed, user},
};

const BACK: [Duration; 2] = [Duration::from_hours(1), Duration::from_hours(24 * 365)];

const KIND: JobKind = JobKind::Sync;

/// Short of what a claim lasts.
const NEARLY_HELD: Duration = Duration::from_secs(14);

/// Short of what a minute's wait takes.
const NEARLY: Duration = Duration::from_secs(59);

/// Sets the clock forward. Somebody who has looked before shall not be misled by it.
async fn ahead(bench: &Whole, by: Duration) -> Timestamp {
    assert!(bench.due(owner()).await.is_empty());
    assert!(jobs(bench, owner()).await.is_empty());
    let now = bench.clock.now();
    bench.clock.advance(by);
    now
}

/// The users whose jobs are due, which are claimed by `owner` from now on.
async fn jobs(bench: &Whole, owner: OwnerId) -> Vec<String> {
    let jobs = bench.other.claim(KIND, owner, HOLD, 9).await.unwrap();
    jobs.iter().map(|job| job.key.user.to_string()).collect()
}

async fn ask(bench: &Whole, due_in: Duration) {
    let anna = calendly("anna");
    let asked = bench
        .store
        .schedule(KIND, &anna, None, due_in, Existing::Hasten);
    asked.await.unwrap();
}

async fn finish(bench: &Whole, owner: OwnerId, next: Option<Duration>) {
    let anna = calendly("anna");
    let finished = bench.store.finish(KIND, &anna, owner, None, next).await;
    assert!(finished.unwrap());
}

/// Claims the job by the handle that does not look otherwise.
async fn claim_job(bench: &Whole, owner: OwnerId) {
    let claimed = bench.store.claim(KIND, owner, HOLD, 9).await.unwrap();
    assert_eq!(claimed.len(), 1);
}

/// Claims the line by the handle that does not look otherwise.
async fn claim_line(bench: &Whole, owner: OwnerId) -> DeliveryId {
    let claimed = bench.store.claim_lines(owner, HOLD, 9).await.unwrap();
    assert_eq!(claimed.len(), 1);
    claimed[0].delivery.id
}

pub(crate) async fn a_dead_workers_line_is_taken_over_in_time_though_the_clock_was_set_back(
    bench: &Whole,
) {
    for back in BACK {
        let (dead, me) = (owner(), owner());
        let now = ahead(bench, back).await;
        bench.receive(&format!("{back:?}"), &["anna"]).await;
        let id = claim_line(bench, dead).await;
        bench.clock.set(now);
        assert!(bench.due(me).await.is_empty(), "no claim is cut short");
        bench.clock.advance(NEARLY_HELD);
        assert!(bench.due(me).await.is_empty());
        bench.clock.advance(SECOND);
        assert_eq!(bench.claim_one(me).await.id, id);
        assert!(!bench.settle(id, dead, Settled::Delivered).await);
        assert!(bench.settle(id, me, Settled::Delivered).await);
    }
}

pub(crate) async fn a_line_is_held_on_to_though_the_clock_was_set_back(bench: &Whole) {
    for back in BACK {
        let (alive, me) = (owner(), owner());
        let now = ahead(bench, back).await;
        bench.receive(&format!("{back:?}"), &["anna"]).await;
        let id = claim_line(bench, alive).await;
        bench.clock.set(now);
        for _ in 0..3 {
            let held = bench.store.hold_line(&user("anna"), alive, HOLD).await;
            assert!(held.unwrap());
            bench.clock.advance(NEARLY_HELD);
            assert!(bench.due(me).await.is_empty());
        }
        assert!(bench.settle(id, alive, Settled::Delivered).await);
    }
}

pub(crate) async fn a_retry_waits_no_longer_when_the_clock_is_set_back(bench: &Whole) {
    for back in BACK {
        let me = owner();
        let now = ahead(bench, back).await;
        bench.receive(&format!("{back:?}"), &["anna"]).await;
        let id = claim_line(bench, me).await;
        assert!(bench.settle(id, me, failed(60)).await);
        bench.clock.set(now);
        assert!(bench.due(me).await.is_empty());
        bench.clock.advance(NEARLY);
        assert!(bench.due(me).await.is_empty());
        bench.clock.advance(SECOND);
        assert_eq!(bench.claim_one(me).await.id, id);
        assert!(bench.settle(id, me, Settled::Delivered).await);
    }
}

pub(crate) async fn what_came_before_the_clock_was_set_back_is_due_at_once(bench: &Whole) {
    for back in BACK {
        let now = ahead(bench, back).await;
        for n in 0..3 {
            bench.receive(&format!("{n} {back:?}"), &["anna"]).await;
        }
        bench.clock.set(now);
        assert_eq!(bench.drain().await.len(), 3);
    }
}

pub(crate) async fn a_replay_does_not_put_off_what_waits_before_it_when_the_clock_is_set_back(
    bench: &Whole,
) {
    for back in BACK {
        let me = owner();
        let now = ahead(bench, back).await;
        for n in 0..2 {
            bench.receive(&format!("{n} {back:?}"), &["anna"]).await;
        }
        let first = claim_line(bench, me).await;
        assert!(bench.settle(first, me, failed(60)).await);
        bench.clock.set(now);
        assert!(bench.store.replay(DeliveryId(first.0 + 1)).await.unwrap());
        assert!(bench.due(me).await.is_empty());
        bench.clock.advance(NEARLY);
        assert!(bench.due(me).await.is_empty());
        bench.clock.advance(SECOND);
        assert_eq!(bench.claim_one(me).await.id, first);
        assert!(bench.settle(first, me, Settled::Delivered).await);
        assert_eq!(bench.drain().await.len(), 1);
    }
}

pub(crate) async fn a_dead_workers_job_is_taken_over_in_time_though_the_clock_was_set_back(
    bench: &Whole,
) {
    for back in BACK {
        let (dead, me) = (owner(), owner());
        let now = ahead(bench, back).await;
        ask(bench, Duration::ZERO).await;
        claim_job(bench, dead).await;
        bench.clock.set(now);
        assert!(jobs(bench, me).await.is_empty(), "no claim is cut short");
        bench.clock.advance(NEARLY_HELD);
        assert!(jobs(bench, me).await.is_empty());
        bench.clock.advance(SECOND);
        assert_eq!(jobs(bench, me).await, ["anna"]);
        finish(bench, me, None).await;
    }
}

pub(crate) async fn a_job_waits_no_longer_when_the_clock_is_set_back(bench: &Whole) {
    const MINUTE: Duration = Duration::from_mins(1);
    // When it is asked for again after that: that must not put it off either.
    for (back, again) in [
        (BACK[0], None),
        (BACK[1], None),
        (BACK[1], Some(MINUTE * 9)),
    ] {
        let me = owner();
        let now = ahead(bench, back).await;
        ask(bench, MINUTE).await;
        bench.clock.set(now);
        if let Some(again) = again {
            ask(bench, again).await;
        }
        for _ in 0..2 {
            assert!(jobs(bench, me).await.is_empty());
            bench.clock.advance(NEARLY);
            assert!(jobs(bench, me).await.is_empty());
            bench.clock.advance(SECOND);
            assert_eq!(jobs(bench, me).await, ["anna"]);
            // So does one that was put off by its worker.
            bench.clock.advance(back);
            finish(bench, me, Some(MINUTE)).await;
            bench.clock.set(now);
        }
        assert!(jobs(bench, me).await.is_empty());
        bench.clock.advance(MINUTE);
        assert_eq!(jobs(bench, me).await, ["anna"]);
        finish(bench, me, None).await;
    }
}

pub(crate) async fn a_job_asked_for_while_it_is_worked_on_waits_no_longer_when_the_clock_is_set_back(
    bench: &Whole,
) {
    for (back, writes, looks) in [
        (BACK[0], true, false),
        (BACK[1], false, false),
        (BACK[1], true, false),
        (BACK[1], true, true),
    ] {
        let me = owner();
        let now = ahead(bench, back).await;
        ask(bench, Duration::ZERO).await;
        claim_job(bench, me).await;
        ask(bench, NEARLY + SECOND).await;
        bench.clock.set(now);
        if looks {
            assert!(jobs(bench, owner()).await.is_empty());
        }
        if writes {
            let anna = calendly("anna");
            let written = bench.store.progress(KIND, &anna, me, None, HOLD).await;
            assert!(written.unwrap());
        }
        finish(bench, me, None).await;
        bench.clock.advance(NEARLY);
        assert!(jobs(bench, me).await.is_empty());
        bench.clock.advance(SECOND);
        assert_eq!(jobs(bench, me).await, ["anna"]);
        finish(bench, me, None).await;
    }
}
