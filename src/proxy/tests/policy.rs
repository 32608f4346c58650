//! What an operator allows, how often, and what is said about the rest.

use std::{num::NonZeroU32, sync::Arc, time::Duration};

use http::{HeaderMap, HeaderName, Method, Request, Response, StatusCode};
use tokio::time::advance;
use tower::{BoxError, ServiceBuilder, service_fn};

use super::world::*;
use crate::{
    http::{
        access_log::{Objection, Record},
        body::Body,
        problem::RescueLayer,
        replay::ReplayBody,
        service::{Ready, Service},
    },
    proxy::{
        Config, Limits, Mode, Policy, Rate, errors,
        inject::{Answer, Attempt, InjectLayer},
        recover::RecoverLayer,
        route::{Caller, Routed, Target, Upstream, User},
    },
    token::TokenSource,
};

fn allowing(rules: &[&str], mode: Mode) -> Policy {
    Policy {
        allow: rules.iter().map(|rule| rule.parse().unwrap()).collect(),
        mode,
        ..Policy::default()
    }
}

fn limited(per_user: u32, mode: Mode) -> Policy {
    let per_user = NonZeroU32::new(per_user).map(|calls| Rate {
        calls,
        per: Duration::from_mins(1),
    });
    Policy {
        limits: Limits {
            per_user,
            per_provider: None,
            mode,
        },
        ..Policy::default()
    }
}

fn under(policy: Policy) -> Config {
    let mut config = config();
    config.policies.insert("calendly".parse().unwrap(), policy);
    config
}

fn user(name: &str) -> User {
    let header = HeaderName::from_static("x-user-id");
    let mut headers = HeaderMap::new();
    headers.insert(&header, name.parse().unwrap());
    User::take(&mut headers, &header).unwrap()
}

fn upstream(policy: &Policy) -> Arc<Upstream> {
    let provider = scripted("127.0.0.1:1".parse().unwrap());
    Arc::new(Upstream::new(Arc::new(provider), Some(policy)))
}

fn attempt(upstream: &Arc<Upstream>, name: &str) -> Attempt {
    Attempt {
        request: Request::new(ReplayBody::new(Body::empty(), 0).0),
        upstream: Arc::clone(upstream),
        user: user(name),
        record: Arc::new(Record::begin(Method::GET)),
        bearer: None,
        replay: None,
    }
}

/// Answers 401 to the old token, and 200 to any other.
async fn provider(request: Request<ReplayBody>) -> Result<Response<Body>, BoxError> {
    let token = request.headers()["authorization"].to_str().unwrap();
    let status = if token.ends_with(OLD) { 401 } else { 200 };
    Ok(answer(status, ""))
}

fn inject(
    tokens: &Arc<Tokens>,
) -> impl Service<Attempt, Response = Answer, Error = BoxError, Future: Send> + Clone + Send + 'static
{
    let tokens = Arc::clone(tokens) as Arc<dyn TokenSource>;
    ServiceBuilder::new()
        .layer(InjectLayer::new(tokens))
        .service(Ready(service_fn(provider)))
}

#[tokio::test]
async fn what_is_not_on_the_list_is_refused_with_the_rule_to_add() {
    let policy = allowing(&["GET /v2/bookings*"], Mode::Enforce);
    let world = World::with(under(policy), |_| answer(200, "fine"));
    let got = world.get("/calendly/v2/bookings/a?take=1", "").await;
    assert_eq!(status(&got), 200, "{got}");
    let got = world
        .send("DELETE", "/calendly/v2/bookings/a", "", "")
        .await;
    assert_eq!(status(&got), 403);
    let problem: serde_json::Value = serde_json::from_str(body(&got)).unwrap();
    assert_eq!(problem["type"], "urn:daypass:problem:not-allowed-by-policy");
    assert_eq!(problem["rule"], "DELETE /v2/bookings/a");
    let detail = problem["detail"].as_str().unwrap();
    let told = "adds \"DELETE /v2/bookings/a\" to providers.calendly.policy.allow";
    assert!(detail.contains(told), "{detail}");
    let note = header(&got, "proxy-status").unwrap();
    assert!(
        note.starts_with("daypass; error=http_request_denied"),
        "{note}"
    );
    assert_eq!(world.seen().len(), 1, "it was not sent");
    let facts = world.observer.0.lock()[1].clone();
    assert_eq!(facts.policy.not_allowed, Some(Objection::Refused));
}

#[tokio::test]
async fn the_providers_own_host_is_no_way_around_the_list() {
    let policy = allowing(&["GET /v2/bookings*"], Mode::Enforce);
    let world = World::with(under(policy), |_| answer(200, "fine"));
    let (here, there) = (world.address, world.upstream);
    for target in [
        format!("http://{there}/v2/me"),
        "/calendly//v2/bookings".to_owned(),
        "/calendly/v2/bookings/%2e%2e/me".to_owned(),
        "/calendly/V2/bookings".to_owned(),
        "/calendly/v2%2fbookings".to_owned(),
        "/calendly".to_owned(),
    ] {
        let request = format!(
            "GET {target} HTTP/1.1\r\nhost: {here}\r\nx-user-id: u_1\r\nconnection: close\r\n\r\n"
        );
        let got = world.raw(request).await;
        assert!(matches!(status(&got), 400 | 403), "{target}: {got}");
    }
    assert!(world.seen().is_empty());
}

