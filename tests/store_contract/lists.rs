//! Pages, the sweep's list, the census, the check.

use std::time::Duration;

use daypass::{
    base::{
        clock::Timestamp,
        ids::{ConnectionKey, ProviderName},
    },
    store::{Census, Cooldown, Due, Filter, ReauthReason, Spent},
};

use crate::bench::{Bench, START, calendly, fence, key, new};

const DAY: Duration = Duration::from_hours(24);

/// As the sweep of these tests takes it.
const LONGEST_COOLDOWN: Duration = DAY;

/// All keys that `filter` lets through, by pages of two.
async fn walk(bench: &Bench, filter: &Filter) -> Vec<String> {
    let mut seen: Vec<ConnectionKey> = Vec::new();
    loop {
        let page = bench.store.page(filter, seen.last(), 2).await.unwrap();
        if page.is_empty() {
            return seen.iter().map(ToString::to_string).collect();
        }
        assert!(page.len() <= 2);
        seen.extend(page.into_iter().map(|connection| connection.key));
    }
}

async fn mark(bench: &Bench, key: &ConnectionKey) {
    let was = fence(&bench.read(key).await);
    let reason = ReauthReason::GrantRefused;
    bench
        .store
        .mark_needs_reauth(&was, reason, START)
        .await
        .unwrap();
}

/// Five connections at two providers, of which two need their user.
async fn five(bench: &Bench) {
    for (provider, user) in [
        ("calendly", "b"),
        ("calcom", "z"),
        ("calendly", "B"),
        ("calcom", "a"),
        ("calendly", "a"),
    ] {
        bench.save(new(&key(provider, user), "t")).await;
    }
    mark(bench, &key("calcom", "z")).await;
    mark(bench, &key("calendly", "a")).await;
}

pub(crate) async fn pages_follow_each_other_in_the_order_of_keys(bench: &Bench) {
    five(bench).await;
    let all = walk(bench, &Filter::default()).await;
    assert_eq!(
        all,
        [
            "calcom/a",
            "calcom/z",
            "calendly/B",
            "calendly/a",
            "calendly/b"
        ]
    );
    let whole = bench
        .store
        .page(&Filter::default(), None, 100)
        .await
        .unwrap();
    assert_eq!(whole[0], bench.read(&key("calcom", "a")).await);
    assert_eq!(whole.len(), 5);
    let none = bench.store.page(&Filter::default(), None, 0).await.unwrap();
    assert!(none.is_empty());
}

pub(crate) async fn pages_are_filtered(bench: &Bench) {
    five(bench).await;
    let filter = |provider: Option<&str>, needs_reauth| Filter {
        provider: provider.map(|name| ProviderName::parse(name).unwrap()),
        needs_reauth,
    };
    let cases: [(Filter, &[&str]); 5] = [
        (filter(Some("calcom"), None), &["calcom/a", "calcom/z"]),
        (filter(None, Some(true)), &["calcom/z", "calendly/a"]),
        (
            filter(None, Some(false)),
            &["calcom/a", "calendly/B", "calendly/b"],
        ),
        (
            filter(Some("calendly"), Some(false)),
            &["calendly/B", "calendly/b"],
        ),
        (filter(Some("calcom-eu"), None), &[]),
    ];
    for (filter, expected) in cases {
        assert_eq!(walk(bench, &filter).await, expected, "{filter:?}");
    }
    let only = filter(Some("calendly"), None);
    let (before, beyond) = (key("calcom", "zz"), key("zoom", "a"));
    assert_eq!(
        bench
            .store
            .page(&only, Some(&before), 9)
            .await
            .unwrap()
            .len(),
        3
    );
    assert!(
        bench
            .store
            .page(&only, Some(&beyond), 9)
            .await
            .unwrap()
            .is_empty()
    );
}

/// Saves a grant that was renewed `days` ago and whose refresh token ends in `ends` days.
async fn aged(bench: &Bench, user: &str, days: u32, ends: Option<u32>) {
    let mut aged = new(&calendly(user), "t");
    if let Some(tokens) = aged.tokens.as_mut() {
        tokens.renewed_at = START.saturating_sub(DAY * days);
        tokens.refresh_expires_at = ends.map(|ends| START.saturating_add(DAY * ends));
    }
    bench.save(aged).await;
}

