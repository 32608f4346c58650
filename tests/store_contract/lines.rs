//! Lines: one delivery after the other, one worker at a time.

use std::sync::atomic::{AtomicUsize, Ordering};

use daypass::store::{Claimed, Delivery, DeliveryFilter, DeliveryId, DeliveryStatus, Settled};
use futures_util::future::{join, join_all};

use crate::{
    bench::{START, key, owner},
    events::{HOLD, SECOND, Whole, dead, event, failed, only, told, user},
};

pub(crate) async fn a_users_deliveries_are_handed_out_in_their_order(bench: &Whole) {
    for name in ["c", "a", "d", "b"] {
        bench.receive(name, &["anna"]).await;
    }
    let me = owner();
    for name in ["c", "a", "d", "b"] {
        let first = bench.claim_one(me).await;
        assert_eq!(told(&first), format!("anna: {name}"));
        assert!(bench.settle(first.id, me, Settled::Delivered).await);
    }
    assert!(bench.claim(me).await.is_empty());
}

pub(crate) async fn deliveries_of_all_providers_of_a_user_are_one_line(bench: &Whole) {
    for (provider, name) in [("calcom", "one"), ("calendly", "two"), ("calcom", "three")] {
        let mut event = event(name, &[]);
        event.recipients = vec![key(provider, "anna")];
        event.provider = key(provider, "anna").provider;
        bench.accept(event).await;
    }
    let me = owner();
    for (name, provider) in [("one", "calcom"), ("two", "calendly"), ("three", "calcom")] {
        let first = bench.claim_one(me).await;
        assert_eq!(told(&first), format!("anna: {name}"));
        assert_eq!(first.provider.as_str(), provider);
        assert!(bench.settle(first.id, me, Settled::Delivered).await);
    }
}

pub(crate) async fn a_failed_delivery_holds_up_its_line_and_no_other(bench: &Whole) {
    bench.receive("one", &["anna", "ben"]).await;
    bench.receive("two", &["anna", "ben"]).await;
    let me = owner();
    for claimed in bench.claim(me).await {
        let settled = if claimed.delivery.user == Some(user("anna")) {
            failed(60)
        } else {
            Settled::Delivered
        };
        assert!(bench.settle(claimed.delivery.id, me, settled).await);
    }
    assert_eq!(bench.drain().await, ["ben: two"]);
    bench.receive("three", &["anna", "ben"]).await;
    assert_eq!(bench.drain().await, ["ben: three"]);
    bench.clock.advance(SECOND * 60);
    assert_eq!(
        bench.drain().await,
        ["anna: one", "anna: two", "anna: three"]
    );
}

pub(crate) async fn lines_due_longest_come_first_and_no_more_than_asked_for(bench: &Whole) {
    for name in ["c", "a", "d", "b"] {
        bench.receive(name, &[name]).await;
        bench.clock.advance(SECOND);
    }
    let claimed = async |limit| {
        let lines = bench.store.claim_lines(owner(), HOLD, limit).await.unwrap();
        let told = lines.iter().map(|line| told(&line.delivery));
        told.collect::<Vec<_>>()
    };
    assert!(claimed(0).await.is_empty());
    assert_eq!(claimed(3).await, ["c: c", "a: a", "d: d"]);
    assert_eq!(claimed(3).await, ["b: b"]);
}

pub(crate) async fn a_claimed_line_is_nobody_elses_whatever_joins_it(bench: &Whole) {
    bench.receive("one", &["anna"]).await;
    let me = owner();
    let first = bench.claim_one(me).await;
    bench.receive("two", &["anna"]).await;
    assert!(bench.claim(owner()).await.is_empty());
    assert!(bench.claim(me).await.is_empty());
    bench.clock.advance(HOLD.saturating_sub(SECOND));
    assert!(bench.claim(owner()).await.is_empty());
    assert!(bench.settle(first.id, me, Settled::Delivered).await);
    assert_eq!(bench.due(owner()).await, ["anna: two"]);
}

