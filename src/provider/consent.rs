//! How a user comes to be connected: the way to the consent page, what comes back, and who it was.
//!
//! 1. A client proves itself by its secret or by PKCE, or by both where the provider takes both:
//!    [`Consent::pkce`] says which, and the caller makes a [`Verifier`] exactly then.
//! 2. What a browser brings to the callback is somebody's word, not the provider's: of a refusal only
//!    the kind is kept, never the text.
//! 3. A parameter that comes twice makes the whole callback void (RFC 6749 §3.1).
//! 4. What users were asked for is not what they granted: [`Consent::lacking`] compares.

use std::{borrow::Cow, fmt};

use async_trait::async_trait;
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use sha2::{Digest, Sha256};
use url::{Url, form_urlencoded};

use super::{Account, ApiError, CallError, Minted};
use crate::base::{random::Random, secret::Secret};

/// What connecting needs of a provider.
#[async_trait]
pub trait Consent: Send + Sync {
    /// Whether the authorize request carries a challenge, and the exchange its verifier.
    fn pkce(&self) -> Pkce;

    /// The redirect URI that both requests carry: the configured one, or else `callback`, which is
    /// `{public_url}/oauth/callback/{name}`. The two must be the same text, so keep it between them.
    fn redirect_uri(&self, callback: &Url) -> Url;

    /// Where to send the browser.
    ///
    /// # Errors
    ///
    /// Only [`CallError::NotConfigured`]: what this request or the exchange after it needs is missing.
    fn authorize_url(&self, ask: &Ask<'_>) -> Result<Url, CallError>;

    /// Redeems the code that came back, once.
    ///
    /// # Errors
    ///
    /// * [`CallError::GrantRefused`]: the code is expired, used or another client's. The user may try
    ///   again from the start.
    /// * [`CallError::ClientRefused`], [`CallError::NotConfigured`]: a fault of the configuration, a
    ///   redirect URI that does not fit among them.
    /// * [`CallError::Ambiguous`]: the code may be spent; only a new consent helps.
    /// * The rest is transient and left the code as it was, though it lives for ten minutes at most.
    async fn exchange(&self, redeem: &Redeem<'_>) -> Result<Minted, CallError>;

    /// What of the scope that was asked for, or that Daypass needs, is missing from `granted` (space
    /// separated). Nothing is missing as far as is known if `granted` is `None`.
    fn lacking(&self, granted: Option<&str>) -> Vec<Lack>;

    /// Asks whose token this is: for accounts that the token answer did not name, and for what to call
    /// the person.
    async fn identify(&self, token: &Secret<String>) -> Result<Identity, ApiError>;
}

/// Whether the client proves that whoever redeems a code is who asked for it (RFC 7636).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pkce {
    /// With S256, the only method that providers still take.
    S256,
    /// The provider would refuse it beside this client's secret.
    Unused,
}

/// An authorize request, as far as it differs from user to user.
#[derive(Clone, Copy)]
pub struct Ask<'a> {
    /// Comes back as it is; opaque to the provider.
    pub state: &'a str,
    /// From [`Consent::redirect_uri`].
    pub redirect_uri: &'a Url,
    /// There exactly if [`Consent::pkce`] says so.
    pub verifier: Option<&'a Verifier>,
}

/// A code to redeem.
#[derive(Clone, Copy)]
#[expect(missing_debug_implementations, reason = "holds secrets")]
pub struct Redeem<'a> {
    /// As it came back.
    pub code: &'a Secret<String>,
    /// The one of the [`Ask`].
    pub redirect_uri: &'a Url,
    /// The one of the [`Ask`].
    pub verifier: Option<&'a Verifier>,
}

/// A PKCE verifier (RFC 7636 §4.1). It is kept until the exchange, where nobody else can read it.
#[derive(Clone)]
#[expect(missing_debug_implementations, reason = "holds a secret")]
pub struct Verifier(Secret<String>);

