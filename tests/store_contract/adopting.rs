//! Events that are nobody's, until somebody's they are.

use daypass::store::{Accepted, Delivery, DeliveryFilter, DeliveryStatus, Settled};
use futures_util::future::{join, join_all, join3};

use crate::{
    bench::{START, calendly, key, owner},
    events::{SECOND, Whole, event, nobodys, only, payload, told, user},
};

async fn adopt(bench: &Whole, account: &str, user: &str) -> u64 {
    bench.other.adopt(account, &calendly(user)).await.unwrap()
}

async fn unrouted(bench: &Whole) -> Vec<String> {
    bench.told(&only(DeliveryStatus::Unrouted)).await
}

pub(crate) async fn an_event_that_is_nobodys_is_kept_and_not_handed_out(bench: &Whole) {
    let asked = nobodys("one", &["U1", "U2"]);
    let id = asked.id;
    assert_eq!(bench.accept(asked).await, Accepted::New { id });
    assert!(bench.claim(owner()).await.is_empty());
    let listed = bench.list(&DeliveryFilter::default()).await;
    assert_eq!(listed.len(), 1);
    let expected = Delivery {
        id: listed[0].id,
        event: id,
        name: "one.created".to_owned(),
        provider: key("calendly", "x").provider,
        user: None,
        status: DeliveryStatus::Unrouted,
        attempts: 0,
        accepted_at: START,
        first_tried_at: None,
        at: listed[0].at,
        last_error: None,
    };
    assert_eq!(listed[0], expected);
    let read = bench.other.delivery(expected.id).await.unwrap().unwrap();
    assert_eq!((read.delivery, read.payload), (expected, payload("one")));
}

pub(crate) async fn who_connects_an_account_gets_what_waited_for_it_in_order(bench: &Whole) {
    for (name, accounts) in [
        ("c", &["U1"][..]),
        ("a", &["U2", "U1"]),
        ("other", &["U3"]),
        ("b", &["U1"]),
        ("none", &[]),
    ] {
        bench.accept(nobodys(name, accounts)).await;
    }
    bench.receive("before", &["anna"]).await;
    bench.clock.advance(SECOND);
    assert_eq!(adopt(bench, "U1", "anna").await, 3);
    assert_eq!(unrouted(bench).await, ["nobody: other", "nobody: none"]);
    let waiting = bench.list(&only(DeliveryStatus::Pending)).await;
    let c = waiting.iter().find(|d| told(d) == "anna: c").unwrap();
    assert_eq!(c.user, Some(user("anna")));
    assert_eq!(c.accepted_at, START);
    assert_eq!((c.attempts, &c.last_error), (0, &None));
    bench.receive("after", &["anna"]).await;
    assert_eq!(
        bench.drain().await,
        ["before", "c", "a", "b", "after"].map(|name| format!("anna: {name}"))
    );
    for account in ["U1", "U2"] {
        assert_eq!(adopt(bench, account, "ben").await, 0, "it is somebody's");
    }
    assert_eq!(adopt(bench, "U3", "anna").await, 1);
    assert_eq!(bench.drain().await, ["anna: other"]);
}

pub(crate) async fn an_account_of_another_provider_is_another(bench: &Whole) {
    bench.accept(nobodys("one", &["U1"])).await;
    let stranger = bench.store.adopt("U1", &key("calcom", "anna")).await;
    assert_eq!(stranger.unwrap(), 0);
    for account in ["u1", "U", "U11", "", "%"] {
        assert_eq!(adopt(bench, account, "anna").await, 0, "{account}");
    }
    assert_eq!(adopt(bench, "U1", "anna").await, 1);
}

pub(crate) async fn adopting_joins_a_line_that_is_being_worked_on(bench: &Whole) {
    bench.receive("one", &["anna"]).await;
    bench.accept(nobodys("two", &["U1"])).await;
    let me = owner();
    let one = bench.claim_one(me).await;
    assert_eq!(adopt(bench, "U1", "anna").await, 1);
    assert!(bench.claim(owner()).await.is_empty());
    assert!(bench.settle(one.id, me, Settled::Delivered).await);
    assert_eq!(bench.drain().await, ["anna: two"]);
}

pub(crate) async fn what_comes_again_with_recipients_waits_no_longer(bench: &Whole) {
    let first = nobodys("one", &["U1", "U2"]);
    let id = first.id;
    bench.accept(first).await;
    let again = bench.accept(event("one", &["ben", "carl"])).await;
    assert_eq!(again, Accepted::Known { id, added: 2 });
    assert!(unrouted(bench).await.is_empty());
    assert_eq!(bench.list(&DeliveryFilter::default()).await.len(), 2);
    assert_eq!(adopt(bench, "U1", "anna").await, 0);
    let mut drained = bench.drain().await;
    drained.sort();
    assert_eq!(drained, ["ben: one", "carl: one"]);
}

