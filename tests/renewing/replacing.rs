//! What becomes of a grant in whose place another is stored, and who hears of new tokens.

use daypass::{
    base::secret::Secret,
    provider::Account,
    store::Digest,
    token::{Grant, GrantTokens, Revocation},
};
use sha2::{Digest as _, Sha256};

use crate::{
    scripted_provider::{Call, ScriptedProvider},
    world::{HOUR, World, secs, settle},
};

fn grant(world: &World, account: Account, n: &str) -> Grant {
    Grant {
        key: world.key("u1"),
        account,
        tokens: Some(GrantTokens {
            access: Secret::from(format!("access-{n}")),
            refresh: Some(Secret::from(format!("refresh-{n}"))),
            expires_at: None,
            refresh_expires_at: None,
            issued_at: None,
        }),
        scope: None,
        once: false,
    }
}

fn account(id: &str) -> Account {
    Account {
        external_id: Some(id.to_owned()),
        ..Account::default()
    }
}

#[tokio::test(start_paused = true)]
async fn a_grant_that_was_replaced_is_revoked_unless_the_new_one_shares_a_token() {
    let world = World::new();
    let key = world.connect("u1", HOUR).await;
    let former = world.stored(&key).await;
    let sidecar = world.sidecar(1).await;
    let same_access = Grant {
        tokens: Some(GrantTokens {
            access: Secret::from("access-0".to_owned()),
            ..grant(&world, Account::default(), "1").tokens.unwrap()
        }),
        ..grant(&world, Account::default(), "1")
    };
    let same_refresh = grant(&world, Account::default(), "0");
    for shared in [same_access, same_refresh] {
        assert_eq!(sidecar.tokens.revoke_former(&former, &shared).await, None);
    }
    assert_eq!(world.provider.calls(), []);
    let other = grant(&world, Account::default(), "2");
    assert_eq!(
        sidecar.tokens.revoke_former(&former, &other).await,
        Some(Revocation::Revoked)
    );
    assert_eq!(world.provider.calls(), [Call::Revoke("refresh-0".into())]);
}

#[tokio::test(start_paused = true)]
async fn what_was_minted_for_an_account_that_the_user_has_left_meanwhile_is_revoked() {
    for (before, after, revoked) in [("a", "b", true), ("a", "a", false)] {
        let world = World::new();
        world.provider.accept("refresh-0");
        world.save(grant(&world, account(before), "0")).await;
        let (one, key) = (world.sidecar(1).await, world.key("u1"));
        ScriptedProvider::close(&world.provider.exit);
        let (asking, asked) = (one.clone(), key.clone());
        let request = tokio::spawn(async move { asking.bearer(&asked).await });
        settle().await;
        let reconnect = Grant {
            tokens: Some(GrantTokens {
                expires_at: Some(world.now().saturating_add(HOUR)),
                ..grant(&world, Account::default(), "new").tokens.unwrap()
            }),
            ..grant(&world, account(after), "new")
        };
        world.save(reconnect).await;
        ScriptedProvider::open(&world.provider.exit);
        assert_eq!(request.await.unwrap().unwrap(), "access-new");
        let calls = world.provider.calls();
        let minted = Call::Revoke("refresh-1".into());
        assert_eq!(calls.contains(&minted), revoked, "{calls:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn every_new_token_of_a_managed_user_is_told_of_by_its_digest() {
    let world = World::managed();
    let key = world.connect("u1", secs(0)).await;
    let sidecar = world.sidecar(1).await;
    assert_eq!(sidecar.bearer(&key).await.unwrap(), "access-1");
    let digest = |token: &str| Digest(Sha256::digest(token).into());
    assert_eq!(*sidecar.heard.issued.lock(), [(2, digest("access-1"))]);
    // The store refuses the next one: it is used from the spool, so it is told of all the same.
    world.store.faults.lock().refuse_commits = true;
    sidecar.tokens.refresh(&key, false).await.unwrap();
    assert_eq!(sidecar.heard.issued.lock()[1], (3, digest("access-2")));
    world.store.faults.lock().refuse_commits = false;
    let imported = grant(&world, world.account(), "imported");
    sidecar.tokens.save(&[imported]).await.unwrap();
    assert_eq!(sidecar.heard.issued.lock()[2].1, digest("access-imported"));
}

#[tokio::test(start_paused = true)]
async fn tokens_of_users_who_consented_are_not_told_of() {
    let world = World::new();
    let key = world.connect("u1", secs(0)).await;
    let sidecar = world.sidecar(1).await;
    sidecar.bearer(&key).await.unwrap();
    assert_eq!(*sidecar.heard.issued.lock(), []);
}
