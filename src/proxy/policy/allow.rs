//! Refuses what is not on a provider's allow-list.
//!
//! * Request: its method and its path, as they will be sent, must be on the list however they are
//!   read ([`readings`](super::readings)). A header that asks the provider to take the call for
//!   another method must be on it with that method, too; one that asks it to take another path is not
//!   on any list. Bodies are not looked at.
//! * Response: untouched.
//! * Order: inside route, which knows the provider, and outside everything that does work.

use http::{HeaderMap, Method, Response};
use thiserror::Error;
use tower::{BoxError, Layer};

use super::{Gate, Mode, Rule, readings::readings};
use crate::{
    base::ids::ProviderName,
    http::{
        access_log::Objection,
        body::Body,
        service::{Gated, Service},
    },
    proxy::route::Routed,
};

/// Headers by which frameworks take a call for one with another method.
const OTHER_METHOD: [&str; 3] = [
    "x-http-method-override",
    "x-http-method",
    "x-method-override",
];
/// Headers by which servers take a call for one of another path.
const OTHER_PATH: [&str; 3] = ["x-original-url", "x-original-uri", "x-rewrite-url"];
/// How much of a path is told, in bytes.
const TOLD: usize = 200;

/// A call that is on no list. Not sent; the operator can change that.
#[derive(Debug, Error)]
#[error("{method} {path} is not on the allow-list of {provider}")]
pub(in crate::proxy) struct NotAllowed {
    pub(in crate::proxy) provider: ProviderName,
    pub(in crate::proxy) method: Method,
    /// Cut if it is very long.
    pub(in crate::proxy) path: String,
    pub(in crate::proxy) why: Why,
}

/// What would allow a call.
#[derive(Debug, PartialEq, Eq)]
pub(in crate::proxy) enum Why {
    /// This rule.
    NoRule(String),
    /// Nothing: its path can be read as that of another call.
    Ambiguous,
    /// Nothing, as long as it has this header.
    Header(&'static str),
}

/// Applies [`Allow`].
#[derive(Clone, Copy, Debug)]
pub(in crate::proxy) struct AllowLayer;

/// Refuses; see the [module docs](self).
#[derive(Clone, Debug)]
pub(in crate::proxy) struct Allow<S> {
    inner: S,
}

impl<S> Layer<S> for AllowLayer {
    type Service = Allow<S>;

    fn layer(&self, inner: S) -> Self::Service {
        Allow { inner }
    }
}

// === impl Allow ===

impl<S> Service<Routed> for Allow<S>
where
    S: Service<Routed, Response = Response<Body>>,
    S::Error: Into<BoxError>,
{
    type Response = Response<Body>;
    type Error = BoxError;
    type Future = Gated<S::Future, BoxError>;

    fn call(&self, routed: Routed) -> Self::Future {
        let judged = match &routed.upstream.gate {
            None => Ok(()),
            Some(gate) => gate.judge(&routed),
        };
        match judged {
            Ok(()) => Gated::passed(self.inner.call(routed)),
            Err(refusal) => Gated::refused(refusal.into()),
        }
    }
}

// === impl Gate ===

impl Gate {
    fn judge(&self, routed: &Routed) -> Result<(), NotAllowed> {
        if self.allow.is_empty() {
            return Ok(());
        }
        let request = &routed.request;
        let sent = request.uri().path();
        let path = sent
            .strip_prefix(routed.upstream.provider.api_base().prefix())
            .unwrap_or(sent);
        let Err(why) = self.has(request.method(), path, request.headers()) else {
            return Ok(());
        };
        let objection = Objection::of(self.mode == Mode::Enforce);
        routed
            .record
            .note(|facts| facts.policy.not_allowed = Some(objection));
        let refusal = NotAllowed {
            provider: self.provider.clone(),
            method: request.method().clone(),
            path: path.get(..TOLD).unwrap_or(path).to_owned(),
            why,
        };
        if let Some(more) = self.not_allowed.count() {
            tracing::warn!(
                provider = %self.provider, user = routed.user.as_str(),
                outcome = objection.as_str(), method = %refusal.method, path = refusal.path,
                rule = refusal.why.rule(), more, "not on the allow-list",
            );
        }
        match self.mode {
            Mode::Observe => Ok(()),
            Mode::Enforce => Err(refusal),
        }
    }

