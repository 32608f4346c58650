//! Store, keys, providers and tokens: what every command needs that touches connections.

use std::{fmt, sync::Arc};

use prometheus_client::metrics::counter::Counter;

use super::{Opener, StartError, Stores, keys};
use crate::{
    admin::audit::Audit,
    base::{
        clock::{SharedClock, SystemClock},
        lifecycle::Lifecycle,
        random::{OsRandom, SharedRandom},
    },
    config::{ProviderConfig, Settings},
    provider::{Calls, SharedProvider, calcom::Calcom, calendly::Calendly},
    store::{Everything, Inspect, SharedStore, seal::KeyRing},
    token::{Observer, Parts, Tokens, Unobserved},
};

/// The parts that all commands share.
#[derive(Clone)]
pub struct Core {
    /// Where connections are kept.
    pub store: SharedStore,
    /// The same, with all else that it keeps.
    pub everything: Arc<dyn Everything>,
    /// What is sealed, is sealed with these.
    pub keys: Arc<KeyRing>,
    /// Draws ids, secrets and jitter.
    pub random: SharedRandom,
    /// What it says of itself.
    pub inspect: Arc<dyn Inspect>,
    /// Who renews them, by name.
    pub providers: Vec<SharedProvider>,
    /// Hands out tokens.
    pub tokens: Tokens,
    /// Tells the time.
    pub clock: SharedClock,
    /// Runs tasks.
    pub lifecycle: Lifecycle,
}

/// What a process is for.
#[derive(Clone, Debug)]
pub enum Role {
    /// It serves: telemetry hears what the tokens do.
    Sidecar(Arc<dyn Observer>),
    /// It does one thing and ends.
    Command,
}

// === impl Core ===

impl fmt::Debug for Core {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Core")
            .field("store", &self.store)
            .field("providers", &self.providers)
            .finish_non_exhaustive()
    }
}

impl Core {
    /// Writes down who does what; `failures` counts what the store does not take of that.
    pub fn audit(&self, failures: Counter) -> Audit {
        Audit::new(
            Arc::clone(&self.everything) as _,
            Arc::clone(&self.clock),
            Arc::clone(&self.random),
            failures,
        )
    }

    /// Opens everything that `settings` name. Background loops run until the lifecycle drains.
    pub async fn open(
        settings: &Settings,
        role: Role,
        lifecycle: Lifecycle,
    ) -> Result<Self, StartError> {
        let clock: SharedClock = Arc::new(SystemClock);
        let random: SharedRandom = Arc::new(OsRandom);
        let keys = keys::key_ring(&settings.encryption, &settings.store.backend, &*random)?;
        let keys = Arc::new(keys);
        let opener = Opener {
            ca_file: settings.tls_ca_file.as_deref(),
            clock: Arc::clone(&clock),
            random: Arc::clone(&random),
            lifecycle: lifecycle.clone(),
            existing_only: false,
        };
        let Stores {
            store,
            everything,
            inspect,
            seals,
            ..
        } = Box::pin(opener.open(&settings.store.backend)).await?;
        let providers = providers(settings, &clock)?;
        let observer = match role {
            Role::Sidecar(observer) => {
                lifecycle.spawn_until_drain(keys::miss(seals, Arc::clone(&keys)));
                observer
            }
            Role::Command => Arc::new(Unobserved),
        };
        let tokens = Tokens::start(Parts {
            config: settings.refresh.clone(),
            store: Arc::clone(&store),
            providers: providers.clone(),
            keys: Arc::clone(&keys),
            spool_dir: settings.store.spool_dir.clone(),
            clock: Arc::clone(&clock),
            random: Arc::clone(&random),
            lifecycle: lifecycle.clone(),
            observer,
        })
        .await?;
        Ok(Self {
            store,
            everything,
            keys,
            random,
            inspect,
            providers,
            tokens,
            clock,
            lifecycle,
        })
    }
}

/// The providers of `settings`, in their order.
pub fn providers(
    settings: &Settings,
    clock: &SharedClock,
) -> Result<Vec<SharedProvider>, StartError> {
    let ca_file = settings.tls_ca_file.as_deref();
    let calls = Calls::new(ca_file, settings.refresh.timeout, Arc::clone(clock))?;
    let built = settings.providers.iter().map(|provider| -> SharedProvider {
        match provider.clone() {
            ProviderConfig::Calcom(config) => Arc::new(Calcom::new(config, calls.clone())),
            ProviderConfig::Calendly(config) => Arc::new(Calendly::new(config, calls.clone())),
        }
    });
    Ok(built.collect())
}
