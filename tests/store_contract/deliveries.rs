//! Deliveries as people see them: listed, counted, and in the end forgotten.

use daypass::{
    base::{
        clock::{Clock as _, Timestamp},
        ids::ProviderName,
    },
    store::{
        Accepted, Delivery, DeliveryFilter, DeliveryId, DeliveryStatus, Everything, Settled, Tally,
    },
};
use futures_util::future::join;

use crate::{
    bench::{START, calendly, key, owner},
    events::{SECOND, Whole, dead, event, failed, nobodys, only, payload, told, user},
};

/// So many seconds after the start.
fn after(seconds: u32) -> Timestamp {
    START.saturating_add(SECOND * seconds)
}

/// Told, by pages of two, the newest first.
async fn walk(bench: &Whole, filter: &DeliveryFilter) -> Vec<String> {
    let mut seen: Vec<Delivery> = Vec::new();
    loop {
        let before = seen.last().map(|last| last.id);
        let page = bench.other.deliveries(filter, before, 2).await.unwrap();
        assert!(page.len() <= 2);
        if page.is_empty() {
            assert!(seen.is_sorted_by(|a, b| a.id > b.id), "{seen:?}");
            return seen.iter().map(told).collect();
        }
        seen.extend(page);
    }
}

/// Six deliveries of all sorts, their events accepted a second apart: `one` is delivered to anna
/// and pending for ben, `two` is dead, `three` (of Cal.com) delivered, `four` nobody's, `five` pending.
async fn all_sorts(bench: &Whole) {
    let arrive = async |mut event: daypass::store::NewEvent, at| {
        event.at = after(at);
        bench.accept(event).await;
    };
    let settle = async |what: &str, settled: Settled| {
        let me = owner();
        for line in bench.claim(me).await {
            let settled = if told(&line.delivery) == what {
                settled.clone()
            } else {
                failed(0)
            };
            assert!(bench.settle(line.delivery.id, me, settled).await);
        }
    };
    arrive(event("one", &["anna"]), 1).await;
    settle("anna: one", Settled::Delivered).await;
    arrive(event("two", &["anna"]), 2).await;
    settle("anna: two", dead()).await;
    let mut three = event("three", &[]);
    three.provider = key("calcom", "x").provider;
    three.recipients = vec![key("calcom", "anna")];
    arrive(three, 3).await;
    settle("anna: three", Settled::Delivered).await;
    arrive(nobodys("four", &["U1"]), 4).await;
    arrive(event("five", &["anna"]), 5).await;
    arrive(event("one", &["ben"]), 6).await;
}

pub(crate) async fn deliveries_are_listed_page_by_page_the_newest_first(bench: &Whole) {
    assert!(walk(bench, &DeliveryFilter::default()).await.is_empty());
    all_sorts(bench).await;
    assert_eq!(
        walk(bench, &DeliveryFilter::default()).await,
        [
            "ben: one",
            "anna: five",
            "nobody: four",
            "anna: three",
            "anna: two",
            "anna: one"
        ]
    );
    let count = async |before, limit| {
        let all = DeliveryFilter::default();
        let page = bench.store.deliveries(&all, before, limit).await;
        page.unwrap().len()
    };
    assert_eq!(count(None, 0).await, 0);
    assert_eq!(count(Some(DeliveryId(0)), 9).await, 0);
    assert_eq!(count(Some(DeliveryId(u64::MAX)), 9).await, 6);
}

/// Filters that let through what all their words ask for.
fn filter(words: &str) -> DeliveryFilter {
    let mut filter = DeliveryFilter::default();
    for word in words.split_whitespace() {
        match word.split_once(':').unwrap() {
            ("status", name) => filter.status = DeliveryStatus::parse(name),
            ("user", name) => filter.user = Some(user(name)),
            ("provider", name) => filter.provider = ProviderName::parse(name).ok(),
            ("since", seconds) => filter.since = seconds.parse().ok().map(after),
            ("until", seconds) => filter.until = seconds.parse().ok().map(after),
            other => panic!("{other:?}"),
        }
    }
    filter
}

pub(crate) async fn deliveries_are_filtered(bench: &Whole) {
    all_sorts(bench).await;
    let cases: [(&str, &[&str]); 18] = [
        ("status:pending", &["ben: one", "anna: five"]),
        ("status:delivered", &["anna: three", "anna: one"]),
        ("status:dead", &["anna: two"]),
        ("status:unrouted", &["nobody: four"]),
        ("user:ben", &["ben: one"]),
        ("user:anna provider:calcom", &["anna: three"]),
        ("user:anna status:dead", &["anna: two"]),
        ("provider:calcom", &["anna: three"]),
        ("provider:calcom status:pending", &[]),
        ("provider:calendly status:delivered", &["anna: one"]),
        // Its event was accepted when it came first.
        ("since:1 until:2", &["ben: one", "anna: one"]),
        (
            "since:2 until:5",
            &["nobody: four", "anna: three", "anna: two"],
        ),
        ("user:anna since:2 until:4", &["anna: three", "anna: two"]),
        ("status:pending since:2", &["anna: five"]),
        ("since:4", &["anna: five", "nobody: four"]),
        ("status:pending until:2", &["ben: one"]),
        ("since:5 until:2", &[]),
        (
            "status:delivered user:anna provider:calcom since:3 until:4",
            &["anna: three"],
        ),
    ];
    for (words, expected) in cases {
        assert_eq!(walk(bench, &filter(words)).await, expected, "{words}");
    }
}