    fn has(&self, method: &Method, path: &str, headers: &HeaderMap) -> Result<(), Why> {
        if let Some(name) = OTHER_PATH
            .into_iter()
            .find(|name| headers.contains_key(*name))
        {
            return Err(Why::Header(name));
        }
        let Some(readings) = readings(path) else {
            return Err(Why::Ambiguous);
        };
        let has = |method: &Method| {
            let rules: Vec<&Rule> = self
                .allow
                .iter()
                .filter(|rule| rule.has_method(method))
                .collect();
            readings
                .iter()
                .all(|path| rules.iter().any(|rule| rule.has_path(path)))
        };
        if !has(method) {
            let named = Rule::naming(method, path);
            let would_do = |rule: Rule| readings.iter().all(|path| rule.has_path(path));
            return Err(if named.parse().is_ok_and(would_do) {
                Why::NoRule(named)
            } else {
                Why::Ambiguous
            });
        }
        for name in OTHER_METHOD {
            for value in headers.get_all(name) {
                let asked = value.as_bytes().trim_ascii().to_ascii_uppercase();
                if !Method::from_bytes(&asked).is_ok_and(|method| has(&method)) {
                    return Err(Why::Header(name));
                }
            }
        }
        Ok(())
    }
}

// === impl Why ===

impl Why {
    /// The rule that would allow the call, if one would.
    pub(in crate::proxy) fn rule(&self) -> Option<&str> {
        match self {
            Self::NoRule(rule) => Some(rule),
            Self::Ambiguous | Self::Header(_) => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::proxy::policy::Policy;

    fn gate(rules: &[&str]) -> Gate {
        let policy = Policy {
            allow: rules.iter().map(|rule| rule.parse().unwrap()).collect(),
            ..Policy::default()
        };
        Gate::new(&ProviderName::parse("calcom").unwrap(), &policy).unwrap()
    }

    fn has(gate: &Gate, method: &str, path: &str) -> bool {
        let method = Method::from_bytes(method.as_bytes()).unwrap();
        gate.has(&method, path, &HeaderMap::new()).is_ok()
    }

    /// What a server of the worst kind makes of a path: everything, in the order that helps least.
    fn resolved(path: &str) -> String {
        let mut bytes = path.as_bytes().to_vec();
        for _ in 0..8 {
            bytes = crate::proxy::target::decode(&bytes);
        }
        let text = String::from_utf8_lossy(&bytes)
            .to_lowercase()
            .replace('\\', "/");
        let path = text.split(['?', '#', '\0']).next().unwrap();
        let mut segments: Vec<&str> = Vec::new();
        for segment in path.split('/') {
            match segment.split(';').next().unwrap().trim() {
                "" | "." => {}
                ".." => {
                    segments.pop();
                }
                _ => segments.push(segment.split(';').next().unwrap()),
            }
        }
        format!("/{}", segments.join("/"))
    }

    #[test]
    fn a_list_has_its_calls_and_no_trick_about_them() {
        let gate = gate(&["GET /v2/bookings*", "POST /v2/bookings/*/cancel"]);
        for (method, path) in [
            ("GET", "/v2/bookings"),
            ("HEAD", "/v2/bookings"),
            ("GET", "/v2/bookings/"),
            ("GET", "/v2/bookings/a%40b"),
            ("POST", "/v2/bookings/a/cancel"),
        ] {
            assert!(has(&gate, method, path), "{method} {path}");
        }
        for (method, path) in [
            ("POST", "/v2/bookings"),
            ("DELETE", "/v2/bookings/a"),
            ("get", "/v2/bookings"),
            ("GET", "/v2/me"),
            ("GET", "/V2/bookings"),
            ("GET", "/v2/%62ookings"),
            ("GET", "//v2/bookings"),
            ("GET", "/v2//bookings"),
            ("GET", "/v2;x/bookings"),
            ("GET", "/v2/bookings/../me"),
            ("GET", "/v2/bookings/%2e%2e/me"),
            ("GET", "/v2/bookings/..;/me"),
            ("GET", "/v2/bookings/..%00/me"),
            ("POST", "/v2/bookings/a%2fb/cancel"),
            ("POST", "/v2/bookings/%3f/cancel"),
            ("POST", "/v2/bookings/;x/cancel"),
            ("POST", "/v2/bookings//cancel"),
            ("POST", "/v2/bookings/a/cancel/"),
        ] {
            assert!(!has(&gate, method, path), "{method} {path}");
        }
    }

    #[test]
    fn a_slash_at_the_end_does_not_turn_an_item_into_the_list() {
        let gate = gate(&["GET /v2/bookings/*"]);
        assert!(has(&gate, "GET", "/v2/bookings/a") && has(&gate, "GET", "/v2/bookings/a/"));
        assert!(!has(&gate, "GET", "/v2/bookings/") && !has(&gate, "GET", "/v2/bookings"));
    }

    #[test]
    fn a_header_cannot_make_another_call_of_it() {
        let gate = gate(&["GET|POST /v2/bookings*"]);
        for (name, value, fine) in [
            ("x-http-method-override", "DELETE", false),
            ("x-http-method-override", "delete", false),
            ("x-http-method-override", "get", true),
            ("x-method-override", "PATCH", false),
            ("x-http-method", "no method", false),
            ("x-original-url", "/v2/me", false),
            ("x-rewrite-url", "/v2/bookings", false),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert(name, value.parse().unwrap());
            let has = gate.has(&Method::POST, "/v2/bookings", &headers);
            assert_eq!(has.is_ok(), fine, "{name}: {value}");
        }
    }

    #[test]
    fn a_refusal_names_the_rule_to_add() {
        let gate = gate(&["GET /v2/me"]);
        for (path, why) in [
            ("/v2/bookings", Why::NoRule("POST /v2/bookings".to_owned())),
            (
                "/v2/users/a%40b/x",
                Why::NoRule("POST /v2/users/*/x".to_owned()),
            ),
            ("/v2/a%2fb/x", Why::Ambiguous),
            ("/v2//x", Why::Ambiguous),
        ] {
            let refused = gate.has(&Method::POST, path, &HeaderMap::new());
            assert_eq!(refused.unwrap_err(), why, "{path}");
        }
    }

    proptest! {
        #[test]
        fn what_passes_stays_below_the_rule_whoever_reads_it(
            start in "(/v2/bookings|/v2/bookings/|/v2/Bookings|/v2/%62ookings|/v2;a/bookings|/)",
            rest in r"([a-z/.;?#\\ ]|%2[eEfF35]|%5[cC]|%3[bBfF]|%0[0aAdD9]|%20|%25|//|/\.\./|me){0,12}",
        ) {
            let path = format!("{start}{rest}");
            // Only what passes the check of targets comes here.
            prop_assume!(crate::proxy::target::check_path(&path).is_ok());
            if has(&gate(&["GET /v2/bookings/*"]), "GET", &path) {
                let resolved = resolved(&path);
                prop_assert!(resolved.starts_with("/v2/bookings/"), "{} is {}", path, resolved);
            }
        }

        #[test]
        fn a_star_within_a_path_never_spans_a_slash(
            middle in r"([a-z/.;]|%2[eEfF5]|%3[bBfF]|%00|%252[fF]|//){0,10}",
        ) {
            let path = format!("/v2/bookings/{middle}/cancel");
            prop_assume!(crate::proxy::target::check_path(&path).is_ok());
            if has(&gate(&["GET /v2/bookings/*/cancel"]), "GET", &path) {
                let resolved = resolved(&path);
                prop_assert_eq!(resolved.split('/').count(), 5, "{} is {}", path, resolved);
                prop_assert!(resolved.ends_with("/cancel"), "{} is {}", path, resolved);
            }
        }
    }
}
