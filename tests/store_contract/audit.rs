//! Who did what.

use std::time::Duration;

use daypass::{
    base::{
        clock::Timestamp,
        ids::{AuditId, ProviderName, UserId},
        random::OsRandom,
    },
    store::{Deed, DeedFilter, Everything},
};

use crate::bench::{Bench, START};

type Whole = Bench<dyn Everything>;

/// Done so many seconds after the start.
fn deed(secs: u64, action: &str, user: Option<&str>) -> Deed {
    let at = START.saturating_add(Duration::from_secs(secs));
    Deed {
        id: AuditId::at(at, &OsRandom),
        at,
        via: "api".to_owned(),
        who: "admin".to_owned(),
        action: action.to_owned(),
        provider: user.map(|_| ProviderName::parse("calendly").unwrap()),
        user: user.map(|user| UserId::parse(user).unwrap()),
        outcome: "done".to_owned(),
        reason: None,
        detail: None,
    }
}

async fn record(bench: &Whole, deeds: &[Deed]) {
    for deed in deeds {
        bench.store.record(deed).await.unwrap();
    }
}

async fn listed(bench: &Whole, filter: &DeedFilter) -> Vec<Deed> {
    bench.other.deeds(filter, None, 1000).await.unwrap()
}

fn after(secs: u64) -> Timestamp {
    START.saturating_add(Duration::from_secs(secs))
}

/// What fits all of these.
fn only(query: &str) -> DeedFilter {
    let mut filter = DeedFilter::default();
    for pair in query.split(' ') {
        let (name, value) = pair.split_once('=').unwrap();
        match name {
            "user" => filter.user = Some(UserId::parse(value).unwrap()),
            "provider" => filter.provider = Some(ProviderName::parse(value).unwrap()),
            "action" => filter.action = Some(value.to_owned()),
            "since" => filter.since = Some(after(value.parse().unwrap())),
            "until" => filter.until = Some(after(value.parse().unwrap())),
            _ => panic!("{name}"),
        }
    }
    filter
}

pub(crate) async fn a_record_reads_back_as_it_was_whatever_its_words(bench: &Whole) {
    let plain = deed(1, "connection.refresh", None);
    let full = Deed {
        via: "some-later-way".to_owned(),
        who: "jürgen \"the\" operator's {host}".to_owned(),
        outcome: "failed".to_owned(),
        reason: Some("store-unavailable".to_owned()),
        detail: Some("force, 3 replayed \u{1f39f}".to_owned()),
        ..deed(2, "something.new", Some("a'{b}\\c"))
    };
    record(bench, &[plain.clone(), full.clone()]).await;
    assert_eq!(listed(bench, &DeedFilter::default()).await, [full, plain]);
}

pub(crate) async fn a_record_that_is_written_again_is_one(bench: &Whole) {
    let one = deed(1, "connection.sync", Some("u_1"));
    record(bench, &[one.clone(), one.clone()]).await;
    bench.other.record(&one).await.unwrap();
    assert_eq!(listed(bench, &DeedFilter::default()).await, [one]);
}

pub(crate) async fn records_are_listed_page_by_page_the_newest_first(bench: &Whole) {
    let mut all: Vec<Deed> = (0..23)
        .map(|n| deed(n / 3, "connection.sync", Some("u_1")))
        .collect();
    // Written in another order than they have: clocks differ.
    let (early, late) = all.split_at(11);
    record(bench, late).await;
    record(bench, early).await;
    all.sort_by_key(|deed| std::cmp::Reverse(deed.id));
    for limit in [1, 4, 23, 24] {
        let (mut seen, mut before) = (Vec::new(), None);
        loop {
            let filter = DeedFilter::default();
            let page = bench.store.deeds(&filter, before, limit).await.unwrap();
            assert!(page.len() <= limit);
            let Some(last) = page.last() else {
                break;
            };
            before = Some(last.id);
            seen.extend(page);
        }
        assert_eq!(seen, all, "in pages of {limit}");
    }
}

pub(crate) async fn records_are_filtered(bench: &Whole) {
    let all = [
        deed(0, "connection.refresh", Some("u_1")),
        deed(10, "connection.disconnect", Some("u_1")),
        deed(20, "connection.refresh", Some("u_2")),
        deed(30, "deliveries.replay", None),
        Deed {
            provider: Some(ProviderName::parse("calcom").unwrap()),
            ..deed(40, "connection.refresh", Some("u_1"))
        },
    ];
    record(bench, &all).await;
    for (query, expected) in [
        ("user=u_1", vec![4, 1, 0]),
        ("user=u_3", vec![]),
        ("action=connection.refresh", vec![4, 2, 0]),
        ("user=u_1 action=connection.refresh", vec![4, 0]),
        ("provider=calendly", vec![2, 1, 0]),
        ("provider=calcom user=u_1", vec![4]),
        ("since=20", vec![4, 3, 2]),
        ("until=20", vec![1, 0]),
        ("since=10 until=40 user=u_1", vec![1]),
        ("since=20 until=10", vec![]),
    ] {
        let filter = only(query);
        let expected: Vec<Deed> = expected
            .into_iter()
            .map(|n: usize| all[n].clone())
            .collect();
        assert_eq!(listed(bench, &filter).await, expected, "{query}");
        let first = bench.store.deeds(&filter, None, 1).await.unwrap();
        assert_eq!(first, expected.get(..1).unwrap_or_default(), "{query}");
    }
}

pub(crate) async fn records_of_long_ago_are_forgotten_the_oldest_first(bench: &Whole) {
    let all: Vec<Deed> = (0..10)
        .map(|n| deed(n, "connection.sync", Some("u_1")))
        .collect();
    record(bench, &all).await;
    let prune = async |secs, limit| bench.store.prune_deeds(after(secs), limit).await.unwrap();
    assert_eq!(prune(0, 100).await, 0);
    assert_eq!(prune(6, 4).await, 4);
    let left = listed(bench, &DeedFilter::default()).await;
    let expected: Vec<Deed> = all[4..].iter().rev().cloned().collect();
    assert_eq!(left, expected);
    assert_eq!(prune(6, 100).await, 2);
    assert_eq!(listed(bench, &DeedFilter::default()).await.len(), 4);
    assert_eq!(prune(1000, 100).await, 4);
    assert_eq!(prune(1000, 100).await, 0);
}

/// More than any store looks at in one go.
pub(crate) async fn few_that_fit_are_found_among_many_that_do_not(bench: &Whole) {
    let rare = deed(0, "connection.disconnect", Some("rare"));
    record(bench, std::slice::from_ref(&rare)).await;
    let others: Vec<Deed> = (1..1200)
        .map(|n| deed(n, "connection.sync", Some("u_1")))
        .collect();
    let writing = others.iter().map(|deed| bench.store.record(deed));
    futures_util::future::try_join_all(writing).await.unwrap();
    let filter = DeedFilter {
        user: rare.user.clone(),
        ..DeedFilter::default()
    };
    assert_eq!(listed(bench, &filter).await, std::slice::from_ref(&rare));
    let filter = DeedFilter {
        action: Some(rare.action.clone()),
        ..DeedFilter::default()
    };
    assert_eq!(listed(bench, &filter).await, [rare]);
}
