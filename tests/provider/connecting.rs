//! From the consent page to a grant, and to nothing.

use daypass::{
    base::random::SeededRandom,
    provider::{
        Account, Ask, CallError, Callback, Consent, ConsentRefusal, Minted, Pkce, Provider,
        Purpose, Redeem, Verifier,
    },
    sandbox::{ApiFault, ApiMischief, Filter, Kind, NewUser},
};
use url::Url;

use crate::world::{Either, World, outcome, secret};

fn redirect() -> Url {
    Url::parse("http://localhost:7421/oauth/callback/x").unwrap()
}

/// Goes to the consent page, as a browser would, and comes back.
async fn consented(provider: &dyn Consent, verifier: Option<&Verifier>) -> Callback {
    let url = provider.authorize_url(&Ask {
        state: "st&te",
        redirect_uri: &redirect(),
        verifier,
    });
    let browser = reqwest::Client::builder()
        .no_proxy()
        .redirect(reqwest::redirect::Policy::none())
        .build()
        .unwrap();
    let response = browser.get(url.unwrap()).send().await.unwrap();
    let Some(location) = response.headers().get("location") else {
        panic!("{}", response.text().await.unwrap());
    };
    let back = Url::parse(location.to_str().unwrap()).unwrap();
    assert_eq!(back.path(), redirect().path());
    Callback::read(back.query().unwrap())
}

async fn redeemed(
    provider: &dyn Consent,
    callback: &Callback,
    verifier: Option<&Verifier>,
    redirect: &Url,
) -> Result<Minted, CallError> {
    let Callback::Code { state, code } = callback else {
        panic!("{callback:?}");
    };
    assert_eq!(state, "st&te");
    let redeem = Redeem {
        code,
        redirect_uri: redirect,
        verifier,
    };
    provider.exchange(&redeem).await
}

fn verifier_for(provider: &dyn Consent, seed: u64) -> Option<Verifier> {
    let fresh = || Verifier::random(&SeededRandom::new(seed));
    (provider.pkce() == Pkce::S256).then(fresh)
}

#[tokio::test]
async fn consent_leads_to_a_grant_and_names_its_account() {
    let world = World::open().await;
    for switch in [true, false] {
        let set = |switches: &mut daypass::sandbox::Switches| {
            switches.consent_as = Some("erin".to_owned());
        };
        if switch {
            world.sandbox.calendly().set(set);
        } else {
            world.sandbox.calcom().set(set);
        }
    }
    let public = world.calcom_with(|config| {
        config.client_id = Some("sandbox-public-client".to_owned());
        config.client_secret = None;
    });
    for provider in [
        Either::Calendly(world.calendly()),
        Either::Calcom(world.calcom()),
        Either::Calcom(public),
    ] {
        let consent = provider.consent();
        let verifier = verifier_for(consent, 1);
        let callback = consented(consent, verifier.as_ref()).await;
        let minted = redeemed(consent, &callback, verifier.as_ref(), &redirect()).await;
        let minted = minted.unwrap();
        let identity = consent.identify(&minted.access).await.unwrap();
        assert_eq!(identity.account.external_id, minted.account.external_id);
        assert_eq!(identity.account.organization, minted.account.organization);
        assert_eq!(identity.name.as_deref(), Some("erin"));
        assert_eq!(identity.email.as_deref(), Some("erin@sandbox.test"));
        assert_eq!(consent.lacking(minted.scope.as_deref()), []);
        // The code is good for one grant.
        let again = redeemed(consent, &callback, verifier.as_ref(), &redirect()).await;
        assert!(
            matches!(again, Err(CallError::GrantRefused { .. })),
            "{again:?}"
        );
        // And the grant can be renewed.
        let refresh = minted.refresh.unwrap();
        let account = Account::default();
        let renewed = provider.provider().refresh(&account, &refresh).await;
        renewed.unwrap();
    }
}

#[tokio::test]
async fn calendly_is_asked_for_consent_each_time() {
    let world = World::open().await;
    let set = |switches: &mut daypass::sandbox::Switches| {
        switches.consent_as = Some("erin".to_owned());
    };
    world.sandbox.calendly().set(set);
    let calendly = world.calendly();
    let verifier = verifier_for(&calendly, 1);
    consented(&calendly, verifier.as_ref()).await;
    let pages = world.sandbox.calendly().entries(&Filter {
        kind: Some(Kind::Page),
        ..Filter::default()
    });
    assert!(pages[0].path.contains("prompt=consent"), "{pages:?}");
    assert!(!pages[0].path.contains("scope="), "{pages:?}");
}

