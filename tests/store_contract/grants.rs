//! Grants have names, and fences go by them: a store that has lost writes gives out a generation once more, but
//! no name.

use daypass::{
    base::ids::GrantId,
    store::{
        Begun, Committed, Connection, Fence, Fenced, Found, NewConnection, ReauthReason, Record,
        Redemption, Restored, Spent, Status,
    },
};

use crate::bench::{Bench, START, calendly, cooldown, fence, fresh, new, owner, renewed};

/// What is kept of `connection`.
async fn copy(bench: &Bench, connection: &Connection) -> Record {
    match bench.archive.record(&connection.key).await.unwrap() {
        Some(Found::Whole { record, .. }) => *record,
        other => panic!("{other:?}"),
    }
}

/// The store is as it was when it was copied: a backup was restored, or a failover lost what came since.
async fn goes_back(bench: &Bench, to: Record) {
    let key = to.connection.key.clone();
    bench.store.remove(&key).await.unwrap();
    let restored = bench.archive.restore(vec![to]).await.unwrap();
    assert_eq!(restored, [Restored::Written]);
}

/// Nothing that `was` fences changes what is there.
async fn is_refused(bench: &Bench, was: &Fence) {
    let me = owner();
    let stands = bench.lease(&was.key, me).await;
    let kind = Redemption::Standard;
    let begun = bench.store.begin(was, me, kind, START).await.unwrap();
    assert!(matches!(begun, Begun::Refused), "{begun:?}");
    let failed = bench.store.fail(was, cooldown(), Spent::Maybe).await;
    assert_eq!(failed.unwrap(), Fenced::Refused);
    let reason = ReauthReason::GrantRefused;
    let marked = bench.store.mark_needs_reauth(was, reason, START).await;
    assert_eq!(marked.unwrap(), Fenced::Refused);
    let committed = bench.other.commit(was, renewed("stale")).await.unwrap();
    assert!(
        matches!(&committed, Committed::Superseded(newer) if **newer == stands),
        "{committed:?}"
    );
    assert_eq!(bench.read(&was.key).await, stands);
    bench.store.release(&was.key, me).await.unwrap();
}

/// Everything that `was` fences is done.
async fn is_taken(bench: &Bench, was: &Fence) {
    let me = owner();
    bench.lease(&was.key, me).await;
    let kind = Redemption::Standard;
    let begun = bench.store.begin(was, me, kind, START).await.unwrap();
    assert!(matches!(begun, Begun::Recorded { .. }), "{begun:?}");
    let failed = bench.store.fail(was, cooldown(), Spent::Maybe).await;
    assert_eq!(failed.unwrap(), Fenced::Written);
    let reason = ReauthReason::GrantRefused;
    let marked = bench.store.mark_needs_reauth(was, reason, START).await;
    assert_eq!(marked.unwrap(), Fenced::Written);
    let committed = bench.other.commit(was, renewed("second")).await.unwrap();
    assert!(matches!(committed, Committed::Stored(_)), "{committed:?}");
    bench.store.release(&was.key, me).await.unwrap();
}

pub(crate) async fn what_is_stored_has_the_name_it_was_written_with(bench: &Bench) {
    let line = NewConnection {
        fingerprint: Some([7; 32]),
        ..new(&calendly("anna"), "first")
    };
    let first = bench.save(line.clone()).await;
    assert_eq!(first.grant, line.grant);
    let again = NewConnection {
        grant: GrantId::random(&fresh()),
        ..line
    };
    let unchanged = bench.save(again).await;
    assert_eq!(
        unchanged, first,
        "the same line is another write of nothing"
    );
    let renewal = renewed("second");
    let committed = bench.store.commit(&fence(&first), renewal.clone()).await;
    let Committed::Stored(second) = committed.unwrap() else {
        panic!("nobody else writes");
    };
    assert_eq!(second.grant, renewal.grant);
    let third = new(&first.key, "third");
    let named = third.grant;
    assert_eq!(bench.save(third).await.grant, named);
    assert_eq!(bench.read(&first.key).await.grant, named);
}

pub(crate) async fn a_fence_of_another_grant_changes_nothing(bench: &Bench) {
    let first = bench.connect("anna").await;
    for other in [GrantId::random(&fresh()), GrantId::UNNAMED] {
        let was = Fence {
            grant: Some(other),
            ..fence(&first)
        };
        is_refused(bench, &was).await;
    }
    is_taken(bench, &fence(&first)).await;
}

/// As versions noted them in their spool that knew of no grants.
pub(crate) async fn a_fence_without_a_grant_goes_by_the_generation(bench: &Bench) {
    let first = bench.connect("anna").await;
    let was = Fence {
        grant: None,
        ..fence(&first)
    };
    is_taken(bench, &was).await;
    is_refused(bench, &was).await;
}

/// As versions write that know of no grants.
pub(crate) async fn what_has_no_name_goes_by_the_generation(bench: &Bench) {
    let unnamed = NewConnection {
        grant: GrantId::UNNAMED,
        ..new(&calendly("anna"), "first")
    };
    let first = bench.save(unnamed).await;
    assert_eq!(first.grant, GrantId::UNNAMED);
    let was = Fence {
        grant: Some(GrantId::random(&fresh())),
        ..fence(&first)
    };
    is_taken(bench, &was).await;
    is_refused(bench, &was).await;
}

pub(crate) async fn a_store_that_went_back_gives_out_a_generation_but_no_fence_again(
    bench: &Bench,
) {
    let first = bench.connect("anna").await;
    let backup = copy(bench, &first).await;
    let renewal = bench.store.commit(&fence(&first), renewed("lost")).await;
    let Committed::Stored(lost) = renewal.unwrap() else {
        panic!("nobody else writes");
    };
    goes_back(bench, backup).await;
    let reconnected = bench.save(new(&first.key, "reconnected")).await;
    assert_eq!(
        (reconnected.id, reconnected.generation),
        (lost.id, lost.generation),
        "only the grant tells them apart"
    );
    is_refused(bench, &fence(&lost)).await;
    let read = bench.read(&first.key).await;
    assert_eq!(read, reconnected);
    assert_eq!(read.status, Status::Active);
}

/// A managed user that is imported by its id alone has no tokens yet; another may be imported in its place.
pub(crate) async fn users_without_tokens_are_fenced_likewise(bench: &Bench) {
    let managed = |id| NewConnection {
        tokens: None,
        managed_user_id: Some(id),
        ..new(&calendly("anna"), "none")
    };
    let first = bench.save(managed(1)).await;
    let backup = copy(bench, &first).await;
    let lost = bench.save(managed(2)).await;
    goes_back(bench, backup).await;
    let now = bench.save(managed(3)).await;
    assert_eq!((now.id, now.generation), (lost.id, lost.generation));
    is_refused(bench, &fence(&lost)).await;
    is_taken(bench, &fence(&now)).await;
}
