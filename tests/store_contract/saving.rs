//! Saving, replacing and removing connections.

use daypass::{
    base::ids::Generation,
    store::{Begun, Fenced, Lease, ReauthReason, Redemption, Saved, Spent, Status},
};
use futures_util::future::join_all;

use crate::bench::{
    Bench, START, TTL, calendly, cooldown, fence, key, new, owner, renewed, tokens,
};

pub(crate) async fn a_saved_connection_reads_back_as_it_was(bench: &Bench) {
    let mut asked = new(&key("calcom", "anna"), "first");
    asked.managed_user_id = Some(-7);
    let given = asked.clone();
    let saved = bench.store.save(vec![asked]).await.unwrap();
    let [Saved::Created(created)] = saved.as_slice() else {
        panic!("{saved:?}");
    };
    let read = bench.read(&given.key).await;
    assert_eq!(&read, created);
    assert_eq!(read.id, given.id);
    assert_eq!(read.generation, Generation::new(1));
    assert_eq!(read.status, Status::Active);
    assert_eq!(read.tokens, given.tokens);
    assert_eq!(read.external_id, given.external_id);
    assert_eq!(read.organization, given.organization);
    assert_eq!(read.managed_user_id, Some(-7));
    assert_eq!(read.scope, given.scope);
    assert_eq!(
        (read.intent, read.cooldown, read.forced_at),
        (None, None, None)
    );
    assert_eq!(read.created_at, START);
}

pub(crate) async fn a_key_that_was_never_saved_is_absent(bench: &Bench) {
    assert_eq!(bench.store.load(&calendly("nobody")).await.unwrap(), None);
    assert_eq!(bench.store.remove(&calendly("nobody")).await.unwrap(), None);
}

pub(crate) async fn a_managed_user_without_tokens_starts_at_generation_zero(bench: &Bench) {
    let mut asked = new(&key("calcom", "anna"), "");
    asked.tokens = None;
    let connection = bench.save(asked).await;
    assert_eq!(connection.generation, Generation::NONE);
    assert_eq!(connection.tokens, None);
    let committed = bench
        .store
        .commit(&fence(&connection), renewed("minted"))
        .await;
    committed.unwrap();
    let read = bench.read(&connection.key).await;
    assert_eq!(read.generation, Generation::new(1));
    assert_eq!(read.tokens, Some(tokens("minted")));
}

pub(crate) async fn replacing_keeps_the_identity_and_raises_the_generation(bench: &Bench) {
    let first = bench.connect("anna").await;
    let mut again = new(&first.key, "second");
    again.external_id = None;
    let saved = bench.store.save(vec![again]).await.unwrap();
    let [Saved::Replaced(replaced)] = saved.as_slice() else {
        panic!("{saved:?}");
    };
    assert_eq!(replaced.id, first.id);
    assert_eq!(replaced.generation, first.generation.next());
    assert_eq!(replaced.tokens, Some(tokens("second")));
    assert_eq!(replaced.external_id, None, "the account may be another");
    assert_eq!(replaced.created_at, first.created_at);
    assert_eq!(&bench.read(&first.key).await, replaced);
}

pub(crate) async fn a_reconnect_clears_cooldown_intent_and_mark(bench: &Bench) {
    let (first, me) = (bench.connect("anna").await, owner());
    let was = fence(&first);
    bench.lease(&first.key, me).await;
    let begun = bench.store.begin(&was, me, Redemption::Force, START).await;
    assert!(matches!(begun.unwrap(), Begun::Recorded { attempts: 1 }));
    bench
        .store
        .fail(&was, cooldown(), Spent::Maybe)
        .await
        .unwrap();
    let reason = ReauthReason::GrantRefused;
    bench
        .store
        .mark_needs_reauth(&was, reason, START)
        .await
        .unwrap();
    let marked = bench.read(&first.key).await;
    assert!(marked.intent.is_some() && marked.cooldown.is_some());
    assert_eq!(
        marked.status,
        Status::NeedsReauth {
            reason,
            since: START
        }
    );

    bench.save(new(&first.key, "second")).await;

    let read = bench.read(&first.key).await;
    assert_eq!((read.intent, read.cooldown), (None, None));
    assert_eq!(read.status, Status::Active);
}

pub(crate) async fn a_reconnect_keeps_the_lease(bench: &Bench) {
    let (first, me) = (bench.connect("anna").await, owner());
    bench.lease(&first.key, me).await;
    bench.save(new(&first.key, "second")).await;
    let asked = bench.other.acquire(&first.key, owner(), TTL).await.unwrap();
    assert!(matches!(asked, Lease::Held(_)), "{asked:?}");
}

pub(crate) async fn the_same_import_twice_does_not_bring_back_rotated_tokens(bench: &Bench) {
    let mut line = new(&calendly("anna"), "imported");
    line.fingerprint = Some([7; 32]);
    let first = bench.save(line.clone()).await;
    bench
        .store
        .commit(&fence(&first), renewed("rotated"))
        .await
        .unwrap();
    let saved = bench.store.save(vec![line]).await.unwrap();
    assert!(
        matches!(saved.as_slice(), [Saved::Unchanged(_)]),
        "{saved:?}"
    );
    let read = bench.read(&first.key).await;
    assert_eq!(read.tokens, Some(tokens("rotated")));
    assert_eq!(read.generation, Generation::new(2));
}