pub(crate) async fn each_line_is_claimed_by_one_of_many(bench: &Whole) {
    let users: Vec<String> = (0..30).map(|n| format!("user-{n:02}")).collect();
    let all: Vec<&str> = users.iter().map(String::as_str).collect();
    bench.receive("one", &all).await;
    bench.receive("two", &all).await;
    let claimed = join_all((0..20).map(async |n| {
        let store = if n % 2 == 0 {
            &bench.store
        } else {
            &bench.other
        };
        store.claim_lines(owner(), HOLD, 4).await.unwrap()
    }))
    .await;
    let mut told: Vec<String> = claimed
        .iter()
        .flatten()
        .map(|c| told(&c.delivery))
        .collect();
    told.extend(bench.due(owner()).await);
    told.sort();
    let expected: Vec<String> = users.iter().map(|user| format!("{user}: one")).collect();
    assert_eq!(told, expected);
}

pub(crate) async fn a_dead_workers_line_is_taken_over(bench: &Whole) {
    bench.receive("one", &["anna"]).await;
    let first = bench.claim_one(owner()).await;
    bench.clock.advance(HOLD.saturating_sub(SECOND));
    assert!(bench.claim(owner()).await.is_empty());
    bench.clock.advance(SECOND);
    let again = bench.claim_one(owner()).await;
    assert_eq!(again, first, "nobody said that it was tried");
}

pub(crate) async fn a_worker_that_has_lost_its_line_settles_nothing(bench: &Whole) {
    bench.receive("one", &["anna"]).await;
    let (slow, quick) = (owner(), owner());
    let first = bench.claim_one(slow).await;
    bench.clock.advance(HOLD);
    bench.claim_one(quick).await;
    let outcomes = [
        Settled::Delivered,
        failed(0),
        dead(),
        Settled::Postponed { next_in: SECOND },
    ];
    for settled in outcomes {
        assert!(!bench.settle(first.id, slow, settled.clone()).await);
        assert!(!bench.settle(first.id, owner(), settled).await);
    }
    assert!(
        !bench
            .store
            .hold_line(&user("anna"), slow, HOLD)
            .await
            .unwrap()
    );
    assert_eq!(bench.look(first.id).await, first);
    assert!(bench.claim(owner()).await.is_empty());
    assert!(bench.settle(first.id, quick, Settled::Delivered).await);
}

pub(crate) async fn a_worker_that_is_late_still_has_the_line_that_nobody_took_over(bench: &Whole) {
    bench.receive("one", &["anna", "ben"]).await;
    let (late, ben) = (owner(), user("ben"));
    let claimed = bench.claim(late).await;
    bench.clock.advance(HOLD * 2);
    for Claimed { delivery, .. } in claimed {
        if delivery.user.as_ref() == Some(&ben) {
            assert!(bench.store.hold_line(&ben, late, HOLD).await.unwrap());
        } else {
            assert!(bench.settle(delivery.id, late, Settled::Delivered).await);
        }
    }
    assert!(bench.claim(owner()).await.is_empty());
}

pub(crate) async fn holding_a_line_keeps_the_claim(bench: &Whole) {
    bench.receive("one", &["anna"]).await;
    let (me, anna) = (owner(), user("anna"));
    assert!(!bench.store.hold_line(&anna, me, HOLD).await.unwrap());
    let first = bench.claim_one(me).await;
    for _ in 0..3 {
        bench.clock.advance(HOLD.saturating_sub(SECOND));
        assert!(bench.store.hold_line(&anna, me, HOLD).await.unwrap());
        assert!(!bench.store.hold_line(&anna, owner(), HOLD).await.unwrap());
        assert!(!bench.store.hold_line(&user("ben"), me, HOLD).await.unwrap());
        assert!(bench.claim(owner()).await.is_empty());
    }
    assert!(bench.settle(first.id, me, failed(0)).await);
    assert!(!bench.store.hold_line(&anna, me, HOLD).await.unwrap());
    assert_eq!(bench.claim_one(owner()).await.id, first.id);
}

