//! Who may use the API.
//!
//! 1. Where a token is configured, every call must show it, once, as a bearer token (RFC 6750 §2.1).
//!    Digests are compared, in constant time, so that not even its length shows. It is read anew for
//!    each call, since its file may change.
//! 2. Without one, whoever reaches a loopback address or a unix socket may call. The configuration
//!    refuses to listen anywhere else; should that ever fail, every call is refused here.
//! 3. Without one, no page in a browser of the same machine may call: a browser says where a page comes
//!    from (`Origin`), and a name that was made to lead here (DNS rebinding) is no loopback address.
//! 4. Whoever is let in is somebody: `admin` with the token, `local` where there is none.
//! 5. Who is not let in learns nothing, not even which routes there are.

use std::{net::IpAddr, sync::Arc};

use axum::{
    extract::{Request, State},
    middleware::Next,
    response::{IntoResponse, Response},
};
use http::{
    HeaderMap, HeaderName, HeaderValue,
    header::{AUTHORIZATION, CACHE_CONTROL, HOST, ORIGIN, X_CONTENT_TYPE_OPTIONS},
    uri::Authority,
};
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

use super::{
    Config, Trouble,
    audit::{Actor, Via},
};
use crate::{base::secret::ReloadableSecret, http::Listen};

/// Lets operators in; see the [module docs](self).
#[derive(Clone)]
pub(super) struct Gate(Arc<Inner>);

struct Inner {
    token: Option<ReloadableSecret>,
    listen: Listen,
}

/// What every answer of the API says.
const HEADERS: [(HeaderName, HeaderValue); 2] = [
    (CACHE_CONTROL, HeaderValue::from_static("no-store")),
    (X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff")),
];

/// Passes on who may call.
pub(super) async fn pass(State(gate): State<Gate>, mut request: Request, next: Next) -> Response {
    let mut response = match gate.admits(&request) {
        Ok(who) => {
            request.extensions_mut().insert(Actor::new(Via::Api, who));
            next.run(request).await
        }
        Err(trouble) => trouble.into_response(),
    };
    response.headers_mut().extend(HEADERS);
    response
}

// === impl Gate ===

impl Gate {
    pub(super) fn new(config: &Config) -> Self {
        Self(Arc::new(Inner {
            token: config.token.clone(),
            listen: config.listen.clone(),
        }))
    }

    /// Who may call; what audits call them.
    fn admits<B>(&self, request: &http::Request<B>) -> Result<&'static str, Trouble> {
        let Inner { token, listen } = &*self.0;
        let headers = request.headers();
        let Some(token) = token else {
            if !listen.is_local() {
                return Err(Trouble::NoAdminToken);
            }
            let host = host(request);
            let is_foreign = comes_from_elsewhere(headers, host.as_ref())
                || (matches!(listen, Listen::Tcp(_)) && host.is_some_and(|host| !is_here(&host)));
            return if is_foreign {
                Err(Trouble::ForeignPage)
            } else {
                Ok("local")
            };
        };
        let shown = shown(headers).ok_or(Trouble::NoToken)?;
        let expected = token.current();
        let same = digest(shown).ct_eq(&digest(expected.danger_expose().as_bytes()));
        if bool::from(same) {
            Ok("admin")
        } else {
            Err(Trouble::WrongToken)
        }
    }
}

/// The one bearer token in `headers`.
fn shown(headers: &HeaderMap) -> Option<&[u8]> {
    let mut lines = headers.get_all(AUTHORIZATION).iter();
    let (Some(line), None) = (lines.next(), lines.next()) else {
        return None;
    };
    let (scheme, token) = line.as_bytes().split_at_checked(7)?;
    scheme
        .eq_ignore_ascii_case(b"bearer ")
        .then(|| token.trim_ascii())
}

fn digest(token: &[u8]) -> [u8; 32] {
    Sha256::digest(token).into()
}

/// Which host the caller thinks this is.
pub(super) fn host<B>(request: &http::Request<B>) -> Option<Authority> {
    let named = request.headers().get(HOST);
    let named = named.and_then(|host| Authority::try_from(host.as_bytes()).ok());
    named.or_else(|| request.uri().authority().cloned())
}

/// Whether it is a name of this machine that nobody else can give it.
pub(super) fn is_here(host: &Authority) -> bool {
    let name = host.host().trim_matches(['[', ']']);
    name.eq_ignore_ascii_case("localhost")
        || name
            .parse()
            .is_ok_and(|address: IpAddr| address.is_loopback())
}

