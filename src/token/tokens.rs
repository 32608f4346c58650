//! The room's front door: [`Tokens`].

use std::{collections::BTreeMap, io, path::PathBuf, sync::Arc};

use parking_lot::Mutex;
use tokio::{
    sync::{Notify, Semaphore},
    time::Instant,
};

use super::{
    Bearer, Config, Error, Grant, Lookup, Observer, TokenFuture, TokenSource,
    cache::Cache,
    disk::{Directory, SharedDisk},
    engine::Engine,
    follow,
    held::{Need, Reason},
    keep_alive,
    misconfigured::Misconfigured,
    queue::{Queue, Waiting},
    spool::Spool,
    trouble::Troubles,
    turns,
    vault::Vault,
};
use crate::{
    base::{
        clock::SharedClock,
        ids::{ConnectionKey, Generation, ProviderName},
        lifecycle::Lifecycle,
        random::SharedRandom,
    },
    provider::SharedProvider,
    store::{self, Connection, Fence, ReauthReason, Saved, SharedStore, seal::KeyRing},
};

/// Hands out, renews and keeps tokens. Clones share everything.
#[derive(Clone, Debug)]
pub struct Tokens(Arc<Engine>);

/// What [`Tokens`] is made of.
#[expect(missing_debug_implementations, reason = "holds keys")]
pub struct Parts {
    /// When to renew.
    pub config: Config,
    /// Where connections are kept.
    pub store: SharedStore,
    /// Who renews them.
    pub providers: Vec<SharedProvider>,
    /// What they are sealed with.
    pub keys: Arc<KeyRing>,
    /// Where renewals wait that the store refuses.
    pub spool_dir: PathBuf,
    /// Tells the time.
    pub clock: SharedClock,
    /// Draws ids, nonces and jitter.
    pub random: SharedRandom,
    /// Runs renewals.
    pub lifecycle: Lifecycle,
    /// Hears what happens.
    pub observer: Arc<dyn Observer>,
}

/// Why the room cannot open.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StartError {
    /// The spool directory is there and cannot be read; it may hold the only copy of tokens.
    #[error("the spool directory {dir} cannot be read")]
    Spool {
        /// Which directory.
        dir: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
}

/// What became of a removed connection's tokens at the provider.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Revocation {
    /// The provider has revoked them.
    Revoked,
    /// The provider has no such call: they end by themselves.
    NotOffered,
    /// The call failed: they end by themselves, or when the user revokes them.
    Failed,
}

/// How the room is doing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Health {
    /// Providers that refuse this installation's credentials.
    pub misconfigured: Vec<ProviderName>,
    /// Providers whose token endpoint does not work.
    pub in_trouble: Vec<ProviderName>,
    /// Renewals that wait for their turn, of providers where any do.
    pub waiting: Vec<Waiting>,
    /// Renewals that wait for the store.
    pub spooled: usize,
    /// Connections in memory.
    pub remembered: usize,
}

// === impl Revocation ===

impl Revocation {
    /// As in answers and events.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Revoked => "revoked",
            Self::NotOffered => "not_offered",
            Self::Failed => "failed",
        }
    }
}

// === impl Tokens ===

impl Tokens {
    /// Opens the room and starts its background loops, which end when the drain begins. What the
    /// spool holds is in use when this returns.
    pub async fn start(parts: Parts) -> Result<Self, StartError> {
        let disk = Arc::new(Directory::new(parts.spool_dir.clone()));
        Self::start_on(disk, parts).await
    }