pub(crate) async fn a_delivery_is_settled_once_and_only_as_the_first(bench: &Whole) {
    bench.receive("one", &["anna"]).await;
    bench.receive("two", &["anna", "ben"]).await;
    let listed = bench.list(&DeliveryFilter::default()).await;
    let id = |what: &str| listed.iter().find(|d| told(d) == what).unwrap().id;
    let me = owner();
    assert!(
        !bench.settle(id("anna: one"), me, Settled::Delivered).await,
        "not claimed"
    );
    assert_eq!(bench.due(me).await, ["anna: one", "ben: two"]);
    assert!(
        !bench.settle(id("anna: two"), me, Settled::Delivered).await,
        "not the first"
    );
    let unknown = DeliveryId(u64::MAX / 4);
    assert!(!bench.settle(unknown, me, Settled::Delivered).await);
    assert!(bench.settle(id("anna: one"), me, Settled::Delivered).await);
    assert!(
        !bench.settle(id("anna: one"), me, dead()).await,
        "settled already"
    );
    assert!(
        !bench.settle(id("anna: two"), me, dead()).await,
        "the claim has ended"
    );
    let one = bench.look(id("anna: one")).await;
    assert_eq!(one.status, DeliveryStatus::Delivered);
    assert_eq!(bench.due(me).await, ["anna: two"]);
    assert!(bench.settle(id("ben: two"), me, Settled::Delivered).await);
}

pub(crate) async fn a_delivered_one_makes_room_for_the_next_at_once(bench: &Whole) {
    bench.receive("one", &["anna"]).await;
    bench.receive("two", &["anna"]).await;
    let me = owner();
    let first = bench.claim_one(me).await;
    assert!(bench.settle(first.id, me, failed(9)).await);
    bench.clock.advance(SECOND * 9);
    bench.claim_one(me).await;
    assert!(bench.settle(first.id, me, Settled::Delivered).await);
    let expected = Delivery {
        status: DeliveryStatus::Delivered,
        attempts: 2,
        first_tried_at: Some(START),
        at: START.saturating_add(SECOND * 9),
        last_error: None,
        ..first
    };
    assert_eq!(bench.look(first.id).await, expected);
    assert_eq!(bench.due(me).await, ["anna: two"]);
}

pub(crate) async fn a_failed_delivery_is_tried_again_in_time(bench: &Whole) {
    bench.clock.advance(SECOND);
    bench.receive("one", &["anna"]).await;
    let me = owner();
    let fresh = bench.claim_one(me).await;
    let mut expected = fresh.clone();
    expected.first_tried_at = Some(START.saturating_add(SECOND * 2));
    bench.clock.advance(SECOND);
    for attempt in 1..4 {
        let settled = Settled::Failed {
            what: format!("failure {attempt}"),
            next_in: SECOND * 10,
        };
        assert!(bench.settle(fresh.id, me, settled).await);
        expected.attempts = attempt;
        expected.at = START.saturating_add(SECOND * (2 + 10 * attempt));
        expected.last_error = Some(format!("failure {attempt}"));
        assert_eq!(bench.look(fresh.id).await, expected);
        bench.clock.advance(SECOND * 9);
        assert!(bench.claim(me).await.is_empty());
        bench.clock.advance(SECOND);
        assert_eq!(bench.claim_one(me).await, expected);
    }
}