/// Idle for more than seven days, or the refresh token ends within two.
async fn due(bench: &Bench, now: Timestamp, limit: usize) -> Vec<String> {
    let due = Due {
        provider: ProviderName::parse("calendly").unwrap(),
        renewed_before: START.saturating_sub(DAY * 7),
        refresh_ends_before: START.saturating_add(DAY * 2),
        now,
        longest_cooldown: now.saturating_add(LONGEST_COOLDOWN),
        limit,
    };
    let keys = bench.store.due(&due).await.unwrap();
    keys.iter().map(|key| key.user.to_string()).collect()
}

pub(crate) async fn the_sweep_gets_the_longest_due_first_and_no_more_than_asked(bench: &Bench) {
    for (user, days) in [
        ("ten", 10),
        ("thirty", 30),
        ("seven", 7),
        ("twenty", 20),
        ("one", 1),
    ] {
        aged(bench, user, days, None).await;
    }
    bench.save(new(&key("calcom", "other"), "t")).await;
    assert_eq!(due(bench, START, 9).await, ["thirty", "twenty", "ten"]);
    assert_eq!(due(bench, START, 2).await, ["thirty", "twenty"]);
    assert!(due(bench, START, 0).await.is_empty());
}

pub(crate) async fn the_sweep_leaves_out_what_cannot_be_renewed_now(bench: &Bench) {
    for user in ["cooling", "marked", "due"] {
        aged(bench, user, 30, Some(1)).await;
    }
    let mut bare = new(&calendly("bare"), "");
    bare.tokens = None;
    bench.save(bare).await;
    let mut without = new(&calendly("without-refresh-token"), "old");
    without.tokens = without.tokens.map(|tokens| daypass::store::SealedTokens {
        refresh: None,
        renewed_at: START.saturating_sub(DAY.saturating_mul(40)),
        ..tokens
    });
    bench.save(without).await;
    mark(bench, &calendly("marked")).await;
    let cooling = fence(&bench.read(&calendly("cooling")).await);
    let until = START.saturating_add(DAY);
    let cooldown = Cooldown { until, failures: 1 };
    bench
        .store
        .fail(&cooling, cooldown, Spent::No)
        .await
        .unwrap();
    assert_eq!(due(bench, START, 9).await, ["due"]);
    assert_eq!(due(bench, until, 9).await, ["cooling", "due"]);
}

pub(crate) async fn the_sweep_waits_for_no_cooldown_that_a_clock_set_back_has_made_too_long(
    bench: &Bench,
) {
    aged(bench, "cooling", 30, None).await;
    let cooling = fence(&bench.read(&calendly("cooling")).await);
    let until = START.saturating_add(DAY);
    let cooldown = Cooldown { until, failures: 1 };
    let failed = bench.store.fail(&cooling, cooldown, Spent::No).await;
    failed.unwrap();
    assert!(due(bench, START, 9).await.is_empty());
    let earlier = START.saturating_sub(Duration::from_millis(1));
    assert_eq!(due(bench, earlier, 9).await, ["cooling"]);
}

pub(crate) async fn the_sweep_includes_refresh_tokens_near_their_end(bench: &Bench) {
    aged(bench, "ends-soon", 1, Some(1)).await;
    aged(bench, "ends-late", 1, Some(9)).await;
    aged(bench, "both", 10, Some(1)).await;
    aged(bench, "old", 9, None).await;
    aged(bench, "ended", 3, Some(0)).await;
    // Due for three days, two, two, and one.
    let expected = ["both", "ended", "old", "ends-soon"];
    assert_eq!(due(bench, START, 9).await, expected);
    assert_eq!(due(bench, START, 1).await, ["both"]);
}

pub(crate) async fn the_census_counts_by_provider_and_health(bench: &Bench) {
    five(bench).await;
    let line = |provider: &str, needs_reauth, count| Census {
        provider: ProviderName::parse(provider).unwrap(),
        needs_reauth,
        count,
    };
    let expected = [
        line("calcom", false, 1),
        line("calcom", true, 1),
        line("calendly", false, 2),
        line("calendly", true, 1),
    ];
    let mut census = bench.store.census().await.unwrap();
    census.sort_by_key(|line| (line.provider.clone(), line.needs_reauth));
    assert_eq!(census, expected);
}

pub(crate) async fn an_empty_store_lists_nothing(bench: &Bench) {
    assert!(bench.store.census().await.unwrap().is_empty());
    assert!(walk(bench, &Filter::default()).await.is_empty());
    assert!(due(bench, START, 9).await.is_empty());
}

pub(crate) async fn a_store_that_works_passes_its_check(bench: &Bench) {
    bench.store.check().await.unwrap();
    bench.other.check().await.unwrap();
}
