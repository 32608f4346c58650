//! Fences: what was written from an old state changes nothing.

use daypass::{
    base::ids::Generation,
    store::{Committed, Fenced, ReauthReason, Redemption, Status},
};
use futures_util::future::join_all;

use crate::bench::{Bench, START, fence, new, owner, renewed, tokens};

pub(crate) async fn what_was_committed_is_what_the_next_renewal_reads(bench: &Bench) {
    let mut connection = bench.connect("anna").await;
    let me = owner();
    for name in ["second", "third"] {
        let was = bench.lease(&connection.key, me).await;
        assert_eq!(was, connection);
        let committed = bench
            .store
            .commit(&fence(&was), renewed(name))
            .await
            .unwrap();
        let Committed::Stored(stored) = committed else {
            panic!("{committed:?}");
        };
        assert_eq!(stored.tokens, Some(tokens(name)));
        assert_eq!(stored.generation, was.generation.next());
        assert_eq!(bench.read(&was.key).await, *stored);
        connection = *stored;
        bench.store.release(&connection.key, me).await.unwrap();
    }
}

pub(crate) async fn of_many_commits_from_one_generation_one_is_stored(bench: &Bench) {
    let was = fence(&bench.connect("anna").await);
    let commits = (0..40).map(async |n| {
        let store = if n % 2 == 0 {
            &bench.store
        } else {
            &bench.other
        };
        let committed = store.commit(&was, renewed(&n.to_string())).await.unwrap();
        (n, committed)
    });
    let mut stored = Vec::new();
    let mut seen_by_losers = Vec::new();
    for (n, committed) in join_all(commits).await {
        match committed {
            Committed::Stored(_) => stored.push(tokens(&n.to_string())),
            Committed::Superseded(winner) => seen_by_losers.push(winner.tokens.unwrap()),
            Committed::Gone => panic!("nobody removed it"),
        }
    }
    assert_eq!(stored.len(), 1);
    assert!(seen_by_losers.iter().all(|seen| *seen == stored[0]));
    let read = bench.read(&was.key).await;
    assert_eq!(read.tokens.as_ref(), stored.first());
    assert_eq!(read.generation, was.generation.next());
}

pub(crate) async fn a_commit_from_an_old_generation_changes_nothing(bench: &Bench) {
    let first = bench.connect("anna").await;
    bench
        .store
        .commit(&fence(&first), renewed("second"))
        .await
        .unwrap();
    let now = bench.read(&first.key).await;
    let late = bench
        .other
        .commit(&fence(&first), renewed("stale"))
        .await
        .unwrap();
    assert!(matches!(late, Committed::Superseded(winner) if *winner == now));
    assert_eq!(bench.read(&first.key).await, now);
    let mut ahead = fence(&now);
    ahead.generation = now.generation.next();
    let early = bench.other.commit(&ahead, renewed("never")).await.unwrap();
    assert!(matches!(early, Committed::Superseded(_)), "{early:?}");
    assert_eq!(bench.read(&first.key).await, now);
}

pub(crate) async fn a_commit_needs_no_lease(bench: &Bench) {
    let first = bench.connect("anna").await;
    bench.lease(&first.key, owner()).await;
    let committed = bench
        .other
        .commit(&fence(&first), renewed("second"))
        .await
        .unwrap();
    assert!(matches!(committed, Committed::Stored(_)), "{committed:?}");
}

pub(crate) async fn a_commit_wins_over_a_mark_on_its_generation(bench: &Bench) {
    let first = bench.connect("anna").await;
    let reason = ReauthReason::GrantRefused;
    bench
        .other
        .mark_needs_reauth(&fence(&first), reason, START)
        .await
        .unwrap();
    let committed = bench
        .store
        .commit(&fence(&first), renewed("second"))
        .await
        .unwrap();
    assert!(matches!(committed, Committed::Stored(_)), "{committed:?}");
    assert_eq!(bench.read(&first.key).await.status, Status::Active);
}

pub(crate) async fn a_reconnect_during_a_renewal_wins(bench: &Bench) {
    let first = bench.connect("anna").await;
    bench.save(new(&first.key, "reconnected")).await;
    let late = bench
        .store
        .commit(&fence(&first), renewed("stale"))
        .await
        .unwrap();
    assert!(matches!(late, Committed::Superseded(_)), "{late:?}");
    assert_eq!(
        bench.read(&first.key).await.tokens,
        Some(tokens("reconnected"))
    );
}

