//! What each way of failing means, and what it must not mean.

use std::time::Duration;

use daypass::{
    store::{ReauthReason, Status},
    token::Error,
};
use tokio::time::{advance, sleep};

use crate::{
    scripted_provider::{Call, ScriptedProvider, Trick},
    world::{HOUR, MINUTE, World, secs, settle},
};

#[tokio::test(start_paused = true)]
async fn a_dead_grant_is_noticed_once_and_never_sent_again() {
    let world = World::new();
    let key = world.connect("u1", secs(0)).await;
    let sidecar = world.sidecar(1).await;
    world.provider.revoke_everything();
    for _ in 0..200 {
        let outcome = sidecar.bearer(&key).await;
        assert!(
            matches!(
                outcome,
                Err(Error::NeedsReauth {
                    reason: ReauthReason::GrantRefused,
                    ..
                })
            ),
            "{outcome:?}"
        );
        sleep(MINUTE).await;
    }
    assert_eq!(world.provider.renewals(), 1);
    assert_eq!(
        *sidecar.heard.needs_reauth.lock(),
        [ReauthReason::GrantRefused]
    );
}

#[tokio::test(start_paused = true)]
async fn a_dead_grant_with_a_live_token_serves_until_the_token_ends() {
    let world = World::new();
    let key = world.connect("u1", secs(250)).await;
    let sidecar = world.sidecar(1).await;
    world.provider.revoke_everything();
    assert_eq!(sidecar.bearer(&key).await.unwrap(), "access-0");
    settle().await;
    assert!(matches!(
        world.stored(&key).await.status,
        Status::NeedsReauth { .. }
    ));
    advance(secs(200)).await;
    assert_eq!(sidecar.bearer(&key).await.unwrap(), "access-0");
    advance(secs(60)).await;
    assert!(matches!(
        sidecar.bearer(&key).await,
        Err(Error::NeedsReauth { .. })
    ));
    assert_eq!(world.provider.renewals(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_reconnect_ends_a_dead_grant_and_a_cooldown_on_every_sidecar() {
    for trick in [None, Some(Trick::ServerError)] {
        let world = World::new();
        let key = world.connect("u1", secs(0)).await;
        let (one, two) = (world.sidecar(1).await, world.sidecar(2).await);
        match trick {
            None => world.provider.revoke_everything(),
            always => world.provider.always(always),
        }
        assert!(one.bearer(&key).await.is_err());
        assert!(two.bearer(&key).await.is_err());
        world.grant("u1", "new", Some(HOUR), true).await;
        settle().await;
        assert_eq!(one.bearer(&key).await.unwrap(), "access-new");
        assert_eq!(two.bearer(&key).await.unwrap(), "access-new");
    }
}

#[tokio::test(start_paused = true)]
async fn a_failure_that_a_reconnect_has_overtaken_stands_in_nobodys_way() {
    let world = World::new();
    let key = world.connect("u1", secs(0)).await;
    let sidecar = world.sidecar(1).await;
    settle().await;
    world.provider.trick(Trick::ServerError);
    ScriptedProvider::close(&world.provider.gate);
    let (caller, asked) = (sidecar.clone(), key.clone());
    let before = tokio::spawn(async move { caller.newer_than(&asked, 1).await });
    settle().await;
    world.provider.accept("refresh-new");
    world.grant("u1", "new", Some(HOUR), true).await;
    settle().await;
    ScriptedProvider::open(&world.provider.gate);
    assert!(before.await.unwrap().is_err());
    assert_eq!(sidecar.newer_than(&key, 2).await.unwrap(), "access-1");
}

#[tokio::test(start_paused = true)]
async fn a_refused_client_is_nobodys_grant() {
    let world = World::new();
    let keys = [
        world.connect("u1", secs(0)).await,
        world.connect("u2", secs(0)).await,
    ];
    let sidecar = world.sidecar(1).await;
    world.provider.always(Some(Trick::RefuseClient));
    for key in &keys {
        let outcome = sidecar.bearer(key).await;
        assert!(
            matches!(outcome, Err(Error::Misconfigured { .. })),
            "{outcome:?}"
        );
        assert_eq!(world.stored(key).await.status, Status::Active);
        assert_eq!(world.stored(key).await.intent, None);
    }
    assert_eq!(
        world.provider.renewals(),
        1,
        "one user's answer counts for all"
    );
    assert_eq!(sidecar.tokens.health().misconfigured.len(), 1);

    world.provider.always(None);
    sleep(secs(10)).await;
    assert_eq!(sidecar.bearer(&keys[0]).await.unwrap(), "access-1");
    assert!(sidecar.tokens.health().misconfigured.is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_grant_of_another_client_disconnects_nobody_and_holds_up_nobody_else() {
    let world = World::new();
    let imported = world.connect("u1", secs(0)).await;
    let sidecar = world.sidecar(1).await;
    world.provider.always(Some(Trick::NotOurs));
    for _ in 0..600 {
        let outcome = sidecar.bearer(&imported).await;
        assert!(
            matches!(outcome, Err(Error::RefreshFailed { .. })),
            "{outcome:?}"
        );
        sleep(secs(1)).await;
    }
    let tries = world.provider.renewals();
    assert!((5..=12).contains(&tries), "{tries} tries in ten minutes");
    let stored = world.stored(&imported).await;
    assert_eq!((stored.status, stored.intent), (Status::Active, None));
    assert!(sidecar.tokens.health().misconfigured.is_empty());
    assert_eq!(*sidecar.heard.needs_reauth.lock(), []);

    world.provider.always(None);
    let ours = world.connect("u2", secs(0)).await;
    assert_eq!(sidecar.bearer(&ours).await.unwrap(), "access-1");
    // The client that it belongs to is configured again.
    world.provider.accept("refresh-0");
    sleep(Duration::from_mins(5)).await;
    assert_eq!(sidecar.bearer(&imported).await.unwrap(), "access-2");
}

#[tokio::test(start_paused = true)]
async fn corrected_credentials_are_tried_at_once() {
    let world = World::new();
    let key = world.connect("u1", secs(0)).await;
    let sidecar = world.sidecar(1).await;
    world.provider.trick(Trick::RefuseClient);
    assert!(matches!(
        sidecar.bearer(&key).await,
        Err(Error::Misconfigured { .. })
    ));
    sidecar.tokens.credentials_changed();
    assert_eq!(sidecar.bearer(&key).await.unwrap(), "access-1");
}

#[tokio::test(start_paused = true)]
async fn failures_in_a_row_are_tried_less_and_less_often_and_end_at_once() {
    let world = World::new();
    let key = world.connect("u1", secs(0)).await;
    let sidecar = world.sidecar(1).await;
    world.provider.always(Some(Trick::ServerError));
    for _ in 0..600 {
        assert!(sidecar.bearer(&key).await.is_err());
        sleep(secs(1)).await;
    }
    let tries = world.provider.renewals();
    assert!((5..=12).contains(&tries), "{tries} tries in ten minutes");
    world.provider.always(None);
    sleep(Duration::from_mins(5)).await;
    assert_eq!(sidecar.bearer(&key).await.unwrap(), "access-1");
    assert_eq!(world.stored(&key).await.cooldown, None);
}

#[tokio::test(start_paused = true)]
async fn a_cooldown_lasts_no_longer_because_the_clock_is_set_back() {
    for back in [Duration::from_hours(1), Duration::from_hours(24 * 365)] {
        let world = World::new();
        let key = world.connect("u1", secs(0)).await;
        world.provider.always(Some(Trick::ServerError));
        let sidecar = world.sidecar(1).await;
        assert!(sidecar.bearer(&key).await.is_err());
        assert_eq!(world.provider.renewals(), 1);
        world.provider.always(None);
        world
            .clock
            .jump_millis(-i64::try_from(back.as_millis()).unwrap());
        // A sidecar that starts knows of the cooldown by the store alone. To it the old token has not ended
        // yet, so it takes a refusal of that to ask for more.
        let other = world.sidecar(2).await;
        assert!(
            other.newer_than(&key, 1).await.is_err(),
            "it is not forgotten"
        );
        for _ in 0..30 {
            sleep(secs(10)).await;
            // Asking meanwhile does not make it begin anew.
            let _may_have_ended = other.newer_than(&key, 1).await;
        }
        assert_eq!(other.newer_than(&key, 1).await.unwrap(), "access-1");
        assert_eq!(world.provider.renewals(), 2);
    }
}

#[tokio::test(start_paused = true)]
async fn after_an_outage_of_the_provider_everybody_is_back_within_seconds_and_nobody_has_stormed() {
    const USERS: usize = 100;
    for outage in [Trick::ServerError, Trick::Unreachable] {
        let world = World::new();
        let mut keys = Vec::new();
        for nth in 0..USERS {
            world.provider.accept(&format!("refresh-of-{nth}"));
            let user = format!("u{nth}");
            let tokens = format!("of-{nth}");
            keys.push(world.grant(&user, &tokens, Some(secs(0)), true).await);
        }
        let sidecar = world.sidecar(1).await;
        world.provider.always(Some(outage));
        let ask_all = async || {
            let mut served = 0;
            for key in &keys {
                served += usize::from(sidecar.bearer(key).await.is_ok());
            }
            served
        };
        for _ in 0..600 {
            assert_eq!(ask_all().await, 0);
            sleep(secs(1)).await;
        }
        let calls = world.provider.renewals();
        assert!(calls <= USERS + 100, "{calls} calls in ten minutes");
        assert_eq!(sidecar.tokens.health().in_trouble.len(), 1);
        for key in &keys {
            // A call that is still under way when the trouble ends must not be held against its user.
            let failures = world.stored(key).await.cooldown.unwrap().failures;
            assert!(failures <= 2, "{failures} failures of {key}");
        }
        world.provider.always(None);
        let mut waited = 0;
        while ask_all().await < USERS {
            waited += 1;
            sleep(secs(1)).await;
        }
        assert!(waited <= 30, "not everybody is back after {waited} s");
        assert!(sidecar.tokens.health().in_trouble.is_empty());
        assert_eq!(world.provider.spent_twice(), Vec::<String>::new());
    }
}

#[tokio::test(start_paused = true)]
async fn what_a_sibling_renews_ends_the_trouble_here() {
    let world = World::new();
    let key = world.connect("u1", HOUR).await;
    let (one, two) = (world.sidecar(1).await, world.sidecar(2).await);
    assert_eq!(one.bearer(&key).await.unwrap(), "access-0");
    world.provider.trick(Trick::Unreachable);
    assert!(one.tokens.refresh(&key, false).await.is_err());
    assert_eq!(one.tokens.health().in_trouble.len(), 1);
    sleep(secs(5)).await;
    two.tokens.refresh(&key, false).await.unwrap();
    settle().await;
    assert!(one.tokens.health().in_trouble.is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_user_who_fails_alone_is_not_the_providers_trouble() {
    let world = World::new();
    let sick = world.connect("u1", secs(0)).await;
    let sidecar = world.sidecar(1).await;
    for nth in 0..40 {
        world.provider.trick(Trick::ServerError);
        assert!(sidecar.bearer(&sick).await.is_err());
        world.provider.accept(&format!("refresh-of-{nth}"));
        let (user, tokens) = (format!("v{nth}"), format!("of-{nth}"));
        let well = world.grant(&user, &tokens, Some(secs(0)), true).await;
        sidecar.bearer(&well).await.unwrap();
        sleep(Duration::from_mins(5)).await;
    }
    assert!(sidecar.tokens.health().in_trouble.is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_provider_that_was_never_reached_has_spent_nothing() {
    let world = World::new();
    let key = world.connect("u1", secs(0)).await;
    let sidecar = world.sidecar(1).await;
    world.provider.trick(Trick::Unreachable);
    assert!(matches!(
        sidecar.bearer(&key).await,
        Err(Error::RefreshFailed { .. })
    ));
    assert_eq!(world.stored(&key).await.intent, None);
    sleep(secs(5)).await;
    assert_eq!(sidecar.bearer(&key).await.unwrap(), "access-1");
}

#[tokio::test(start_paused = true)]
async fn a_retry_after_of_years_is_clamped() {
    let world = World::new();
    let key = world.connect("u1", secs(0)).await;
    let sidecar = world.sidecar(1).await;
    world
        .provider
        .trick(Trick::RateLimit(Some(Duration::from_hours(24 * 365 * 31))));
    match sidecar.bearer(&key).await {
        Err(Error::RefreshFailed { retry_after, .. }) => {
            assert_eq!(retry_after, Duration::from_mins(5));
        }
        other => panic!("{other:?}"),
    }
    sleep(Duration::from_mins(5)).await;
    assert_eq!(sidecar.bearer(&key).await.unwrap(), "access-1");
}

#[tokio::test(start_paused = true)]
async fn a_provider_that_keeps_asking_for_fewer_calls_gets_fewer_and_fewer() {
    let world = World::new();
    let key = world.connect("u1", secs(0)).await;
    let sidecar = world.sidecar(1).await;
    world.provider.always(Some(Trick::RateLimit(Some(secs(1)))));
    for _ in 0..600 {
        assert!(sidecar.bearer(&key).await.is_err());
        sleep(secs(1)).await;
    }
    let tries = world.provider.renewals();
    assert!((5..=12).contains(&tries), "{tries} tries in ten minutes");
    world.provider.always(None);
    sleep(Duration::from_mins(5)).await;
    assert_eq!(sidecar.bearer(&key).await.unwrap(), "access-1");
}

#[tokio::test(start_paused = true)]
async fn what_a_provider_asks_for_is_honoured_even_if_it_is_longer_than_our_own_patience() {
    let world = World::new();
    let key = world.connect("u1", secs(0)).await;
    let sidecar = world.sidecar(1).await;
    world.provider.trick(Trick::RateLimit(Some(secs(120))));
    assert!(sidecar.bearer(&key).await.is_err());
    for _ in 0..119 {
        sleep(secs(1)).await;
        assert!(sidecar.bearer(&key).await.is_err());
    }
    assert_eq!(world.provider.renewals(), 1, "not before it said");
    sleep(secs(6)).await;
    assert_eq!(sidecar.bearer(&key).await.unwrap(), "access-1");
}

#[tokio::test(start_paused = true)]
async fn connections_that_are_told_the_same_wait_do_not_come_back_at_the_same_moment() {
    let world = World::new();
    let sidecar = world.sidecar(1).await;
    world
        .provider
        .always(Some(Trick::RateLimit(Some(secs(60)))));
    let mut waits = Vec::new();
    for user in ["u1", "u2", "u3"] {
        let key = world.connect(user, secs(0)).await;
        match sidecar.bearer(&key).await {
            Err(Error::RefreshFailed { retry_after, .. }) => waits.push(retry_after),
            other => panic!("{other:?}"),
        }
    }
    assert!(
        waits
            .iter()
            .all(|wait| (secs(60)..=secs(65)).contains(wait)),
        "{waits:?}"
    );
    waits.sort();
    waits.dedup();
    assert_eq!(waits.len(), 3, "{waits:?}");
}

#[tokio::test(start_paused = true)]
async fn a_wandering_token_url_disconnects_nobody() {
    let world = World::new();
    let key = world.connect("u1", secs(0)).await;
    let sidecar = world.sidecar(1).await;
    world.provider.trick(Trick::NotFound);
    assert!(matches!(
        sidecar.bearer(&key).await,
        Err(Error::RefreshFailed { .. })
    ));
    sleep(secs(5)).await;
    assert_eq!(sidecar.bearer(&key).await.unwrap(), "access-1");
}

#[tokio::test(start_paused = true)]
async fn an_answer_without_a_refresh_token_keeps_the_old_one() {
    let world = World::new();
    let key = world.connect("u1", secs(0)).await;
    let sidecar = world.sidecar(1).await;
    world.provider.trick(Trick::OmitRefreshToken);
    assert_eq!(sidecar.bearer(&key).await.unwrap(), "access-1");
    sidecar.tokens.refresh(&key, false).await.unwrap();
    let again = Call::Refresh("refresh-0".into());
    assert_eq!(world.provider.calls(), [again.clone(), again]);
}

#[tokio::test(start_paused = true)]
async fn an_answer_without_a_lifetime_gets_a_conservative_one() {
    let world = World::new();
    let key = world.connect("u1", secs(0)).await;
    let sidecar = world.sidecar(1).await;
    world.provider.trick(Trick::OmitExpiry);
    assert_eq!(sidecar.bearer(&key).await.unwrap(), "access-1");
    advance(Duration::from_mins(26)).await;
    sidecar.bearer(&key).await.unwrap();
    settle().await;
    assert_eq!(sidecar.bearer(&key).await.unwrap(), "access-2");
}

#[tokio::test(start_paused = true)]
async fn an_expired_token_is_never_handed_out_while_the_provider_is_down() {
    let world = World::new();
    let key = world.connect("u1", secs(100)).await;
    let sidecar = world.sidecar(1).await;
    assert_eq!(sidecar.bearer(&key).await.unwrap(), "access-0");
    world.provider.always(Some(Trick::ServerError));
    advance(secs(101)).await;
    for _ in 0..20 {
        assert!(matches!(
            sidecar.bearer(&key).await,
            Err(Error::RefreshFailed { .. })
        ));
        sleep(secs(7)).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_token_that_ended_without_a_refresh_token_needs_its_user() {
    let world = World::new();
    let key = world.grant("u1", "0", Some(secs(0)), false).await;
    let sidecar = world.sidecar(1).await;
    let outcome = sidecar.bearer(&key).await;
    assert!(
        matches!(
            outcome,
            Err(Error::NeedsReauth {
                reason: ReauthReason::NoRefreshToken,
                ..
            })
        ),
        "{outcome:?}"
    );
    assert_eq!(world.provider.renewals(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_user_who_never_connected_is_told_apart_from_one_who_must_reconnect() {
    let world = World::new();
    let sidecar = world.sidecar(1).await;
    let outcome = sidecar.bearer(&world.key("stranger")).await;
    assert!(
        matches!(outcome, Err(Error::NotConnected { .. })),
        "{outcome:?}"
    );
}

#[tokio::test(start_paused = true)]
async fn a_managed_user_known_by_id_alone_gets_tokens_on_the_first_request() {
    let world = World::managed();
    let key = world.key("u1");
    let grant = daypass::token::Grant {
        key: key.clone(),
        account: world.account(),
        tokens: None,
        scope: None,
        once: true,
    };
    world.save(grant).await;
    let sidecar = world.sidecar(1).await;
    assert_eq!(sidecar.bearer(&key).await.unwrap(), "access-1");
    assert_eq!(world.provider.calls(), [Call::Force(77)]);
    assert_eq!(world.stored(&key).await.generation.get(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_refused_token_is_not_sent_again_while_force_has_to_wait() {
    let world = World::managed();
    let key = world.connect("u1", secs(0)).await;
    let (one, two) = (world.sidecar(1).await, world.sidecar(2).await);
    // Minted by force just now; then the user's tokens are gone.
    one.tokens.refresh(&key, true).await.unwrap();
    world.provider.revoke_everything();
    assert!(one.newer_than(&key, 2).await.is_err());
    assert_eq!(world.provider.renewals(), 2);
    for _ in 0..5 {
        sleep(secs(11)).await;
        for sidecar in [&one, &two] {
            assert!(sidecar.newer_than(&key, 2).await.is_err());
        }
    }
    assert_eq!(world.provider.renewals(), 2, "nobody tried in vain");
    sleep(secs(11)).await;
    two.newer_than(&key, 2).await.unwrap();
}