/// What a browser brought to the callback.
#[derive(Clone)]
pub enum Callback {
    /// A code for whoever `state` belongs to.
    Code {
        /// The state that was sent along.
        state: String,
        /// Redeem it with [`Consent::exchange`].
        code: Secret<String>,
    },
    /// No code.
    Refused {
        /// The state that was sent along.
        state: String,
        /// Why.
        refusal: ConsentRefusal,
    },
    /// Nothing that a consent page sends: no state, neither code nor error, or one of them twice.
    Void,
}

/// Why a consent page gave no code (RFC 6749 §4.1.2.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ConsentRefusal {
    /// The user said no.
    Denied,
    /// The client may not ask for this scope, or no such scope exists: a fault of the configuration.
    Scope,
    /// The client or its request is wrong: a fault of the configuration.
    Client,
    /// The provider has trouble of its own; trying again later may help.
    Unavailable,
    /// Anything else.
    Other,
}

/// A scope that is missing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lack {
    /// As the provider writes it.
    pub scope: Cow<'static, str>,
    /// What does not work without it.
    pub purpose: Purpose,
}

/// What a scope is needed for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Purpose {
    /// Knowing whose account it is.
    Identity,
    /// Reading meetings.
    Meetings,
    /// Subscribing to webhooks.
    Webhooks,
    /// Whatever the app does: it is in the configured scope.
    App,
}

/// Who a token belongs to.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Identity {
    /// Its [`Account::external_id`] is always there.
    pub account: Account,
    /// What to call the person.
    pub name: Option<String>,
    /// The address the account has at the provider.
    pub email: Option<String>,
    /// The account's name in links.
    pub username: Option<String>,
}

/// What is missing of `asked` and of what Daypass itself `needs`, each scope once. `covers` says whether
/// a granted scope includes another one.
pub(super) fn lacking(
    granted: Option<&str>,
    asked: &str,
    needs: &[(&'static str, Purpose)],
    covers: impl Fn(&str, &str) -> bool,
) -> Vec<Lack> {
    let Some(granted) = granted.filter(|granted| !granted.trim().is_empty()) else {
        return Vec::new();
    };
    let has = |wanted: &str| scopes(granted).any(|one| covers(one, wanted));
    let needed = needs.iter().map(|(scope, purpose)| Lack {
        scope: Cow::Borrowed(scope),
        purpose: *purpose,
    });
    let needed: Vec<_> = needed.filter(|lack| !has(&lack.scope)).collect();
    let known = |scope: &str| needed.iter().any(|lack| lack.scope == scope);
    let mut for_app: Vec<_> = scopes(asked)
        .filter(|scope| !has(scope) && !known(scope))
        .map(|scope| Lack {
            scope: Cow::Owned(scope.to_owned()),
            purpose: Purpose::App,
        })
        .collect();
    for_app.dedup();
    needed.into_iter().chain(for_app).collect()
}

/// The scopes of a list that is separated by spaces (RFC 6749 §3.3) or, as at Cal.com, by commas.
pub(super) fn scopes(list: &str) -> impl Iterator<Item = &str> {
    list.split([' ', ',']).filter(|scope| !scope.is_empty())
}

// === impl Ask ===

impl fmt::Debug for Ask<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Ask")
            .field("redirect_uri", &self.redirect_uri.as_str())
            .field("pkce", &self.verifier.is_some())
            .finish_non_exhaustive()
    }
}

// === impl Verifier ===

impl Verifier {
    /// A new one, of 256 bits.
    pub fn random(random: &dyn Random) -> Self {
        let bytes = Secret::new(random.bytes::<32>());
        Self(Secret::new(
            URL_SAFE_NO_PAD.encode(bytes.danger_expose().as_slice()),
        ))
    }

    /// The one that was kept.
    pub const fn from_kept(secret: Secret<String>) -> Self {
        Self(secret)
    }

    /// To keep, or to send to the token endpoint.
    pub const fn secret(&self) -> &Secret<String> {
        &self.0
    }

    /// What the authorize request carries (RFC 7636 §4.2).
    pub fn challenge(&self) -> String {
        URL_SAFE_NO_PAD.encode(Sha256::digest(self.0.danger_expose().as_bytes()))
    }
}

// === impl Callback ===

