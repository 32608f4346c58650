//! The ingress listener, and how users come to be connected: links, the consent page, the callback.
//!
//! A browser's way: a link ([`ticket`]) leads to the provider's consent page, and what has to be known
//! when it is back is kept ([`flow`]). The callback redeems the code and stores the grant
//! ([`mod@arrive`]), and the browser goes where the app wanted it ([`return_to`]) with the [`ending`]
//! in the address.
//!
//! What holds throughout:
//!
//! 1. A state is taken once, belongs to one browser ([`browser`]), one provider and one user, and ends
//!    by itself.
//! 2. Browsers are sent to the provider's configured consent page and to allowed origins, nowhere else.
//! 3. Every trouble has a page for a person and a word for the app ([`trouble`], [`ending`]).
//! 4. No page, log line or address has a token or a code in it. Tickets and states are in addresses:
//!    the access log of this listener has the route in place of the path.
//! 5. This room stores grants through the token room, and tells [`Follower`]s of them.

use std::{collections::BTreeMap, fmt, sync::Arc, time::Duration};

use axum::Router;
use thiserror::Error;
use url::Url;

use crate::{
    base::{
        clock::{SharedClock, Timestamp},
        ids::{ConnectionKey, ProviderName, UserId},
        lifecycle::Lifecycle,
        random::SharedRandom,
        secret::Secret,
    },
    http::Listen,
    provider::{Ask, CallError, Pkce, SharedProvider, Verifier},
    store::{self, Accounts, Expiring, seal::KeyRing},
    token::{self, Tokens},
};

mod arrive;
mod atoms;
mod browser;
mod disconnect;
mod ending;
mod flow;
mod follower;
mod import;
mod ingress;
mod limiter;
mod managed;
mod page;
mod place;
mod records;
mod return_to;
mod ticket;
mod told;
mod trouble;
mod visit;

pub use atoms::{IssuedTokens, REMEMBERED};
pub use follower::{Arrival, Follower, PATIENCE};
pub use ingress::ingress;
pub use managed::{Managed, ManagedList};
pub use return_to::ReturnFault;

use atoms::Atoms;
use follower::Followers;
use limiter::Limiter;
use place::Place;
use records::Records;
use return_to::ReturnOrigins;
use ticket::Invitation;
use trouble::Trouble;

/// How often one link may be opened at once, and how long one opening more takes. People open a link
/// once or twice, and what looks at links for them does so a few times.
const OPENINGS: (u32, Duration) = (20, Duration::from_secs(5));

/// `[ingress]`.
#[derive(Clone, Debug)]
pub struct Config {
    /// Where providers and browsers call. Default `127.0.0.1:7421`.
    pub listen: Listen,
    /// Under which address they reach it. Without one nobody can be connected.
    pub public_url: Option<Url>,
    /// Origins that a browser may be sent back to.
    pub allowed_return_origins: Vec<Url>,
    /// Origins whose pages may renew the access tokens of managed users. Default none.
    pub atoms_origins: Vec<Url>,
    /// The largest body taken, in bytes. Default 1 MiB.
    pub max_body_bytes: usize,
}

/// Connects users. Clones share everything.
#[derive(Clone)]
pub struct Connect(Arc<Room>);

/// What [`Connect`] is made of.
#[expect(missing_debug_implementations, reason = "holds keys")]
pub struct Parts {
    /// `[ingress]`.
    pub config: Config,
    /// Every configured provider.
    pub providers: Vec<SharedProvider>,
    /// Stores grants and ends them.
    pub tokens: Tokens,
    /// Where tickets and states are kept.
    pub expiring: Arc<dyn Expiring>,
    /// Tells who else has an account.
    pub accounts: Arc<dyn Accounts>,
    /// What tickets and states are sealed with.
    pub keys: Arc<KeyRing>,
    /// Who hears of connections that come and go.
    pub followers: Vec<Arc<dyn Follower>>,
    /// Tells the time.
    pub clock: SharedClock,
    /// Draws tickets, states and verifiers.
    pub random: SharedRandom,
    /// Finishes what browsers begin.
    pub lifecycle: Lifecycle,
}

/// A link that lets one user connect.
#[derive(Clone, PartialEq, Eq)]
pub struct Link {
    /// To be opened in the user's browser, and shown to nobody else.
    pub url: String,
    /// When it stops working.
    pub expires_at: Timestamp,
}