pub(crate) async fn what_comes_again_as_nobodys_waits_for_all_its_accounts(bench: &Whole) {
    let first = nobodys("one", &["U1"]);
    let id = first.id;
    bench.accept(first).await;
    let again = bench.accept(nobodys("one", &["U2", "U1"])).await;
    assert_eq!(again, Accepted::Known { id, added: 0 });
    assert_eq!(unrouted(bench).await, ["nobody: one"]);
    assert_eq!(adopt(bench, "U2", "anna").await, 1);
    assert_eq!(adopt(bench, "U1", "ben").await, 0);
    assert_eq!(bench.drain().await, ["anna: one"]);
}

pub(crate) async fn an_adopted_event_that_comes_again_is_known(bench: &Whole) {
    let first = nobodys("one", &["U1"]);
    let id = first.id;
    bench.accept(first).await;
    assert_eq!(adopt(bench, "U1", "anna").await, 1);
    let again = bench.accept(event("one", &["anna"])).await;
    assert_eq!(again, Accepted::Known { id, added: 0 });
    let again = bench.accept(nobodys("one", &["U1", "U9"])).await;
    assert_eq!(again, Accepted::Known { id, added: 0 });
    assert!(unrouted(bench).await.is_empty());
    assert_eq!(adopt(bench, "U9", "ben").await, 0);
    let again = bench.accept(event("one", &["ben"])).await;
    assert_eq!(again, Accepted::Known { id, added: 1 });
    let mut drained = bench.drain().await;
    drained.sort();
    assert_eq!(drained, ["anna: one", "ben: one"]);
}

pub(crate) async fn of_many_who_adopt_an_event_one_gets_it(bench: &Whole) {
    for round in 0..10 {
        bench
            .accept(nobodys(&format!("round-{round}"), &["U1", "U2"]))
            .await;
        let adopted = join_all((0..10).map(async |n| {
            let store = if n % 2 == 0 {
                &bench.store
            } else {
                &bench.other
            };
            let account = if n % 3 == 0 { "U1" } else { "U2" };
            store
                .adopt(account, &calendly(&format!("user-{n}")))
                .await
                .unwrap()
        }))
        .await;
        assert_eq!(adopted.iter().sum::<u64>(), 1, "{adopted:?}");
        assert_eq!(bench.drain().await.len(), 1);
    }
}

pub(crate) async fn an_event_adopted_while_it_comes_again_is_delivered_once_to_each(bench: &Whole) {
    for round in 0..20 {
        let name = format!("round-{round}");
        bench.accept(nobodys(&name, &["U1"])).await;
        let anna = calendly("anna");
        let adopting = bench.store.adopt("U1", &anna);
        let again = bench.other.accept(event(&name, &["anna"]));
        let (adopted, again) = join(adopting, again).await;
        let Accepted::Known { added, .. } = again.unwrap() else {
            panic!("it was known");
        };
        assert_eq!(adopted.unwrap() + added as u64, 1);
        assert!(unrouted(bench).await.is_empty());
        assert_eq!(bench.drain().await, [format!("anna: {name}")]);
    }
}

pub(crate) async fn an_event_that_comes_as_nobodys_and_as_somebodys_at_once_is_somebodys(
    bench: &Whole,
) {
    for round in 0..20 {
        let name = format!("round-{round}");
        let nobodys = bench.store.accept(nobodys(&name, &["U1"]));
        let annas = bench.other.accept(event(&name, &["anna"]));
        let (first, second) = join(nobodys, annas).await;
        let new = |accepted| matches!(accepted, Accepted::New { .. });
        assert!(new(first.unwrap()) != new(second.unwrap()));
        assert!(unrouted(bench).await.is_empty());
        assert_eq!(adopt(bench, "U1", "ben").await, 0);
        assert_eq!(bench.drain().await, [format!("anna: {name}")]);
    }
}

pub(crate) async fn much_that_waits_is_given_whole_and_in_order_while_others_go_on(bench: &Whole) {
    // More than a store may give away in one step.
    const COUNT: u64 = 230;
    for number in 0..COUNT {
        bench
            .accept(nobodys(&format!("{number:03}"), &["U1"]))
            .await;
    }
    let (anna, ben) = (calendly("anna"), calendly("ben"));
    let to_anna = bench.store.adopt("U1", &anna);
    let to_ben = bench.other.adopt("U1", &ben);
    let others = async {
        for number in 0..10 {
            let name = format!("other-{number}");
            bench.store.accept(event(&name, &["carl"])).await.unwrap();
        }
    };
    let (annas, bens, ()) = join3(to_anna, to_ben, others).await;
    let (annas, bens) = (annas.unwrap(), bens.unwrap());
    assert_eq!(annas + bens, COUNT, "each is given once");
    assert!(unrouted(bench).await.is_empty());
    assert_eq!(adopt(bench, "U1", "anna").await, 0);
    let first = bench.claim(owner()).await;
    assert!(
        first
            .iter()
            .any(|claimed| told(&claimed.delivery) == "carl: other-0")
    );
    bench.clock.advance(SECOND * 60);
    let drained = bench.drain().await;
    for (user, count) in [("anna: ", annas), ("ben: ", bens), ("carl: ", 10)] {
        let of_user = drained.iter().filter(|told| told.starts_with(user));
        let of_user: Vec<&String> = of_user.collect();
        assert_eq!(of_user.len() as u64, count, "{user}");
        assert!(of_user.is_sorted(), "{user}: {of_user:?}");
    }
}