/// Whether a browser says that a page from elsewhere makes the call.
fn comes_from_elsewhere(headers: &HeaderMap, host: Option<&Authority>) -> bool {
    headers.get_all(ORIGIN).iter().any(|origin| {
        let origin = origin.as_bytes().strip_prefix(b"http://");
        origin.is_none() || origin != host.map(|host| host.as_str().as_bytes())
    })
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::base::secret::Secret;

    fn gate(listen: &str, token: Option<&str>) -> Gate {
        Gate::new(&Config {
            audit_retention: Duration::from_hours(1),
            listen: match listen.strip_prefix("unix:") {
                Some(path) => Listen::Unix(path.into()),
                None => Listen::Tcp(listen.parse().unwrap()),
            },
            token: token.map(|text| ReloadableSecret::new(Secret::from(text.to_owned()))),
        })
    }

    fn call(headers: &[(&str, &str)]) -> http::Request<()> {
        let mut request = http::Request::new(());
        for (name, value) in headers {
            let name: HeaderName = name.parse().unwrap();
            request.headers_mut().append(name, value.parse().unwrap());
        }
        request
    }

    fn is_let_in(gate: &Gate, headers: &[(&str, &str)]) -> bool {
        gate.admits(&call(headers)).is_ok()
    }

    #[test]
    fn a_configured_token_must_be_shown_wherever_the_caller_is() {
        for listen in ["127.0.0.1:1", "10.0.0.1:1", "unix:/run/x.sock"] {
            let gate = gate(listen, Some("s3cret"));
            assert!(is_let_in(&gate, &[("authorization", "Bearer s3cret")]));
            assert!(is_let_in(&gate, &[("authorization", "bearer  s3cret")]));
            for bad in [
                "s3cret",
                "Bearer",
                "Bearer ",
                "Bearer s3cre",
                "Bearer s3crets",
                "Bearer S3CRET",
                "Basic s3cret",
                "Bearer s3cret s3cret",
            ] {
                assert!(!is_let_in(&gate, &[("authorization", bad)]), "{bad}");
            }
            assert!(!is_let_in(&gate, &[]));
            let twice = [
                ("authorization", "Bearer s3cret"),
                ("authorization", "Bearer s3cret"),
            ];
            assert!(!is_let_in(&gate, &twice));
        }
    }

    #[test]
    fn a_token_that_is_replaced_counts_at_once() {
        let token = ReloadableSecret::new(Secret::from("old".to_owned()));
        let gate = Gate::new(&Config {
            audit_retention: Duration::from_hours(1),
            listen: Listen::Tcp("127.0.0.1:1".parse().unwrap()),
            token: Some(token.clone()),
        });
        assert!(is_let_in(&gate, &[("authorization", "Bearer old")]));
        token.replace(Secret::from("new".to_owned()));
        assert!(!is_let_in(&gate, &[("authorization", "Bearer old")]));
        assert!(is_let_in(&gate, &[("authorization", "Bearer new")]));
    }

    #[test]
    fn without_a_token_only_this_machine_is_let_in() {
        for (listen, open) in [
            ("127.0.0.1:7422", true),
            ("[::1]:7422", true),
            ("unix:/run/x.sock", true),
            ("0.0.0.0:7422", false),
            ("10.0.0.1:7422", false),
            ("[::]:7422", false),
        ] {
            let gate = gate(listen, None);
            let let_in = is_let_in(&gate, &[("host", "127.0.0.1:7422")]);
            assert_eq!(let_in, open, "{listen}");
        }
    }

    #[test]
    fn without_a_token_no_page_of_a_browser_is_let_in() {
        let gate = gate("127.0.0.1:7422", None);
        for host in [
            "127.0.0.1:7422",
            "localhost:7422",
            "[::1]:7422",
            "LOCALHOST",
        ] {
            assert!(is_let_in(&gate, &[("host", host)]), "{host}");
        }
        for host in [
            "evil.example:7422",
            "127.0.0.1.evil.example",
            "10.0.0.1:7422",
        ] {
            assert!(!is_let_in(&gate, &[("host", host)]), "{host}");
        }
        let from = |origin| [("host", "localhost:7422"), ("origin", origin)];
        assert!(is_let_in(&gate, &from("http://localhost:7422")));
        for origin in [
            "http://localhost:3000",
            "https://localhost:7422",
            "https://evil.example",
            "null",
            "",
        ] {
            assert!(!is_let_in(&gate, &from(origin)), "{origin}");
        }
    }
}