#[tokio::test]
async fn a_wrong_verifier_or_redirect_uri_redeems_nothing() {
    let world = World::open().await;
    world
        .sandbox
        .calendly()
        .set(|switches| switches.consent_as = Some("erin".to_owned()));
    world
        .sandbox
        .calcom()
        .set(|switches| switches.consent_as = Some("erin".to_owned()));
    let calendly = world.calendly();
    let (right, wrong) = (verifier_for(&calendly, 1), verifier_for(&calendly, 2));
    let callback = consented(&calendly, right.as_ref()).await;
    let result = redeemed(&calendly, &callback, wrong.as_ref(), &redirect()).await;
    assert!(
        matches!(result, Err(CallError::GrantRefused { .. })),
        "{result:?}"
    );
    // Cal.com says which it was: a redirect URI is a fault of the configuration.
    let calcom = world.calcom();
    let callback = consented(&calcom, None).await;
    let other = Url::parse("http://localhost:1/other").unwrap();
    let result = redeemed(&calcom, &callback, None, &other).await;
    let expected = "redirect_uri_mismatch";
    assert!(matches!(result, Err(CallError::ClientRefused { code, .. }) if code == expected));
}

#[tokio::test]
async fn a_refused_client_is_no_fault_of_the_users() {
    let world = World::open().await;
    let calcom = world.calcom();
    world.sandbox.calcom().set(|switches| {
        switches.consent_as = Some("erin".to_owned());
    });
    let callback = consented(&calcom, None).await;
    world.sandbox.calcom().set(|switches| {
        switches.client_status = daypass::sandbox::ClientStatus::Pending;
    });
    let result = redeemed(&calcom, &callback, None, &redirect()).await;
    let expected = "client_not_approved";
    assert!(matches!(result, Err(CallError::ClientRefused { code, .. }) if code == expected));
}

#[tokio::test]
async fn no_is_an_answer_and_less_is_noticed() {
    let world = World::open().await;
    let calendly = world.calendly();
    let verifier = verifier_for(&calendly, 1);
    world.sandbox.calendly().set(|switches| {
        switches.consent_as = Some("erin".to_owned());
        switches.consent_denied = true;
    });
    let callback = consented(&calendly, verifier.as_ref()).await;
    let Callback::Refused { state, refusal } = callback else {
        panic!("{callback:?}");
    };
    assert_eq!((state.as_str(), refusal), ("st&te", ConsentRefusal::Denied));
    world.sandbox.calendly().set(|switches| {
        switches.consent_denied = false;
        switches.consent_scope = Some("users:read scheduled_events:read".to_owned());
    });
    let callback = consented(&calendly, verifier.as_ref()).await;
    let minted = redeemed(&calendly, &callback, verifier.as_ref(), &redirect()).await;
    let lacking = calendly.lacking(minted.unwrap().scope.as_deref());
    assert_eq!(lacking.len(), 1);
    assert_eq!(
        (&*lacking[0].scope, lacking[0].purpose),
        ("webhooks:write", Purpose::Webhooks)
    );
    // A scope that does not exist is the configuration's fault.
    let wrong = world.calendly_with(|config| config.scope = "bookings:read".to_owned());
    let callback = consented(&wrong, verifier.as_ref()).await;
    let Callback::Refused { refusal, .. } = callback else {
        panic!("{callback:?}");
    };
    assert_eq!(refusal, ConsentRefusal::Scope);
}

#[tokio::test]
async fn whose_token_it_is_can_be_asked_and_may_be_refused() {
    let world = World::open().await;
    for (provider, user) in Either::both(&world) {
        let identity = provider.consent().identify(&user.token).await.unwrap();
        assert_eq!(identity.account, user.account);
        let dead = provider.consent().identify(&secret("dead")).await;
        assert_eq!(outcome(&dead), "token refused");
        for (what, expected) in [
            (ApiMischief::Expired, "token refused"),
            (ApiMischief::LeakingForbidden, "token refused"),
            (ApiMischief::InsufficientScope, "forbidden"),
            (ApiMischief::RateLimited { retry_after: None }, "limited"),
            (ApiMischief::ServerError, "transient"),
            (ApiMischief::HtmlForbidden, "transient"),
            (ApiMischief::Drop, "transient"),
        ] {
            provider.fault(&world, ApiFault::next(1, what.clone()));
            let result = provider.consent().identify(&user.token).await;
            assert_eq!(outcome(&result), expected, "{what:?}");
        }
    }
}

#[tokio::test]
async fn a_managed_user_is_known_by_its_number_once_it_is_renewed() {
    let world = World::open().await;
    let managed = world.calcom_user(&NewUser::managed("mia"));
    let calcom = world.calcom();
    let account = Account {
        external_id: None,
        ..managed.account.clone()
    };
    let minted = calcom.refresh(&account, &managed.refresh).await.unwrap();
    assert_eq!(minted.account, managed.account);
    let identity = calcom.identify(&minted.access).await.unwrap();
    assert_eq!(identity.account.external_id, managed.account.external_id);
}

#[tokio::test]
async fn what_is_revoked_is_dead() {
    let world = World::open().await;
    let alice = world.calendly_user(&NewUser::named("alice"));
    let calendly = world.calendly();
    assert!(calendly.revoke(&alice.refresh).await.unwrap());
    let result = calendly.identify(&alice.token).await;
    assert_eq!(outcome(&result), "token refused");
    // Once more is no harm.
    assert!(calendly.revoke(&alice.refresh).await.unwrap());
}
