//! No target whatever leads anywhere but to the provider's own authority.

use proptest::prelude::*;

use super::*;
use crate::{
    http::Listen,
    proxy::tests::world::{config, scripted},
};

fn table() -> Arc<Table> {
    let mut provider = scripted("127.0.0.1:1".parse().unwrap());
    provider.base = crate::provider::ApiBase::parse("https://api.example.org/prefix").unwrap();
    let mut config = config();
    config.listen = Listen::Tcp("127.0.0.1:7420".parse().unwrap());
    RouteLayer::new(&config, vec![Arc::new(provider)]).0
}

fn route(target: &str, host: &str) -> Option<Routed> {
    let request = Request::get(target)
        .header("host", host)
        .header("x-user-id", "u")
        .body(Body::empty())
        .ok()?;
    let record = Arc::new(Record::begin(Method::GET));
    match table().route(Tracked { request, record }) {
        Ok(Destination::Provider(routed)) => Some(routed),
        _ => None,
    }
}

proptest! {
    #[test]
    fn every_target_stays_at_the_provider(
        start in "(/calendly|/calendly/|http://api.example.org|http://localhost/calendly|//|http://)",
        rest in r"([a-z/.%\\@:?#;&=]|%2[eEfF]|%5[cC]|%25|//|\.\./|@evil\.com|evil\.com){0,12}",
        host in "(localhost|api\\.example\\.org|api\\.example\\.org\\.evil\\.com|evil\\.com|127\\.0\\.0\\.1:7420)",
    ) {
        if let Some(routed) = route(&format!("{start}{rest}"), &host) {
            let uri = routed.request.uri();
            prop_assert_eq!(uri.scheme_str(), Some("https"));
            prop_assert_eq!(uri.authority().unwrap().as_str(), "api.example.org");
            prop_assert!(uri.path().starts_with("/prefix/"), "{}", uri);
            // A resolver that normalises paths does not climb out either.
            let resolved = url::Url::parse(&uri.to_string()).unwrap();
            prop_assert_eq!(resolved.host_str(), Some("api.example.org"));
            prop_assert!(resolved.path().starts_with("/prefix/"), "{}", resolved);
        }
    }
}

#[test]
fn an_honest_target_is_routed() {
    let routed = route("/calendly/users/me?a=1", "localhost").unwrap();
    assert_eq!(
        routed.request.uri(),
        "https://api.example.org/prefix/users/me?a=1"
    );
    assert!(!routed.request.headers().contains_key("x-user-id"));
}