pub(crate) async fn a_connection_removed_during_its_renewal_stays_removed(bench: &Bench) {
    let first = bench.connect("anna").await;
    bench.other.remove(&first.key).await.unwrap();
    let was = fence(&first);
    let late = bench.store.commit(&was, renewed("stale")).await.unwrap();
    assert!(matches!(late, Committed::Gone), "{late:?}");
    let marked = bench
        .store
        .mark_needs_reauth(&was, ReauthReason::GrantRefused, START)
        .await;
    assert_eq!(marked.unwrap(), Fenced::Refused);
    assert_eq!(bench.other.load(&first.key).await.unwrap(), None);
}

pub(crate) async fn a_commit_for_a_removed_connection_spares_its_successor(bench: &Bench) {
    let first = bench.connect("anna").await;
    bench.store.remove(&first.key).await.unwrap();
    let second = bench.save(new(&first.key, "successor")).await;
    assert_eq!(
        second.generation, first.generation,
        "only the id tells them apart"
    );
    let late = bench
        .store
        .commit(&fence(&first), renewed("stale"))
        .await
        .unwrap();
    assert!(matches!(late, Committed::Superseded(stands) if *stands == second));
    assert_eq!(bench.read(&first.key).await, second);
}

pub(crate) async fn what_the_provider_did_not_name_stays(bench: &Bench) {
    let first = bench.connect("anna").await;
    bench
        .store
        .commit(&fence(&first), renewed("second"))
        .await
        .unwrap();
    let second = bench.read(&first.key).await;
    assert_eq!(second.scope, first.scope);
    assert_eq!(second.external_id, first.external_id);
    assert_eq!(second.organization, first.organization);
    let mut named = renewed("third");
    named.scope = Some("read".to_owned());
    named.external_id = Some("U2".to_owned());
    named.organization = Some("O2".to_owned());
    bench.store.commit(&fence(&second), named).await.unwrap();
    let third = bench.read(&first.key).await;
    assert_eq!(third.scope.as_deref(), Some("read"));
    assert_eq!(third.external_id.as_deref(), Some("U2"));
    assert_eq!(third.organization.as_deref(), Some("O2"));
}

pub(crate) async fn a_forced_renewal_is_remembered(bench: &Bench) {
    let first = bench.connect("anna").await;
    let mut forced = renewed("second");
    forced.redemption = Redemption::Force;
    bench.store.commit(&fence(&first), forced).await.unwrap();
    let second = bench.read(&first.key).await;
    assert_eq!(second.forced_at, Some(START));
    bench
        .store
        .commit(&fence(&second), renewed("third"))
        .await
        .unwrap();
    assert_eq!(bench.read(&first.key).await.forced_at, Some(START));
    bench.save(new(&first.key, "reconnected")).await;
    assert_eq!(bench.read(&first.key).await.forced_at, None);
}

pub(crate) async fn a_mark_is_set_once(bench: &Bench) {
    let first = bench.connect("anna").await;
    let was = fence(&first);
    let marks = (0..20).map(|n| {
        let store = if n % 2 == 0 {
            &bench.store
        } else {
            &bench.other
        };
        store.mark_needs_reauth(&was, ReauthReason::LostRotation, START)
    });
    let answers = join_all(marks).await.into_iter().map(Result::unwrap);
    let written = answers.filter(|answer| *answer == Fenced::Written).count();
    assert_eq!(written, 1);
    let reason = ReauthReason::GrantRefused;
    let again = bench.store.mark_needs_reauth(&was, reason, START).await;
    assert_eq!(again.unwrap(), Fenced::Unchanged);
    let expected = Status::NeedsReauth {
        reason: ReauthReason::LostRotation,
        since: START,
    };
    let read = bench.read(&first.key).await;
    assert_eq!(read.status, expected);
    assert_eq!(read.generation, Generation::new(1));
}

pub(crate) async fn a_mark_from_an_old_generation_is_refused(bench: &Bench) {
    let first = bench.connect("anna").await;
    bench
        .store
        .commit(&fence(&first), renewed("second"))
        .await
        .unwrap();
    let reason = ReauthReason::GrantRefused;
    let marked = bench
        .other
        .mark_needs_reauth(&fence(&first), reason, START)
        .await;
    assert_eq!(marked.unwrap(), Fenced::Refused);
    assert_eq!(bench.read(&first.key).await.status, Status::Active);
}
