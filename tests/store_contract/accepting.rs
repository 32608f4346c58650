//! Accepting events: once each, for everybody whom they are for.

use daypass::{
    base::ids::EventId,
    store::{Accepted, Delivery, DeliveryFilter, DeliveryStatus, seal::Sealed},
};
use futures_util::future::{join, join_all};

use crate::{
    bench::{START, key, owner},
    events::{SECOND, Whole, event, payload, user},
};

fn all() -> DeliveryFilter {
    DeliveryFilter::default()
}

/// As what known event, with how many new recipients.
fn known(accepted: Accepted) -> (EventId, usize) {
    match accepted {
        Accepted::Known { id, added } => (id, added),
        Accepted::New { id } => panic!("{id} was not known"),
    }
}

pub(crate) async fn an_accepted_event_is_handed_out_as_it_came(bench: &Whole) {
    let mut asked = event("one", &["anna"]);
    asked.at = START.saturating_sub(SECOND);
    let (id, provider) = (asked.id, asked.provider.clone());
    assert_eq!(bench.accept(asked).await, Accepted::New { id });
    let claimed = bench.claim(owner()).await;
    assert_eq!(claimed.len(), 1);
    assert_eq!(claimed[0].payload, payload("one"));
    let delivery = &claimed[0].delivery;
    let expected = Delivery {
        id: delivery.id,
        event: id,
        name: "one.created".to_owned(),
        provider,
        user: Some(user("anna")),
        status: DeliveryStatus::Pending,
        attempts: 0,
        accepted_at: START.saturating_sub(SECOND),
        first_tried_at: None,
        at: START,
        last_error: None,
    };
    assert_eq!(delivery, &expected);
    assert_eq!(bench.look(delivery.id).await, expected);
}

pub(crate) async fn a_payload_of_any_bytes_reads_back_as_it_was(bench: &Whole) {
    let all: Vec<u8> = (0..=255).cycle().take(100_000).collect();
    for (name, bytes) in [("large", all), ("empty", Vec::new())] {
        let mut asked = event(name, &[name]);
        asked.payload = Sealed::from_bytes(bytes);
        let expected = asked.payload.clone();
        bench.accept(asked).await;
        let claimed = bench.claim(owner()).await;
        assert_eq!(claimed[0].payload, expected);
        let read = bench.other.delivery(claimed[0].delivery.id).await.unwrap();
        assert_eq!(read.unwrap().payload, expected);
    }
}

pub(crate) async fn the_same_event_again_adds_nothing(bench: &Whole) {
    let id = bench.receive("one", &["anna", "ben"]).await;
    let mut again = event("one", &["ben", "anna"]);
    again.payload = payload("another");
    again.provider = key("calcom", "x").provider;
    let accepted = bench.other.accept(again).await.unwrap();
    assert_eq!(known(accepted), (id, 0));
    assert_eq!(bench.drain().await.len(), 2);
    let accepted = bench.accept(event("one", &["anna"])).await;
    assert_eq!(known(accepted), (id, 0), "delivered is no less known");
    assert_eq!(known(bench.accept(event("one", &[])).await), (id, 0));
    assert!(bench.drain().await.is_empty());
    assert_eq!(bench.told(&all()).await.len(), 2);
}

pub(crate) async fn events_of_other_content_are_others(bench: &Whole) {
    let mut one = event("one", &["anna"]);
    let mut two = event("one", &["anna"]);
    one.dedupe[31] = 0;
    two.dedupe[31] = 1;
    bench.accept(one).await;
    let accepted = bench.accept(two).await;
    assert!(matches!(accepted, Accepted::New { .. }), "{accepted:?}");
    assert_eq!(bench.drain().await, ["anna: one", "anna: one"]);
}

pub(crate) async fn each_recipient_gets_the_event_once(bench: &Whole) {
    bench.receive("one", &["ben", "anna", "ben", "Anna"]).await;
    let mut told = bench.told(&all()).await;
    told.sort();
    assert_eq!(told, ["Anna: one", "anna: one", "ben: one"]);
    assert_eq!(bench.drain().await.len(), 3);
}

pub(crate) async fn a_user_of_two_providers_gets_an_event_once(bench: &Whole) {
    let mut asked = event("one", &["anna"]);
    asked.recipients.push(key("calcom", "anna"));
    bench.accept(asked).await;
    assert_eq!(bench.drain().await, ["anna: one"]);
}

pub(crate) async fn a_known_event_is_delivered_to_whom_it_lacked(bench: &Whole) {
    let id = bench.receive("one", &["anna"]).await;
    assert_eq!(bench.drain().await, ["anna: one"]);
    let accepted = bench
        .accept(event("one", &["anna", "ben", "carl", "ben"]))
        .await;
    assert_eq!(known(accepted), (id, 2));
    let mut drained = bench.drain().await;
    drained.sort();
    assert_eq!(drained, ["ben: one", "carl: one"]);
    assert_eq!(bench.list(&all()).await[0].event, id);
    assert_eq!(known(bench.accept(event("one", &["carl"])).await), (id, 0));
}

pub(crate) async fn of_many_who_accept_one_event_one_makes_it(bench: &Whole) {
    for round in 0..10 {
        let name = format!("round-{round}");
        let accepted = join_all((0..20).map(async |n| {
            let store = if n % 2 == 0 {
                &bench.store
            } else {
                &bench.other
            };
            let own = ["ben", "carl", "dora"][n % 3];
            store.accept(event(&name, &["anna", own])).await.unwrap()
        }))
        .await;
        let made = accepted.iter().find_map(|accepted| match accepted {
            Accepted::New { id } => Some(*id),
            Accepted::Known { .. } => None,
        });
        let mut added = 0;
        let mut new = 0;
        for accepted in &accepted {
            match accepted {
                Accepted::New { .. } => new += 1,
                Accepted::Known { id, added: more } => {
                    assert_eq!(Some(*id), made);
                    added += more;
                }
            }
        }
        assert_eq!((new, added), (1, 2), "{accepted:?}");
        let mut drained = bench.drain().await;
        drained.sort();
        let each = ["anna", "ben", "carl", "dora"].map(|user| format!("{user}: {name}"));
        assert_eq!(drained, each);
    }
}

pub(crate) async fn what_two_processes_accept_keeps_the_order_of_each(bench: &Whole) {
    let process = async |store: &dyn daypass::store::Everything, name: &str| {
        for n in 10..30 {
            let event = event(&format!("{name}{n}"), &["anna", "ben"]);
            store.accept(event).await.unwrap();
        }
    };
    join(process(&*bench.store, "a"), process(&*bench.other, "b")).await;
    let drained = bench.drain().await;
    assert_eq!(drained.len(), 80);
    for user in ["anna", "ben"] {
        for process in ["a", "b"] {
            let prefix = format!("{user}: {process}");
            let got: Vec<&String> = drained.iter().filter(|d| d.starts_with(&prefix)).collect();
            assert_eq!(got.len(), 20);
            assert!(got.is_sorted(), "{got:?}");
        }
    }
}