pub(crate) async fn a_delivery_is_found_by_its_number_with_what_it_carries(bench: &Whole) {
    all_sorts(bench).await;
    for listed in bench.list(&DeliveryFilter::default()).await {
        let found = bench.other.delivery(listed.id).await.unwrap().unwrap();
        assert_eq!(
            found.payload,
            payload(listed.name.trim_end_matches(".created"))
        );
        assert_eq!(found.delivery, listed);
    }
    for unknown in [0, u64::MAX / 4, u64::MAX] {
        let found = bench.store.delivery(DeliveryId(unknown)).await.unwrap();
        assert!(found.is_none());
    }
}

pub(crate) async fn deliveries_are_counted_by_status(bench: &Whole) {
    let tally = async || {
        let mut tally = bench.other.tally().await.unwrap();
        tally.retain(|line| line.count > 0);
        tally.sort_by_key(|line| line.status);
        tally
    };
    assert!(tally().await.is_empty());
    all_sorts(bench).await;
    let line = |status, count, oldest| Tally {
        status,
        count,
        oldest: Some(after(oldest)),
    };
    assert_eq!(
        tally().await,
        [
            line(DeliveryStatus::Pending, 2, 1),
            line(DeliveryStatus::Delivered, 2, 1),
            line(DeliveryStatus::Dead, 1, 2),
            line(DeliveryStatus::Unrouted, 1, 4)
        ]
    );
}

/// Forgets what was delivered before `delivered` seconds, and the rest before `others` seconds.
async fn prune(bench: &Whole, delivered: u32, others: u32) -> u64 {
    let pruned = bench
        .store
        .prune(after(delivered), after(others), 100)
        .await;
    pruned.unwrap()
}

pub(crate) async fn what_was_delivered_long_ago_is_forgotten(bench: &Whole) {
    for (seconds, name) in [(0, "one"), (10, "two"), (20, "three")] {
        bench.clock.set(after(seconds));
        bench.receive(name, &["anna"]).await;
        bench.drain().await;
    }
    let listed = bench.list(&only(DeliveryStatus::Delivered)).await;
    assert_eq!(prune(bench, 0, 100).await, 0, "by when it was delivered");
    assert_eq!(prune(bench, 20, 0).await, 2);
    assert_eq!(
        walk(bench, &DeliveryFilter::default()).await,
        ["anna: three"]
    );
    assert!(bench.other.delivery(listed[1].id).await.unwrap().is_none());
    assert!(!bench.store.replay(listed[1].id).await.unwrap());
    assert_eq!(prune(bench, 20, 100).await, 0);
}

pub(crate) async fn what_is_dead_or_nobodys_is_forgotten_by_when_it_was_accepted(bench: &Whole) {
    all_sorts(bench).await;
    bench.clock.advance(SECOND * 1000);
    assert_eq!(prune(bench, 0, 2).await, 0);
    assert_eq!(prune(bench, 0, 3).await, 1);
    assert!(bench.told(&only(DeliveryStatus::Dead)).await.is_empty());
    assert_eq!(bench.told(&only(DeliveryStatus::Unrouted)).await.len(), 1);
    assert_eq!(prune(bench, 0, 1000).await, 1);
    assert!(bench.told(&only(DeliveryStatus::Unrouted)).await.is_empty());
    assert_eq!(bench.store.adopt("U1", &calendly("anna")).await.unwrap(), 0);
    assert_eq!(
        walk(bench, &DeliveryFilter::default()).await,
        ["ben: one", "anna: five", "anna: three", "anna: one"]
    );
}

pub(crate) async fn what_is_on_its_way_is_never_forgotten(bench: &Whole) {
    bench.receive("one", &["anna", "ben"]).await;
    let me = owner();
    for line in bench.claim(me).await {
        let ben = line.delivery.user == Some(user("ben"));
        let settled = if ben { dead() } else { failed(5) };
        assert!(bench.settle(line.delivery.id, me, settled).await);
    }
    let ben = bench.list(&only(DeliveryStatus::Dead)).await.remove(0);
    assert!(bench.store.replay(ben.id).await.unwrap());
    bench.clock.advance(SECOND * 1000);
    assert_eq!(prune(bench, 1000, 1000).await, 0);
    let mut drained = bench.drain().await;
    drained.sort();
    assert_eq!(drained, ["anna: one", "ben: one"]);
}