pub(crate) async fn the_same_managed_user_imported_again_keeps_its_tokens(bench: &Bench) {
    let mut line = new(&key("calcom", "anna"), "");
    line.tokens = None;
    line.fingerprint = Some([7; 32]);
    let first = bench.save(line.clone()).await;
    bench
        .store
        .commit(&fence(&first), renewed("minted"))
        .await
        .unwrap();
    let saved = bench.store.save(vec![line]).await.unwrap();
    assert!(
        matches!(saved.as_slice(), [Saved::Unchanged(_)]),
        "{saved:?}"
    );
    assert_eq!(bench.read(&first.key).await.tokens, Some(tokens("minted")));
}

pub(crate) async fn another_import_replaces(bench: &Bench) {
    let mut line = new(&calendly("anna"), "imported");
    line.fingerprint = Some([7; 32]);
    bench.save(line.clone()).await;
    line.fingerprint = Some([8; 32]);
    let saved = bench.store.save(vec![line]).await.unwrap();
    assert!(
        matches!(saved.as_slice(), [Saved::Replaced(_)]),
        "{saved:?}"
    );
}

pub(crate) async fn without_a_fingerprint_every_save_replaces(bench: &Bench) {
    let connect = new(&calendly("anna"), "connected");
    bench.save(connect.clone()).await;
    let saved = bench.store.save(vec![connect]).await.unwrap();
    assert!(
        matches!(saved.as_slice(), [Saved::Replaced(_)]),
        "{saved:?}"
    );
}

pub(crate) async fn a_batch_answers_in_its_order(bench: &Bench) {
    bench.connect("b").await;
    let batch = ["c", "b", "a"].map(|user| new(&calendly(user), "batch"));
    let saved = bench.store.save(batch.to_vec()).await.unwrap();
    let users: Vec<&str> = saved
        .iter()
        .map(|saved| saved.connection().key.user.as_str())
        .collect();
    assert_eq!(users, ["c", "b", "a"]);
    assert!(matches!(
        saved.as_slice(),
        [Saved::Created(_), Saved::Replaced(_), Saved::Created(_)]
    ));
    assert!(bench.store.save(Vec::new()).await.unwrap().is_empty());
}

pub(crate) async fn a_key_twice_in_one_batch_is_saved_twice(bench: &Bench) {
    let anna = calendly("anna");
    let batch = vec![new(&anna, "one"), new(&anna, "two")];
    bench.store.save(batch).await.unwrap();
    let read = bench.read(&anna).await;
    assert_eq!(read.tokens, Some(tokens("two")));
    assert_eq!(read.generation, Generation::new(2));
}

pub(crate) async fn of_many_who_create_one_connection_one_creates_it(bench: &Bench) {
    let anna = calendly("anna");
    let asked = (0..40).map(|n| {
        let store = if n % 2 == 0 {
            &bench.store
        } else {
            &bench.other
        };
        store.save(vec![new(&anna, &n.to_string())])
    });
    let saved: Vec<Saved> = join_all(asked)
        .await
        .into_iter()
        .flat_map(Result::unwrap)
        .collect();
    let created = saved
        .iter()
        .filter(|saved| matches!(saved, Saved::Created(_)));
    assert_eq!(created.count(), 1);
    let read = bench.read(&anna).await;
    assert_eq!(read.generation, Generation::new(40));
    assert!(saved.iter().all(|saved| saved.connection().id == read.id));
}

pub(crate) async fn a_removed_connection_is_gone_and_was_returned(bench: &Bench) {
    let first = bench.connect("anna").await;
    assert_eq!(
        bench.store.remove(&first.key).await.unwrap(),
        Some(first.clone())
    );
    assert_eq!(bench.other.load(&first.key).await.unwrap(), None);
    assert_eq!(bench.store.remove(&first.key).await.unwrap(), None);
}

pub(crate) async fn a_connection_made_anew_is_another(bench: &Bench) {
    let first = bench.connect("anna").await;
    bench.store.remove(&first.key).await.unwrap();
    let second = bench.connect("anna").await;
    assert_ne!(second.id, first.id);
    assert_eq!(second.generation, Generation::new(1));
    let reason = ReauthReason::AccountGone;
    let marked = bench
        .store
        .mark_needs_reauth(&fence(&first), reason, START)
        .await;
    assert_eq!(marked.unwrap(), Fenced::Refused);
}

pub(crate) async fn users_that_look_alike_are_apart(bench: &Bench) {
    for user in ["anna", "Anna", "anna%", "a_na", "anna'--", "calendly/anna"] {
        bench.save(new(&calendly(user), user)).await;
    }
    for user in ["anna", "Anna", "anna%", "a_na", "anna'--", "calendly/anna"] {
        assert_eq!(bench.read(&calendly(user)).await.tokens, Some(tokens(user)));
    }
}