pub(crate) async fn a_postponed_delivery_was_not_tried(bench: &Whole) {
    bench.receive("one", &["anna", "ben"]).await;
    let me = owner();
    let next_in = SECOND * 5;
    for claimed in bench.claim(me).await {
        let was = claimed.delivery;
        let tried = was.user == Some(user("ben"));
        if tried {
            assert!(bench.settle(was.id, me, failed(0)).await);
            assert_eq!(bench.claim_one(me).await.id, was.id);
        }
        assert!(
            bench
                .settle(was.id, me, Settled::Postponed { next_in })
                .await
        );
        let expected = Delivery {
            at: START.saturating_add(next_in),
            attempts: u32::from(tried),
            first_tried_at: tried.then_some(START),
            last_error: tried.then(|| "HTTP 500".to_owned()),
            ..was
        };
        assert_eq!(bench.look(expected.id).await, expected);
    }
    bench.clock.advance(SECOND * 4);
    assert!(bench.claim(me).await.is_empty());
    bench.clock.advance(SECOND);
    assert_eq!(bench.due(me).await, ["anna: one", "ben: one"]);
}

pub(crate) async fn a_dead_letter_lets_the_next_one_pass(bench: &Whole) {
    bench.receive("one", &["anna"]).await;
    bench.receive("two", &["anna"]).await;
    let me = owner();
    let first = bench.claim_one(me).await;
    bench.clock.advance(SECOND);
    assert!(bench.settle(first.id, me, dead()).await);
    let now = START.saturating_add(SECOND);
    let expected = Delivery {
        status: DeliveryStatus::Dead,
        attempts: 1,
        first_tried_at: Some(now),
        at: now,
        last_error: Some("HTTP 410".to_owned()),
        ..first
    };
    assert_eq!(bench.look(first.id).await, expected);
    assert_eq!(bench.drain().await, ["anna: two"]);
    assert_eq!(bench.look(first.id).await, expected);
}

pub(crate) async fn nothing_is_missed_that_joins_while_the_last_one_is_settled(bench: &Whole) {
    let me = owner();
    bench.receive("first", &["anna"]).await;
    for round in 0..30 {
        let last = bench.claim_one(me).await;
        let name = format!("round-{round}");
        let joining = bench.store.accept(event(&name, &["anna"]));
        let settling = bench.other.settle(last.id, me, Settled::Delivered);
        let (joined, settled) = join(joining, settling).await;
        joined.unwrap();
        assert!(settled.unwrap());
        let next: Vec<String> = bench.told(&only(DeliveryStatus::Pending)).await;
        assert_eq!(next, [format!("anna: {name}")]);
    }
}

pub(crate) async fn many_workers_deliver_everything_once_and_in_order(bench: &Whole) {
    let users = ["anna", "ben", "carl", "dora", "emil"];
    let accepting = async {
        for n in 10..40 {
            bench.receive(&format!("e{n}"), &users).await;
        }
    };
    let left = AtomicUsize::new(150);
    let work = async |n: usize| {
        let store = if n < 2 { &bench.store } else { &bench.other };
        let (me, mut delivered, mut in_vain) = (owner(), Vec::new(), 0);
        while left.load(Ordering::Relaxed) > 0 {
            let claimed = store.claim_lines(me, HOLD, 2).await.unwrap();
            in_vain = if claimed.is_empty() { in_vain + 1 } else { 0 };
            assert!(in_vain < 10_000, "something is never handed out");
            for line in claimed {
                delivered.push((line.delivery.user.clone().unwrap(), line.delivery.id));
                assert!(bench.settle(line.delivery.id, me, Settled::Delivered).await);
                left.fetch_sub(1, Ordering::Relaxed);
            }
        }
        delivered
    };
    let working = join_all((0..4).map(work));
    let ((), delivered) = join(accepting, working).await;
    for mine in &delivered {
        for name in users {
            let ids = mine.iter().filter(|(user, _)| user.as_str() == name);
            assert!(ids.map(|(_, id)| id).is_sorted());
        }
    }
    let mut all: Vec<DeliveryId> = delivered.into_iter().flatten().map(|(_, id)| id).collect();
    all.sort();
    all.dedup();
    assert_eq!(all.len(), 150, "each once");
}