#[tokio::test]
async fn what_is_only_observed_passes_and_is_told() {
    let policy = allowing(&["GET /v2/bookings*"], Mode::Observe);
    let world = World::with(under(policy), |_| answer(200, "fine"));
    let got = world.get("/calendly/v2/me", "").await;
    assert_eq!(status(&got), 200);
    let facts = world.observer.0.lock()[0].clone();
    assert_eq!(facts.policy.not_allowed, Some(Objection::Observed));
}

#[tokio::test]
async fn a_user_beyond_the_limit_is_told_when_to_come_back_and_the_others_are_served() {
    let world = World::with(under(limited(2, Mode::Enforce)), |_| answer(200, "fine"));
    for expected in [200, 200, 429] {
        let got = world.get("/calendly/x", "").await;
        assert_eq!(status(&got), expected, "{got}");
        if expected == 429 {
            assert!(body(&got).contains("urn:daypass:problem:rate-limited"));
            assert!(body(&got).contains("providers.calendly.limits.per_user"));
            let wait: u64 = header(&got, "retry-after").unwrap().parse().unwrap();
            assert!((25..=30).contains(&wait), "{wait}");
        }
    }
    let other = format!(
        "GET /calendly/x HTTP/1.1\r\nhost: {}\r\nx-user-id: u_2\r\nconnection: close\r\n\r\n",
        world.address
    );
    assert_eq!(status(&world.raw(other).await), 200);
    assert_eq!(world.seen().len(), 3);
}

#[tokio::test(start_paused = true)]
async fn calls_are_let_through_again_as_time_passes() {
    let tokens: Arc<Tokens> = Arc::default();
    let upstream = upstream(&limited(2, Mode::Enforce));
    let call = || inject(&tokens).call(attempt(&upstream, "anna"));
    assert!(call().await.is_ok() && call().await.is_ok());
    let refused = call().await.unwrap_err();
    let problem = errors::problem(&refused);
    assert_eq!(problem.status(), StatusCode::TOO_MANY_REQUESTS);
    advance(Duration::from_secs(29)).await;
    assert!(call().await.is_err());
    advance(Duration::from_secs(1)).await;
    assert!(call().await.is_ok() && call().await.is_err());
}

#[tokio::test(start_paused = true)]
async fn what_is_only_observed_is_charged_as_if_it_were_refused() {
    let tokens: Arc<Tokens> = Arc::default();
    let upstream = upstream(&limited(1, Mode::Observe));
    for expected in [None, Some(Objection::Observed), Some(Objection::Observed)] {
        let attempt = attempt(&upstream, "anna");
        let record = Arc::clone(&attempt.record);
        assert!(inject(&tokens).call(attempt).await.is_ok());
        assert_eq!(record.facts().policy.user_limit, expected);
    }
    // The calls that would have been refused have used up nothing.
    advance(Duration::from_mins(1)).await;
    let attempt = attempt(&upstream, "anna");
    let record = Arc::clone(&attempt.record);
    assert!(inject(&tokens).call(attempt).await.is_ok());
    assert_eq!(record.facts().policy.user_limit, None);
}

#[tokio::test(start_paused = true)]
async fn a_user_without_a_token_uses_up_nothing() {
    let tokens: Arc<Tokens> = Arc::default();
    let upstream = upstream(&limited(1, Mode::Enforce));
    let key = user("anna").at(upstream.provider.name()).unwrap();
    *tokens.miss.lock() = Some(crate::token::Error::NotConnected { key });
    for _ in 0..3 {
        let refused = inject(&tokens).call(attempt(&upstream, "anna")).await;
        assert!(refused.unwrap_err().is::<crate::token::Error>());
    }
    *tokens.miss.lock() = None;
    // The token has to be waited for, and the call is charged all the same.
    tokens.cold.store(true, std::sync::atomic::Ordering::SeqCst);
    assert!(
        inject(&tokens)
            .call(attempt(&upstream, "anna"))
            .await
            .is_ok()
    );
    assert!(
        inject(&tokens)
            .call(attempt(&upstream, "anna"))
            .await
            .is_err()
    );
}

#[tokio::test(start_paused = true)]
async fn a_replay_is_not_charged() {
    let tokens: Arc<Tokens> = Arc::default();
    let upstream = upstream(&limited(2, Mode::Enforce));
    let source = Arc::clone(&tokens) as Arc<dyn TokenSource>;
    let stack = ServiceBuilder::new()
        .layer(RescueLayer::new(errors::problem))
        .layer(RecoverLayer::new(source, 1024))
        .service(inject(&tokens));
    let mut statuses = Vec::new();
    for _ in 0..3 {
        let routed = Routed {
            request: Request::new(Body::empty()),
            target: Target::new("/".parse().unwrap(), 0),
            upstream: Arc::clone(&upstream),
            user: user("anna"),
            caller: Caller::Host,
            record: Arc::new(Record::begin(Method::GET)),
        };
        let answer: Response<Body> = stack.call(routed).await.unwrap();
        statuses.push(answer.status().as_u16());
    }
    assert_eq!(
        statuses,
        [200, 200, 429],
        "each of the first two was sent twice"
    );
}
