//! Opening whichever store a backend names.

use std::{path::Path, sync::Arc};

use prometheus_client::metrics::counter::Counter;

use super::StartError;
use crate::{
    admin::audit::Audit,
    base::{
        clock::{SharedClock, SystemClock},
        lifecycle::Lifecycle,
        random::{OsRandom, SharedRandom},
    },
    http::tls::{self, Alpn, pem_of, trusted_pem},
    store::{
        Archive, Backend, Error, Everything, Inspect, Seals, SharedStore,
        postgres::{self, Postgres},
        redis::{self, Redis},
        sqlite::{self, Sqlite},
    },
};

/// One open store, by each of its sides.
#[derive(Clone)]
#[expect(missing_debug_implementations, reason = "what it keeps has none")]
pub struct Stores {
    /// For those who use it.
    pub store: SharedStore,
    /// For those who use all that it keeps.
    pub everything: Arc<dyn Everything>,
    /// For those who move it.
    pub archive: Arc<dyn Archive>,
    /// For those who look at it.
    pub inspect: Arc<dyn Inspect>,
    /// For those who seal it anew.
    pub seals: Arc<dyn Seals>,
}

/// How stores are opened.
#[derive(Clone, Debug)]
pub struct Opener<'s> {
    /// Trusted in addition to the platform's roots.
    pub ca_file: Option<&'s Path>,
    /// Tells the time where the store has none of its own.
    pub clock: SharedClock,
    /// Draws names.
    pub random: SharedRandom,
    /// Runs what the store begins.
    pub lifecycle: Lifecycle,
    /// Whether a store that is not there, or older, is refused instead of made.
    pub existing_only: bool,
}

// === impl Opener ===

impl<'s> Opener<'s> {
    /// Goes by the clock and the chance of this machine.
    pub fn of_system(ca_file: Option<&'s Path>, lifecycle: &Lifecycle) -> Self {
        Self {
            ca_file,
            clock: Arc::new(SystemClock),
            random: Arc::new(OsRandom),
            lifecycle: lifecycle.clone(),
            existing_only: false,
        }
    }

    /// Opens the store that `backend` names.
    pub async fn open(&self, backend: &Backend) -> Result<Stores, StartError> {
        let named = |source: Error| StartError::Store {
            at: backend.to_string(),
            source,
        };
        match backend {
            Backend::Sqlite { path } => {
                let options = sqlite::Options {
                    existing_only: self.existing_only,
                    ..sqlite::Options::default()
                };
                let clock = Arc::clone(&self.clock);
                let opened = Sqlite::open_with(path, clock, options);
                opened.map(Stores::of).map_err(named)
            }
            Backend::Postgres { address } => {
                let options = postgres::Options {
                    existing_only: self.existing_only,
                    ..postgres::Options::default()
                };
                let surroundings = postgres::Surroundings {
                    tls: tls::client_config(self.ca_file, Alpn::Unset)?,
                    lifecycle: self.lifecycle.clone(),
                    random: Arc::clone(&self.random),
                };
                let opened = Postgres::open_with(address, surroundings, options).await;
                opened.map(Stores::of).map_err(named)
            }
            Backend::Redis { address } => {
                let options = redis::Options {
                    existing_only: self.existing_only,
                    ..redis::Options::default()
                };
                trusted_pem(self.ca_file)?;
                let trust = self.ca_file.map(|path| {
                    let path = path.to_owned();
                    redis::Trust::new(move || pem_of(&path))
                });
                let parts = redis::Parts {
                    trust,
                    time: redis::Time::Server,
                    random: Arc::clone(&self.random),
                    lifecycle: self.lifecycle.clone(),
                };
                let opened = Redis::open_with(address.clone(), parts, options).await;
                opened.map(Stores::of).map_err(named)
            }
        }
    }
}

impl Opener<'_> {
    /// Writes down in `stores`, which were opened with this, what a command does.
    pub fn audit(&self, stores: &Stores) -> Audit {
        Audit::new(
            Arc::clone(&stores.everything) as _,
            Arc::clone(&self.clock),
            Arc::clone(&self.random),
            Counter::default(),
        )
    }
}

// === impl Stores ===

impl Stores {
    fn of<S: Everything + Archive + Inspect>(opened: S) -> Self {
        let opened = Arc::new(opened);
        Self {
            store: Arc::clone(&opened) as SharedStore,
            everything: Arc::clone(&opened) as Arc<dyn Everything>,
            archive: Arc::clone(&opened) as Arc<dyn Archive>,
            inspect: Arc::clone(&opened) as Arc<dyn Inspect>,
            seals: opened,
        }
    }
}
