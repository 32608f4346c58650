//! Leases: one holder at a time, and an end that comes by itself.

use std::time::Duration;

use daypass::{base::clock::Timestamp, store::Lease};
use futures_util::future::join_all;

use crate::bench::{Bench, START, TTL, calendly, fence, owner, renewed, tokens};

const SECOND: Duration = Duration::from_secs(1);

/// A second short of a lease.
const NEARLY: Duration = Duration::from_secs(29);

pub(crate) async fn only_one_of_many_gets_the_lease(bench: &Bench) {
    let anna = bench.connect("anna").await.key;
    for _round in 0..10 {
        let asked = (0..20).map(async |n| {
            let store = if n % 2 == 0 {
                &bench.store
            } else {
                &bench.other
            };
            let me = owner();
            (me, store.acquire(&anna, me, TTL).await.unwrap())
        });
        let answers = join_all(asked).await;
        let winners: Vec<_> = answers
            .iter()
            .filter(|(_, lease)| matches!(lease, Lease::Granted(_)))
            .collect();
        assert_eq!(winners.len(), 1, "{answers:?}");
        assert!(bench.store.release(&anna, winners[0].0).await.unwrap());
    }
}

pub(crate) async fn the_holder_gets_its_lease_again(bench: &Bench) {
    let (anna, me) = (bench.connect("anna").await.key, owner());
    bench.lease(&anna, me).await;
    bench.clock.advance(NEARLY);
    bench.lease(&anna, me).await;
    bench.clock.advance(NEARLY);
    let asked = bench.other.acquire(&anna, owner(), TTL).await.unwrap();
    assert!(
        matches!(asked, Lease::Held(left) if left == SECOND),
        "{asked:?}"
    );
}

pub(crate) async fn a_lease_ends_by_itself(bench: &Bench) {
    let anna = bench.connect("anna").await.key;
    bench.lease(&anna, owner()).await;
    bench.clock.advance(NEARLY);
    let asked = bench.other.acquire(&anna, owner(), TTL).await.unwrap();
    assert!(
        matches!(asked, Lease::Held(left) if left == SECOND),
        "{asked:?}"
    );
    bench.clock.advance(SECOND);
    let asked = bench.other.acquire(&anna, owner(), TTL).await.unwrap();
    assert!(matches!(asked, Lease::Granted(_)), "{asked:?}");
}

pub(crate) async fn a_lease_that_ended_is_neither_prolonged_nor_given_back(bench: &Bench) {
    let (anna, me) = (bench.connect("anna").await.key, owner());
    bench.lease(&anna, me).await;
    bench.clock.advance(TTL);
    assert!(!bench.store.extend(&anna, me, TTL).await.unwrap());
    assert!(!bench.store.release(&anna, me).await.unwrap());
}

pub(crate) async fn the_loser_of_an_expired_lease_cannot_release_the_winners(bench: &Bench) {
    let (anna, slow, quick) = (bench.connect("anna").await.key, owner(), owner());
    bench.lease(&anna, slow).await;
    bench.clock.advance(TTL);
    bench.lease(&anna, quick).await;
    assert!(!bench.store.release(&anna, slow).await.unwrap());
    assert!(!bench.store.extend(&anna, slow, TTL).await.unwrap());
    let third = bench.other.acquire(&anna, owner(), TTL).await.unwrap();
    assert!(
        matches!(third, Lease::Held(left) if left == TTL),
        "{third:?}"
    );
}

pub(crate) async fn a_prolonged_lease_outlives_its_first_end(bench: &Bench) {
    let (anna, me) = (bench.connect("anna").await.key, owner());
    bench.lease(&anna, me).await;
    for _ in 0..3 {
        bench.clock.advance(NEARLY);
        assert!(bench.store.extend(&anna, me, TTL).await.unwrap());
    }
    let asked = bench.other.acquire(&anna, owner(), TTL).await.unwrap();
    assert!(
        matches!(asked, Lease::Held(left) if left == TTL),
        "{asked:?}"
    );
}

pub(crate) async fn a_lease_given_back_is_free_at_once(bench: &Bench) {
    let (anna, me) = (bench.connect("anna").await.key, owner());
    bench.lease(&anna, me).await;
    assert!(bench.store.release(&anna, me).await.unwrap());
    assert!(!bench.store.release(&anna, me).await.unwrap());
    let asked = bench.other.acquire(&anna, owner(), TTL).await.unwrap();
    assert!(matches!(asked, Lease::Granted(_)), "{asked:?}");
}

pub(crate) async fn there_is_no_lease_without_a_connection(bench: &Bench) {
    let nobody = calendly("nobody");
    let asked = bench.store.acquire(&nobody, owner(), TTL).await.unwrap();
    assert!(matches!(asked, Lease::Gone), "{asked:?}");
    assert!(!bench.store.extend(&nobody, owner(), TTL).await.unwrap());
    assert!(!bench.store.release(&nobody, owner()).await.unwrap());
}

pub(crate) async fn removal_ends_the_lease(bench: &Bench) {
    let (anna, me) = (bench.connect("anna").await.key, owner());
    bench.lease(&anna, me).await;
    bench.store.remove(&anna).await.unwrap();
    assert!(!bench.store.extend(&anna, me, TTL).await.unwrap());
    bench.connect("anna").await;
    bench.lease(&anna, owner()).await;
}

pub(crate) async fn the_connection_is_read_under_the_lease(bench: &Bench) {
    let first = bench.connect("anna").await;
    bench
        .other
        .commit(&fence(&first), renewed("second"))
        .await
        .unwrap();
    let read = bench.lease(&first.key, owner()).await;
    assert_eq!(read.tokens, Some(tokens("second")));
    assert_eq!(read.generation, first.generation.next());
}

pub(crate) async fn leases_of_different_connections_are_independent(bench: &Bench) {
    let (anna, ben) = (
        bench.connect("anna").await.key,
        bench.connect("ben").await.key,
    );
    let me = owner();
    bench.lease(&anna, me).await;
    bench.lease(&ben, owner()).await;
    assert!(!bench.store.release(&ben, me).await.unwrap());
    assert!(bench.store.release(&anna, me).await.unwrap());
}

pub(crate) async fn a_clock_that_was_set_back_does_not_lock_everybody_out(bench: &Bench) {
    let anna = bench.connect("anna").await.key;
    bench.clock.advance(Duration::from_hours(1000));
    bench.lease(&anna, owner()).await;
    bench.clock.set(START);
    let asked = bench.other.acquire(&anna, owner(), TTL).await.unwrap();
    assert!(
        matches!(asked, Lease::Held(left) if left <= TTL),
        "{asked:?}"
    );
    bench
        .clock
        .set(Timestamp::from_secs(START.as_secs()).saturating_add(TTL));
    let asked = bench.other.acquire(&anna, owner(), TTL).await.unwrap();
    assert!(matches!(asked, Lease::Granted(_)), "{asked:?}");
}