    /// As [`Tokens::start`], with the spool on `disk` instead of in the directory.
    pub async fn start_on(disk: SharedDisk, parts: Parts) -> Result<Self, StartError> {
        let dir = parts.spool_dir;
        let spool = match Spool::open(disk).await {
            Ok(spool) => spool,
            Err(source) => return Err(StartError::Spool { dir, source }),
        };
        parts.observer.spooled(spool.len());
        let vault = Vault::new(
            parts.keys,
            Arc::clone(&parts.clock),
            Arc::clone(&parts.random),
        );
        let providers: BTreeMap<_, _> = parts
            .providers
            .into_iter()
            .map(|provider| (provider.name().clone(), provider))
            .collect();
        let queue = |provider: &SharedProvider| {
            let random = Arc::clone(&parts.random);
            Queue::new(Arc::clone(provider), &parts.config, random)
        };
        let queues: BTreeMap<_, _> = providers
            .iter()
            .map(|(name, provider)| (name.clone(), queue(provider)))
            .collect();
        let engine = Arc::new(Engine {
            queue_places: Semaphore::new(parts.config.queue_places),
            cache: Cache::new(parts.config.remember, providers.keys().cloned().collect()),
            config: parts.config,
            store: parts.store,
            providers,
            queues,
            vault,
            spool,
            misconfigured: Misconfigured::default(),
            troubles: Troubles::default(),
            clock: parts.clock,
            random: parts.random,
            lifecycle: parts.lifecycle,
            observer: parts.observer,
            changed: Notify::new(),
            unread: Mutex::default(),
            unread_some: Notify::new(),
            spooled: Notify::new(),
        });
        let lifecycle = &engine.lifecycle;
        lifecycle.spawn_until_drain(follow::changes(Arc::clone(&engine)));
        lifecycle.spawn_until_drain(follow::reread(Arc::clone(&engine)));
        lifecycle.spawn_until_drain(follow::unspool(Arc::clone(&engine)));
        for queue in engine.queues.values() {
            let served = turns::serve(Arc::clone(&engine), Arc::clone(queue));
            drop(lifecycle.spawn(served));
        }
        for provider in engine.providers.values() {
            let kept = keep_alive::keep(Arc::clone(&engine), Arc::clone(provider));
            drop(lifecycle.spawn(kept));
        }
        Ok(Self(engine))
    }

    /// The connection as stored.
    pub async fn connection(&self, key: &ConnectionKey) -> Result<Option<Connection>, Error> {
        self.knows(&key.provider)?;
        self.0.store.load(key).await.map_err(|source| Error::Store {
            key: key.clone(),
            source: Arc::new(source),
        })
    }

    /// A token newer than the present one, by force if so asked and the provider has it.
    pub async fn refresh(&self, key: &ConnectionKey, force: bool) -> Result<Arc<Bearer>, Error> {
        let Some(connection) = self.connection(key).await? else {
            return Err(Error::NotConnected { key: key.clone() });
        };
        let in_memory = self.0.cache.find(&key.provider, key.user.as_str());
        let held = in_memory
            .and_then(|entry| entry.held())
            .filter(|held| held.connection() == connection.id);
        let newest = held.map_or(connection.generation, |held| {
            held.generation().max(connection.generation)
        });
        let reason = if force {
            Reason::AskedByForce
        } else {
            Reason::Asked
        };
        self.0.obtain(key, Need::NewerThan(newest, reason)).await
    }

    /// Stores grants, all or none. What was cached of these connections gives way at once.
    pub async fn save(&self, grants: &[Grant]) -> Result<Vec<Saved>, store::Error> {
        let batch = grants.iter().map(|grant| grant.sealed(&self.0)).collect();
        let saved = self.0.store.save(batch).await?;
        for (saved, grant) in saved.iter().zip(grants) {
            let connection = saved.connection();
            self.look_anew(&connection.key);
            if let (Some(tokens), Saved::Created(_) | Saved::Replaced(_)) = (&grant.tokens, saved) {
                let generation = connection.generation;
                self.0
                    .tell_issued(&grant.key, &grant.account, generation, &tokens.access);
            }
        }
        Ok(saved)
    }

    /// Revokes the tokens of `former`, in whose place `grant` is stored by now. `None`, and no call, if
    /// there are none, or the two have a token in common: some servers hand out anew what they have
    /// handed out before.
    pub async fn revoke_former(&self, former: &Connection, grant: &Grant) -> Option<Revocation> {
        let tokens = former.tokens.as_ref()?;
        let vault = &self.0.vault;
        let opened = (
            vault.open_access(&former.key, tokens),
            vault.open_refresh(&former.key, tokens),
        );
        let (Ok(access), Ok(refresh)) = opened else {
            // What does not open cannot be sent either.
            return Some(Revocation::Failed);
        };
        let common = grant.tokens.as_ref().is_some_and(|new| {
            new.access == access || (refresh.is_some() && new.refresh == refresh)
        });
        if common {
            return None;
        }
        Some(self.revoke(former).await)
    }

    /// Revokes the tokens of a connection and forgets it; `None` if there was none.
    pub async fn disconnect(
        &self,
        key: &ConnectionKey,
    ) -> Result<Option<Revocation>, store::Error> {
        let Some(connection) = self.0.store.remove(key).await? else {
            return Ok(None);
        };
        if let Some(entry) = self.0.cache.find(&key.provider, key.user.as_str()) {
            entry.tell();
            entry.clear(entry.news());
        }
        Ok(Some(self.revoke(&connection).await))
    }