/// Why something was not done. Messages hold no secret.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum Error {
    /// There is no address at which browsers reach this process. The operator must act.
    #[error(
        "nobody can be connected without an address that browsers reach: set ingress.public_url"
    )]
    Disabled,
    /// No provider of this name is configured. The caller's fault.
    #[error("no provider is called {provider}")]
    UnknownProvider {
        /// The name.
        provider: ProviderName,
    },
    /// The caller wants browsers sent to where they must not be sent.
    #[error("return_to cannot be used")]
    ReturnTo(#[from] ReturnFault),
    /// What a consent at this provider needs is not configured. The operator must act.
    #[error("nobody can be connected to {provider}")]
    NotConfigured {
        /// Which provider.
        provider: ProviderName,
        /// What is missing.
        #[source]
        source: CallError,
    },
    /// The provider has no managed users, or no platform client is configured.
    #[error("{provider} has no managed users, or no platform client is configured for it")]
    NoManagedUsers {
        /// Which provider.
        provider: ProviderName,
    },
    /// The connection is not one of a managed user.
    #[error("the user is not a managed one")]
    NotManaged,
    /// The user is connected with another account. Disconnect it first, if that is meant.
    #[error("{key} is connected with another account already")]
    OtherAccount {
        /// Whose connection.
        key: ConnectionKey,
    },
    /// Another user of the app has this managed user.
    #[error("the managed user belongs to {user} already")]
    Taken {
        /// Who.
        user: UserId,
    },
    /// The provider finds fault with the managed user as ordered. The caller's fault.
    #[error("the provider finds fault with the managed user as it was ordered")]
    Faulty,
    /// A call to the provider failed.
    #[error("the provider did not do it")]
    Call(#[from] CallError),
    /// The connection could not be read.
    #[error("the connection could not be read")]
    Tokens(#[from] token::Error),
    /// The store failed. Retry later.
    #[error("the store failed")]
    Store(#[from] store::Error),
}

/// Everything that the parts of this room share.
struct Room {
    place: Option<Place>,
    origins: ReturnOrigins,
    providers: BTreeMap<ProviderName, SharedProvider>,
    tokens: Tokens,
    accounts: Arc<dyn Accounts>,
    records: Records,
    followers: Followers,
    openings: Limiter<store::Digest>,
    atoms: Atoms,
    clock: SharedClock,
    random: SharedRandom,
    lifecycle: Lifecycle,
}

// === impl Connect ===

impl Connect {
    /// Opens the room.
    pub fn new(parts: Parts) -> Self {
        let (burst, every) = OPENINGS;
        let random = parts.random;
        let room = Room {
            place: parts.config.public_url.as_ref().map(Place::new),
            origins: ReturnOrigins::new(parts.config.allowed_return_origins),
            providers: parts
                .providers
                .into_iter()
                .map(|provider| (provider.name().clone(), provider))
                .collect(),
            tokens: parts.tokens,
            accounts: parts.accounts,
            records: Records::new(parts.expiring, parts.keys, Arc::clone(&random)),
            followers: Followers::new(parts.followers),
            openings: Limiter::new(burst, every),
            atoms: Atoms::new(&parts.config.atoms_origins),
            clock: parts.clock,
            random,
            lifecycle: parts.lifecycle,
        };
        room.tell_odd_redirects();
        Self(Arc::new(room))
    }

    /// A link for `key`, after which the browser goes to `return_to`, or to a page of its own.
    pub async fn link(&self, key: &ConnectionKey, return_to: Option<&str>) -> Result<Link, Error> {
        let room = &self.0;
        let place = room.place.as_ref().ok_or(Error::Disabled)?;
        room.can_connect(&key.provider, place)?;
        let return_to = return_to.map(|text| room.origins.check(text)).transpose()?;
        let invitation = Invitation {
            key: key.clone(),
            return_to,
        };
        // Before the store answers, so that the link is never taken for good when it has ended.
        let expires_at = room.clock.now().saturating_add(ticket::LIFE);
        let ticket = ticket::keep(&room.records, &*room.random, &invitation).await?;
        Ok(Link {
            url: place.connect(ticket.danger_expose()).into(),
            expires_at,
        })
    }

    /// A link for `key` that costs no write: it can stand in every answer to a user who is not
    /// connected. `return_to` may be added to its query. `None` where nobody can be connected.
    pub fn url(&self, key: &ConnectionKey) -> Option<String> {
        let room = &self.0;
        let place = room.place.as_ref()?;
        room.can_connect(&key.provider, place).ok()?;
        let ticket = ticket::bear(&room.records, key, room.clock.now());
        Some(place.connect(ticket.danger_expose()).into())
    }

    /// The routes that browsers visit.
    pub fn routes(&self) -> Router {
        let room = &self.0;
        let routes = atoms::routes(room);
        match &room.place {
            Some(_) => routes.merge(visit::routes(room)),
            None => routes,
        }
    }
}

impl fmt::Debug for Connect {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connect")
            .field("place", &self.0.place)
            .field("followers", &self.0.followers)
            .finish_non_exhaustive()
    }
}

// === impl Link ===

impl fmt::Debug for Link {
    /// Without the link, which lets its bearer connect.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Link")
            .field("expires_at", &self.expires_at)
            .finish_non_exhaustive()
    }
}

// === impl Room ===

impl Room {
    fn known(&self, name: &ProviderName) -> Result<&SharedProvider, Error> {
        self.providers
            .get(name)
            .ok_or_else(|| Error::UnknownProvider {
                provider: name.clone(),
            })
    }

    fn place(&self) -> Result<&Place, Trouble> {
        // Without one there are no routes that could ask.
        self.place.as_ref().ok_or(Trouble::NotFound)
    }

    /// Whether a consent at the provider `name` could begin.
    fn can_connect(&self, name: &ProviderName, place: &Place) -> Result<(), Error> {
        let not_configured = |source| Error::NotConfigured {
            provider: name.clone(),
            source,
        };
        let Some(consent) = self.known(name)?.consent() else {
            return Err(not_configured(CallError::NotConfigured {
                provider: name.clone(),
                setting: "consent page",
            }));
        };
        let verifier = match consent.pkce() {
            Pkce::S256 => Some(Verifier::from_kept(Secret::new("a try".to_owned()))),
            Pkce::Unused => None,
        };
        let tried = consent.authorize_url(&Ask {
            state: "a-try",
            redirect_uri: &consent.redirect_uri(&place.callback(name)),
            verifier: verifier.as_ref(),
        });
        tried.map(drop).map_err(not_configured)
    }

    /// A redirect URI on another host loses the cookie, and with it every consent.
    fn tell_odd_redirects(&self) {
        let Some(place) = &self.place else { return };
        for (name, provider) in &self.providers {
            let Some(consent) = provider.consent() else {
                continue;
            };
            let callback = place.callback(name);
            let redirect_uri = consent.redirect_uri(&callback);
            if redirect_uri.host() != callback.host() {
                tracing::warn!(
                    provider = %name, %redirect_uri, %callback,
                    "the redirect URI is on another host than ingress.public_url: browsers that \
                     come back there are not recognised",
                );
            }
        }
    }
}
