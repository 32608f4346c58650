//! Routes: the unguessable paths on which providers deliver, one for each subscription.
//!
//! 1. A route and its secret belong together for good. Who wants another secret takes another route;
//!    the old one goes on to be understood for a while, so that nothing under way is lost.
//! 2. What a route leads to is kept under its digest, sealed: whoever reads the store can neither post
//!    to it nor sign for it.
//! 3. A route outlives its connection: what still comes is acknowledged and kept, not lost, and given
//!    to nobody else.

use std::{sync::Arc, time::Duration};

use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use url::Url;
use zeroize::Zeroizing;

use crate::{
    base::{
        ids::{ConnectionKey, ProviderName, UserId},
        random::{Random, SharedRandom},
        secret::Secret,
    },
    provider::{Account, Coverage},
    store::{
        self, Digest, Expiring, Purpose,
        seal::{Binding, KeyRing},
    },
};

/// How long a route is understood when its subscription is gone. Longer than any provider retries.
pub(super) const LINGERS: Duration = Duration::from_hours(24 * 30);

/// Keeps routes.
#[derive(Clone)]
pub(super) struct Routes {
    expiring: Arc<dyn Expiring>,
    keys: Arc<KeyRing>,
    random: SharedRandom,
}

/// A path and what signs on it.
#[derive(Clone, Serialize, Deserialize)]
#[serde(into = "PlainRoute", from = "PlainRoute")]
pub(super) struct Route {
    pub(super) path: Secret<String>,
    pub(super) secret: Secret<String>,
}

/// What a route leads to.
#[derive(Clone)]
pub(super) struct Target {
    /// The connection that it was made for.
    pub(super) key: ConnectionKey,
    /// Its account at that time.
    pub(super) account: Account,
    pub(super) coverage: Coverage,
    pub(super) secret: Secret<String>,
}

/// As it is sealed.
#[derive(Serialize, Deserialize)]
struct PlainRoute {
    path: String,
    secret: String,
}

/// As it is sealed.
#[derive(Serialize, Deserialize)]
struct PlainTarget {
    user: UserId,
    external_id: Option<String>,
    organization: Option<String>,
    managed_user_id: Option<i64>,
    coverage: String,
    secret: String,
}

// === impl Route ===

impl Route {
    /// A new one: 256 bits each for the path and the secret.
    pub(super) fn random(random: &dyn Random) -> Self {
        let draw = || BASE64_URL_SAFE_NO_PAD.encode(Zeroizing::new(random.bytes::<32>()));
        Self {
            path: Secret::from(draw()),
            secret: Secret::from(draw()),
        }
    }

    /// Where the provider delivers, if `public_url` is where it reaches us.
    pub(super) fn url(&self, public_url: &Url, provider: &ProviderName) -> Url {
        let mut url = public_url.clone();
        if let Ok(mut segments) = url.path_segments_mut() {
            let path = self.path.danger_expose();
            segments
                .pop_if_empty()
                .extend(["webhooks", provider.as_str(), path]);
        }
        url
    }
}

impl From<Route> for PlainRoute {
    fn from(route: Route) -> Self {
        Self {
            path: route.path.danger_expose().clone(),
            secret: route.secret.danger_expose().clone(),
        }
    }
}

impl From<PlainRoute> for Route {
    fn from(plain: PlainRoute) -> Self {
        Self {
            path: Secret::from(plain.path),
            secret: Secret::from(plain.secret),
        }
    }
}

// === impl Routes ===

impl Routes {
    pub(super) const fn new(
        expiring: Arc<dyn Expiring>,
        keys: Arc<KeyRing>,
        random: SharedRandom,
    ) -> Self {
        Self {
            expiring,
            keys,
            random,
        }
    }

    /// Makes `path` lead to `target`, for `ttl` or for good.
    pub(super) async fn put(
        &self,
        path: &str,
        target: &Target,
        ttl: Option<Duration>,
    ) -> Result<(), store::Error> {
        let digest = digest(path);
        let plain = PlainTarget {
            user: target.key.user.clone(),
            external_id: target.account.external_id.clone(),
            organization: target.account.organization.clone(),
            managed_user_id: target.account.managed_user_id,
            coverage: target.coverage.as_str().to_owned(),
            secret: target.secret.danger_expose().clone(),
        };
        let text = Zeroizing::new(serde_json::to_vec(&plain).unwrap_or_default());
        let binding = Binding::record(&target.key.provider, Purpose::Route, &digest);
        let record = self.keys.seal_bytes(&*self.random, &binding.aad(), &text);
        self.expiring
            .put(Purpose::Route, &digest, record, ttl)
            .await
    }

    /// What `path` leads to, if it is a route of `provider`.
    pub(super) async fn find(
        &self,
        provider: &ProviderName,
        path: &str,
    ) -> Result<Option<Target>, store::Error> {
        let digest = digest(path);
        let Some(record) = self.expiring.peek(Purpose::Route, &digest).await? else {
            return Ok(None);
        };
        let inconsistent = |what: String| store::Error::Inconsistent {
            row: format!("route {}", hex::encode(digest.0)),
            what,
        };
        let binding = Binding::record(provider, Purpose::Route, &digest);
        let text = match self.keys.open_bytes(&binding.aad(), &record) {
            Ok(text) => text,
            // Another provider's route is none here.
            Err(store::seal::OpenError::DoesNotOpen { .. }) => return Ok(None),
            Err(error) => return Err(inconsistent(error.to_string())),
        };
        let plain: PlainTarget =
            serde_json::from_slice(&text).map_err(|error| inconsistent(error.to_string()))?;
        let coverage = Coverage::parse(&plain.coverage)
            .ok_or_else(|| inconsistent("its coverage is not known".to_owned()))?;
        Ok(Some(Target {
            key: ConnectionKey {
                provider: provider.clone(),
                user: plain.user,
            },
            account: Account {
                external_id: plain.external_id,
                organization: plain.organization,
                managed_user_id: plain.managed_user_id,
            },
            coverage,
            secret: Secret::from(plain.secret),
        }))
    }
}

fn digest(path: &str) -> Digest {
    Digest(Sha256::digest(path).into())
}
