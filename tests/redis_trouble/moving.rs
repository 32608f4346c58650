//! A cluster that moves the slot of the queue, or of a user's meetings, to another node: calls are
//! refused whole until that is done, and nothing is half done.

use std::time::Duration;

use daypass::{
    base::{ids::OwnerId, random::OsRandom},
    store::{
        Deliveries, DeliveryFilter, DeliveryStatus, Error, Existing, JobKind, Jobs, Meetings,
        Settled, redis::Redis,
    },
};

use crate::{
    servers::{Server, cli, cluster},
    world::{count, event, key, meeting, open, persist},
};

const TTL: Duration = Duration::from_secs(30);

/// Where a slot is, and where it goes.
struct Move<'a> {
    slot: String,
    from: &'a Server,
    to: &'a Server,
}

impl<'a> Move<'a> {
    fn of(tag: &str, nodes: &'a [Server]) -> Self {
        let slot = cli(nodes[0].port, &["CLUSTER", "KEYSLOT", tag]);
        let has =
            |node: &&Server| !cli(node.port, &["CLUSTER", "GETKEYSINSLOT", &slot, "1"]).is_empty();
        let from = nodes.iter().find(has).unwrap();
        let to = nodes.iter().find(|node| node.port != from.port).unwrap();
        Self { slot, from, to }
    }

    fn id(node: &Server) -> String {
        cli(node.port, &["CLUSTER", "MYID"])
    }

    fn begin(&self) {
        let set = ["CLUSTER", "SETSLOT", &self.slot];
        let (from, to) = (Self::id(self.from), Self::id(self.to));
        let importing = [&set[..], &["IMPORTING", &from]].concat();
        assert_eq!(cli(self.to.port, &importing), "OK");
        let migrating = [&set[..], &["MIGRATING", &to]].concat();
        assert_eq!(cli(self.from.port, &migrating), "OK");
    }

    /// Moves up to `count` keys.
    fn carry(&self, count: &str) {
        let keys = ["CLUSTER", "GETKEYSINSLOT", &self.slot, count];
        let keys = cli(self.from.port, &keys);
        let keys: Vec<&str> = keys.lines().collect();
        if keys.is_empty() {
            return;
        }
        let port = self.to.port.to_string();
        let to = ["MIGRATE", "127.0.0.1", &port, "", "0", "5000", "KEYS"];
        assert_eq!(cli(self.from.port, &[&to[..], &keys].concat()), "OK");
    }

    fn end(&self) {
        self.carry("100000");
        for node in [self.to, self.from] {
            let node_id = Self::id(self.to);
            let set = ["CLUSTER", "SETSLOT", &self.slot, "NODE", &node_id];
            assert_eq!(cli(node.port, &set), "OK");
        }
    }
}

async fn opened(nodes: &[Server]) -> Redis {
    let url = format!("redis-cluster://127.0.0.1:{}", nodes[0].port);
    open(&url).await.unwrap()
}

fn is_unavailable<T: std::fmt::Debug>(outcome: Result<T, Error>) {
    let error = outcome.unwrap_err();
    assert!(matches!(error, Error::Unavailable { .. }), "{error:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn while_the_queue_moves_it_is_unavailable_and_nothing_is_half_done() {
    let nodes = cluster();
    let store = opened(&nodes).await;
    let me = OwnerId::random(&OsRandom);
    store.accept(event("first", &["anna"])).await.unwrap();
    for n in 0..10 {
        let users = [format!("user-{n}"), "anna".to_owned()];
        let users = [users[0].as_str(), users[1].as_str()];
        store
            .accept(event(&format!("event {n}"), &users))
            .await
            .unwrap();
    }
    let claimed = store.claim_lines(me, TTL, 1).await.unwrap();
    let before = store
        .deliveries(&DeliveryFilter::default(), None, 100)
        .await
        .unwrap();
    let way = Move::of("daypass:q", &nodes);
    way.begin();
    for moved in ["1", "10", "20"] {
        way.carry(moved);
        let (id, delivered) = (claimed[0].delivery.id, Settled::Delivered);
        let (new, known, settled, due) = tokio::join!(
            store.accept(event("late", &["anna"])),
            store.accept(event("event 3", &["ben"])),
            store.settle(id, me, delivered),
            store.claim_lines(me, TTL, 10),
        );
        is_unavailable(new);
        is_unavailable(known);
        is_unavailable(settled);
        is_unavailable(due);
    }
    way.end();
    let after = persist(async || {
        store
            .deliveries(&DeliveryFilter::default(), None, 100)
            .await
    });
    assert_eq!(after.await, before);
    assert!(
        store
            .settle(claimed[0].delivery.id, me, Settled::Delivered)
            .await
            .unwrap()
    );
    assert_eq!(store.claim_lines(me, TTL, 20).await.unwrap().len(), 11);
    store.accept(event("late", &["anna"])).await.unwrap();
    assert_eq!(count(&store, DeliveryStatus::Pending).await, 21);
}

#[tokio::test(flavor = "multi_thread")]
async fn while_jobs_and_meetings_move_nothing_is_half_done() {
    let nodes = cluster();
    let store = opened(&nodes).await;
    let (anna, sync) = (key("anna"), JobKind::Sync);
    let asked = store.schedule(sync, &anna, None, TTL, Existing::Hasten);
    asked.await.unwrap();
    let job = store.job(sync, &anna).await.unwrap();
    store.upsert_meetings(vec![meeting("m1")]).await.unwrap();
    let ways = [
        Move::of("daypass:sync", &nodes),
        Move::of("daypass:0i", &nodes),
    ];
    for way in &ways {
        way.begin();
        way.carry("1");
    }
    let batch = vec![meeting("m1"), meeting("m2")];
    let (asked, canceled, written, forgotten) = tokio::join!(
        store.schedule(sync, &anna, None, Duration::ZERO, Existing::Replace),
        store.cancel(sync, &anna),
        store.upsert_meetings(batch),
        store.forget_meetings(&anna),
    );
    is_unavailable(asked);
    is_unavailable(canceled);
    is_unavailable(written);
    is_unavailable(forgotten);
    for way in &ways {
        way.end();
    }
    assert_eq!(persist(async || store.job(sync, &anna).await).await, job);
    assert!(store.cancel(sync, &anna).await.unwrap());
    assert_eq!(store.forget_meetings(&anna).await.unwrap(), 1);
}
