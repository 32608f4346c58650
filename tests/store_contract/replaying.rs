//! Replaying what was delivered, given up, or waits.

use daypass::store::{Delivery, DeliveryFilter, DeliveryId, DeliveryStatus, Settled};
use futures_util::future::join_all;

use crate::{
    bench::{START, owner},
    events::{HOLD, SECOND, Whole, dead, failed, nobodys, only},
};

async fn replay(bench: &Whole, id: DeliveryId) -> bool {
    bench.other.replay(id).await.unwrap()
}

pub(crate) async fn a_replayed_delivery_is_the_same_at_the_end_of_its_line(bench: &Whole) {
    for settled in [Settled::Delivered, dead()] {
        let me = owner();
        let event = bench.receive(&format!("one {settled:?}"), &["anna"]).await;
        let was = bench.claim_one(me).await;
        assert!(bench.settle(was.id, me, failed(0)).await);
        bench.claim_one(me).await;
        assert!(bench.settle(was.id, me, settled.clone()).await);
        bench.receive(&format!("two {settled:?}"), &["anna"]).await;
        bench.clock.advance(SECOND);
        assert!(replay(bench, was.id).await);
        let expected = Delivery {
            event,
            at: bench.look(was.id).await.at,
            ..was.clone()
        };
        assert_eq!(
            bench.look(was.id).await,
            expected,
            "as if it had never been tried"
        );
        assert!(expected.at > START);
        let two = bench.claim_one(me).await;
        assert_ne!(two.id, was.id);
        assert!(bench.settle(two.id, me, Settled::Delivered).await);
        let again = bench.claim(me).await.remove(0);
        assert_eq!(again.delivery, expected);
        assert_eq!(
            again.payload,
            crate::events::payload(&format!("one {settled:?}"))
        );
        assert!(bench.settle(was.id, me, Settled::Delivered).await);
        let after = bench.look(was.id).await;
        assert_eq!(
            (after.status, after.attempts),
            (DeliveryStatus::Delivered, 1)
        );
        assert!(bench.claim(me).await.is_empty());
    }
}

pub(crate) async fn a_replayed_delivery_does_not_overtake_what_waits(bench: &Whole) {
    bench.receive("one", &["anna"]).await;
    let me = owner();
    let one = bench.claim_one(me).await;
    assert!(bench.settle(one.id, me, dead()).await);
    bench.receive("two", &["anna"]).await;
    let two = bench.claim_one(me).await;
    assert!(bench.settle(two.id, me, failed(60)).await);
    assert!(replay(bench, one.id).await);
    assert!(
        bench.claim(me).await.is_empty(),
        "the line waits for its first"
    );
    bench.receive("three", &["anna"]).await;
    bench.clock.advance(SECOND * 60);
    assert_eq!(
        bench.drain().await,
        ["anna: two", "anna: one", "anna: three"]
    );
}

pub(crate) async fn replaying_joins_a_line_that_is_being_worked_on(bench: &Whole) {
    bench.receive("one", &["anna"]).await;
    let me = owner();
    let one = bench.claim_one(me).await;
    assert!(bench.settle(one.id, me, Settled::Delivered).await);
    bench.receive("two", &["anna"]).await;
    let two = bench.claim_one(me).await;
    assert!(replay(bench, one.id).await);
    assert!(bench.claim(owner()).await.is_empty());
    assert!(bench.settle(two.id, me, Settled::Delivered).await);
    assert_eq!(bench.drain().await, ["anna: one"]);
}

pub(crate) async fn replaying_what_waits_makes_it_due_at_once(bench: &Whole) {
    bench.receive("one", &["anna"]).await;
    let me = owner();
    let was = bench.claim_one(me).await;
    assert!(bench.settle(was.id, me, failed(60)).await);
    bench.receive("two", &["anna"]).await;
    bench.clock.advance(SECOND);
    assert!(replay(bench, was.id).await);
    let expected = Delivery {
        attempts: 1,
        first_tried_at: Some(START),
        at: START.saturating_add(SECOND),
        last_error: Some("HTTP 500".to_owned()),
        ..was
    };
    assert_eq!(
        bench.claim_one(me).await,
        expected,
        "it keeps place and attempts"
    );
    assert!(bench.settle(expected.id, me, failed(0)).await);
    assert_eq!(bench.drain().await, ["anna: one", "anna: two"]);
}

pub(crate) async fn replaying_a_later_one_does_not_hasten_the_first(bench: &Whole) {
    bench.receive("one", &["anna"]).await;
    bench.receive("two", &["anna"]).await;
    let me = owner();
    let one = bench.claim_one(me).await;
    assert!(bench.settle(one.id, me, failed(60)).await);
    let two = bench.list(&DeliveryFilter::default()).await.remove(0);
    assert!(replay(bench, two.id).await);
    assert!(bench.claim(me).await.is_empty());
    bench.clock.advance(SECOND * 60);
    assert_eq!(bench.drain().await, ["anna: one", "anna: two"]);
}

pub(crate) async fn replaying_what_is_being_tried_leaves_it_to_its_worker(bench: &Whole) {
    bench.receive("one", &["anna"]).await;
    let me = owner();
    let one = bench.claim_one(me).await;
    bench.clock.advance(SECOND);
    assert!(replay(bench, one.id).await);
    assert!(bench.claim(owner()).await.is_empty());
    bench.clock.advance(HOLD.saturating_sub(SECOND * 2));
    assert!(bench.claim(owner()).await.is_empty());
    assert!(bench.settle(one.id, me, Settled::Delivered).await);
    assert!(bench.claim(owner()).await.is_empty());
}

pub(crate) async fn of_many_who_replay_a_delivery_all_put_it_in_line_once(bench: &Whole) {
    bench.receive("one", &["anna"]).await;
    let me = owner();
    let one = bench.claim_one(me).await;
    assert!(bench.settle(one.id, me, dead()).await);
    let replayed = join_all((0..20).map(async |n| {
        let store = if n % 2 == 0 {
            &bench.store
        } else {
            &bench.other
        };
        store.replay(one.id).await.unwrap()
    }))
    .await;
    assert_eq!(replayed, [true; 20]);
    assert_eq!(bench.drain().await, ["anna: one"]);
}

pub(crate) async fn what_is_nobodys_or_unknown_is_not_replayed(bench: &Whole) {
    bench.accept(nobodys("one", &["account"])).await;
    let unrouted = bench.list(&only(DeliveryStatus::Unrouted)).await.remove(0);
    assert!(!replay(bench, unrouted.id).await);
    assert!(!replay(bench, DeliveryId(u64::MAX / 4)).await);
    assert!(!replay(bench, DeliveryId(u64::MAX)).await);
    assert!(bench.claim(owner()).await.is_empty());
    assert_eq!(bench.look(unrouted.id).await, unrouted);
}