impl Callback {
    /// Reads the query of the callback.
    pub fn read(query: &str) -> Self {
        let once = |name: &str| {
            let mut values = form_urlencoded::parse(query.as_bytes())
                .filter(|(key, _)| key == name)
                .map(|(_, value)| value.into_owned());
            match (values.next(), values.next()) {
                (value, None) => Ok(value.filter(|value| !value.is_empty())),
                (_, Some(_)) => Err(()),
            }
        };
        let (Ok(Some(state)), Ok(code), Ok(error)) = (once("state"), once("code"), once("error"))
        else {
            return Self::Void;
        };
        match (code, error) {
            (Some(code), None) => Self::Code {
                state,
                code: Secret::new(code),
            },
            (None, Some(error)) => Self::Refused {
                state,
                refusal: ConsentRefusal::read(&error),
            },
            _ => Self::Void,
        }
    }
}

impl fmt::Debug for Callback {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Code { .. } => f.write_str("Code"),
            Self::Refused { refusal, .. } => f.debug_tuple("Refused").field(refusal).finish(),
            Self::Void => f.write_str("Void"),
        }
    }
}

// === impl ConsentRefusal ===

impl ConsentRefusal {
    fn read(error: &str) -> Self {
        match error {
            "access_denied" => Self::Denied,
            "invalid_scope" => Self::Scope,
            "invalid_request" | "unauthorized_client" | "unsupported_response_type" => Self::Client,
            "server_error" | "temporarily_unavailable" => Self::Unavailable,
            _ => Self::Other,
        }
    }
}

// === impl Identity ===

impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Identity")
            .field("account", &self.account)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::base::random::SeededRandom;

    #[test]
    fn the_challenge_is_the_one_of_the_rfc() {
        // RFC 7636, appendix B.
        let verifier = Verifier::from_kept(Secret::from(
            "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk".to_owned(),
        ));
        let challenge = "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM";
        assert_eq!(verifier.challenge(), challenge);
    }

    #[test]
    fn a_new_verifier_is_one_that_the_rfc_takes() {
        let random = SeededRandom::new(1);
        let (a, b) = (Verifier::random(&random), Verifier::random(&random));
        assert!(a.secret() != b.secret());
        let text = a.secret().danger_expose();
        assert!((43..=128).contains(&text.len()));
        let unreserved = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~".contains(&byte);
        assert!(text.bytes().all(unreserved));
    }

    #[test]
    fn a_callback_is_a_code_a_refusal_or_nothing() {
        for (query, expected) in [
            ("code=c&state=s", "Code"),
            ("state=s&code=c&scope=x&iss=y", "Code"),
            ("error=access_denied&state=s", "Refused(Denied)"),
            (
                "error=access_denied&error_description=No.&state=s",
                "Refused(Denied)",
            ),
            ("error=invalid_scope&state=s", "Refused(Scope)"),
            ("error=unauthorized_client&state=s", "Refused(Client)"),
            ("error=server_error&state=s", "Refused(Unavailable)"),
            ("error=%3Cscript%3E&state=s", "Refused(Other)"),
            ("", "Void"),
            ("code=c", "Void"),
            ("code=c&state=", "Void"),
            ("code=&state=s", "Void"),
            ("state=s", "Void"),
            ("error=access_denied", "Void"),
            ("code=c&error=access_denied&state=s", "Void"),
            ("code=c&code=d&state=s", "Void"),
            ("code=c&state=s&state=t", "Void"),
            ("code=c&state=s&state=", "Void"),
        ] {
            assert_eq!(format!("{:?}", Callback::read(query)), expected, "{query}");
        }
    }

    #[test]
    fn a_callback_is_decoded() {
        let Callback::Code { state, code } = Callback::read("code=a%2Bb&state=x+y") else {
            panic!("no code");
        };
        assert_eq!(
            (state.as_str(), code.danger_expose().as_str()),
            ("x y", "a+b")
        );
    }

    proptest! {
        #[test]
        fn no_query_makes_it_panic_or_print_itself(query in "[ -~]{0,60}") {
            let printed = format!("{:?}", Callback::read(&query));
            prop_assert!(["Code", "Void"].contains(&printed.as_str()) || printed.starts_with("Refused("));
        }
    }
}