pub(crate) async fn no_more_is_forgotten_than_asked_for(bench: &Whole) {
    for name in ["one", "two", "three", "four", "five"] {
        bench.receive(name, &["anna", "ben"]).await;
    }
    assert_eq!(bench.drain().await.len(), 10);
    bench.clock.advance(SECOND);
    let mut pruned = Vec::new();
    for _ in 0..5 {
        pruned.push(bench.store.prune(after(1), after(1), 4).await.unwrap());
    }
    assert_eq!(pruned.iter().sum::<u64>(), 10, "{pruned:?}");
    assert!(pruned.iter().all(|count| *count <= 4), "{pruned:?}");
    assert!(bench.list(&DeliveryFilter::default()).await.is_empty());
}

pub(crate) async fn a_forgotten_event_is_new_when_it_comes_again(bench: &Whole) {
    let first = bench.receive("one", &["anna"]).await;
    bench.drain().await;
    bench.clock.advance(SECOND);
    assert_eq!(prune(bench, 1, 1).await, 1);
    let again = event("one", &["anna"]);
    let id = again.id;
    assert_eq!(bench.accept(again).await, Accepted::New { id });
    assert_ne!(id, first);
    assert_eq!(bench.drain().await, ["anna: one"]);
    bench.accept(nobodys("two", &["U1"])).await;
    assert_eq!(prune(bench, 0, 1).await, 1);
    let again = nobodys("two", &["U1"]);
    let id = again.id;
    assert_eq!(bench.accept(again).await, Accepted::New { id });
    assert_eq!(bench.store.adopt("U1", &calendly("ben")).await.unwrap(), 1);
}

pub(crate) async fn who_got_an_event_is_known_as_long_as_the_event(bench: &Whole) {
    let id = bench.receive("one", &["anna", "ben"]).await;
    let me = owner();
    for line in bench.claim(me).await {
        let anna = line.delivery.user == Some(user("anna"));
        let settled = if anna { Settled::Delivered } else { failed(5) };
        assert!(bench.settle(line.delivery.id, me, settled).await);
    }
    bench.clock.advance(SECOND * 10);
    assert_eq!(prune(bench, 10, 10).await, 1);
    assert_eq!(walk(bench, &DeliveryFilter::default()).await, ["ben: one"]);
    let again = bench.accept(event("one", &["anna", "ben"])).await;
    assert_eq!(again, Accepted::Known { id, added: 0 });
    assert_eq!(bench.drain().await, ["ben: one"]);
    bench.clock.advance(SECOND * 10);
    assert_eq!(prune(bench, 20, 20).await, 1);
    assert!(
        bench
            .store
            .tally()
            .await
            .unwrap()
            .iter()
            .all(|line| line.count == 0)
    );
    let again = bench.accept(event("one", &["anna", "ben"])).await;
    assert!(matches!(again, Accepted::New { .. }), "{again:?}");
    assert_eq!(bench.drain().await.len(), 2);
}

pub(crate) async fn what_comes_again_while_it_is_forgotten_is_delivered(bench: &Whole) {
    for round in 0..20 {
        let name = format!("round-{round}");
        bench.receive(&name, &["anna"]).await;
        assert_eq!(bench.drain().await.len(), 1);
        bench.clock.advance(SECOND);
        let now = bench.clock.now();
        let pruning = bench.store.prune(now, now, 100);
        let again = bench.other.accept(event(&name, &["anna", "ben"]));
        let (pruned, again) = join(pruning, again).await;
        pruned.unwrap();
        // Known, so that anna has it already; or new again to both.
        let is_known = matches!(again.unwrap(), Accepted::Known { .. });
        assert_eq!(bench.drain().await.len(), if is_known { 1 } else { 2 });
        bench.clock.advance(SECOND);
        let now = bench.clock.now();
        bench.store.prune(now, now, 100).await.unwrap();
        assert!(bench.list(&DeliveryFilter::default()).await.is_empty());
    }
}

pub(crate) async fn what_two_processes_forget_together_leaves_nothing_behind(bench: &Whole) {
    let names: Vec<String> = (0..40).map(|n| format!("event-{n}")).collect();
    for name in &names {
        bench.receive(name, &["anna", "ben", "carl"]).await;
    }
    assert_eq!(bench.drain().await.len(), 120);
    bench.clock.advance(SECOND);
    let now = bench.clock.now();
    let forget = async |store: &dyn Everything| {
        let mut pruned = 0;
        for _ in 0..30 {
            pruned += store.prune(now, now, 7).await.unwrap();
        }
        pruned
    };
    let (one, two) = join(forget(&*bench.store), forget(&*bench.other)).await;
    assert_eq!(one + two, 120);
    for name in &names {
        let again = bench.accept(event(name, &["anna"])).await;
        assert!(matches!(again, Accepted::New { .. }), "{name}: {again:?}");
    }
}