    /// The installation's own credentials were replaced: providers that refused the old ones are asked
    /// again at the next need.
    pub fn credentials_changed(&self) {
        self.0.misconfigured.clear_all();
    }

    /// How the room is doing.
    pub fn health(&self) -> Health {
        Health {
            misconfigured: self.0.misconfigured.names(),
            in_trouble: self.0.troubles.names(),
            waiting: self
                .0
                .queues
                .values()
                .filter_map(|queue| queue.report())
                .collect(),
            spooled: self.0.spool.len(),
            remembered: self.0.cache.len(),
        }
    }

    async fn revoke(&self, connection: &Connection) -> Revocation {
        let Some(provider) = self.0.providers.get(&connection.key.provider) else {
            return Revocation::NotOffered;
        };
        let Some(tokens) = &connection.tokens else {
            return Revocation::NotOffered;
        };
        let token = match self.0.vault.open_refresh(&connection.key, tokens) {
            Ok(Some(refresh)) => Ok(refresh),
            Ok(None) => self.0.vault.open_access(&connection.key, tokens),
            Err(error) => Err(error),
        };
        let Ok(token) = token else {
            return Revocation::Failed;
        };
        match provider.revoke(&token).await {
            Ok(true) => Revocation::Revoked,
            Ok(false) => Revocation::NotOffered,
            Err(error) => {
                tracing::warn!(
                    provider = %connection.key.provider, user = %connection.key.user,
                    error = &error as &dyn std::error::Error,
                    "tokens that are no longer stored could not be revoked",
                );
                Revocation::Failed
            }
        }
    }

    fn knows(&self, provider: &ProviderName) -> Result<(), Error> {
        if self.0.providers.contains_key(provider) {
            Ok(())
        } else {
            Err(Error::UnknownProvider {
                provider: provider.clone(),
            })
        }
    }

    /// Memory may differ from what was just written.
    fn look_anew(&self, key: &ConnectionKey) {
        if let Some(entry) = self.0.cache.find(&key.provider, key.user.as_str()) {
            entry.mark_stale();
        }
    }
}

impl TokenSource for Tokens {
    fn cached(&self, provider: &ProviderName, user: &str) -> Option<Arc<Bearer>> {
        let entry = self.0.cache.find(provider, user)?;
        let (bearer, due) = entry.usable(Instant::now())?;
        if due {
            self.0.renew_quietly(&entry);
        }
        self.0.observer.looked_up(provider, Lookup::Hit);
        Some(bearer)
    }

    fn bearer(&self, key: ConnectionKey) -> TokenFuture {
        self.ask(key, Need::Usable)
    }

    fn newer_than(&self, key: ConnectionKey, refused: Generation) -> TokenFuture {
        self.ask(key, Need::NewerThan(refused, Reason::Refused))
    }

    fn account_gone(&self, key: ConnectionKey, used: &Arc<Bearer>) {
        let (engine, used) = (Arc::clone(&self.0), Arc::clone(used));
        drop(self.0.lifecycle.spawn(async move {
            let Ok(Some(connection)) = engine.store.load(&key).await else {
                return;
            };
            // Its user may have connected again since, to another account even.
            if !used.is_of(&connection) {
                return;
            }
            let (reason, since) = (ReauthReason::AccountGone, engine.clock.now());
            let marked = engine
                .store
                .mark_needs_reauth(&Fence::of(&connection), reason, since)
                .await;
            if let Ok(store::Fenced::Written) = marked {
                engine.tell_needs_reauth(&key, reason);
            }
        }));
    }
}

impl Tokens {
    fn ask(&self, key: ConnectionKey, need: Need) -> TokenFuture {
        let engine = Arc::clone(&self.0);
        Box::pin(async move {
            let outcome = engine.obtain(&key, need).await;
            let lookup = match &outcome {
                Ok(_) => Lookup::Waited,
                Err(Error::NotConnected { .. } | Error::NeedsReauth { .. }) => Lookup::NotConnected,
                Err(_) => Lookup::Failed,
            };
            // A name that is not configured must not become a label.
            if engine.providers.contains_key(&key.provider) {
                engine.observer.looked_up(&key.provider, lookup);
            }
            let held = outcome?;
            if held.is_due(Instant::now()) {
                engine.renew_quietly(&engine.cache.entry(&key));
            }
            Ok(held)
        })
    }
}
