//! The store that a fleet shares: a real server, or a file, and what can be done to it.

use std::{
    net::TcpStream,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use daypass::{
    base::{clock::SystemClock, lifecycle::Lifecycle, random::OsRandom},
    http::tls::{Alpn, client_config},
    store::{SharedStore, postgres, redis, sqlite::Sqlite},
};

use crate::{postgres_server, redis_server, report};

/// Which store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Backend {
    Postgres,
    Redis,
    /// Three masters.
    Cluster,
    Sqlite,
}

/// Every store that tells of its changes and one that has to be looked at.
pub(crate) const STORES: [Backend; 3] = [Backend::Postgres, Backend::Redis, Backend::Sqlite];

/// A store that runs, or was stopped.
pub(crate) enum Keeper {
    Postgres(postgres_server::Server),
    Redis(redis_server::Server),
    Cluster {
        nodes: Vec<redis_server::Server>,
        /// Which of them is struck next, or is down.
        next: usize,
    },
    Sqlite {
        path: PathBuf,
        /// Whoever has locked it.
        locked: Option<rusqlite::Connection>,
    },
}

// === impl Backend ===

impl Backend {
    /// How it is called in reports.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Postgres => report::POSTGRES,
            Self::Redis => report::REDIS,
            Self::Cluster => report::CLUSTER,
            Self::Sqlite => report::SQLITE,
        }
    }
}

// === impl Keeper ===

impl Keeper {
    /// Starts one that loses nothing that it has acknowledged, whatever kills it.
    pub(crate) fn start(backend: Backend, folder: &Path) -> Self {
        match backend {
            // Without fsync only a crash of the machine loses anything.
            Backend::Postgres => Self::Postgres(postgres_server::Server::start(&["fsync=off"])),
            Backend::Redis => {
                let kept = ["--appendonly", "yes", "--appendfsync", "always"];
                Self::Redis(redis_server::Server::start(&kept))
            }
            Backend::Cluster => Self::Cluster {
                nodes: redis_server::cluster(),
                next: 0,
            },
            Backend::Sqlite => Self::Sqlite {
                path: folder.join("daypass.db"),
                locked: None,
            },
        }
    }

    /// Where the server listens. A file does not, and the nodes of a cluster tell their own addresses,
    /// so that nothing can be put in between.
    pub(crate) fn port(&self) -> Option<u16> {
        match self {
            Self::Postgres(server) => {
                let url = url::Url::parse(&server.url("postgres")).unwrap();
                url.port()
            }
            Self::Redis(server) => Some(server.port),
            Self::Cluster { .. } | Self::Sqlite { .. } => None,
        }
    }

    /// The address of the store, reached by `port`.
    pub(crate) fn url(&self, port: Option<u16>) -> String {
        let port = port.or_else(|| self.port()).unwrap_or_default();
        match self {
            Self::Postgres(server) => {
                let mut url = url::Url::parse(&server.url("postgres")).unwrap();
                url.set_port(Some(port)).unwrap();
                url.into()
            }
            Self::Redis(_) => format!("redis://127.0.0.1:{port}"),
            Self::Cluster { nodes, .. } => {
                let nodes = nodes.iter().map(|node| format!("127.0.0.1:{}", node.port));
                format!("redis-cluster://{}", nodes.collect::<Vec<_>>().join(","))
            }
            Self::Sqlite { path, .. } => format!("sqlite:{}", path.display()),
        }
    }

    /// Ends the store, as a signal ends a server; a node of a cluster; locks a file. Blocks.
    pub(crate) fn stop(&mut self, signal: &str) {
        match self {
            Self::Postgres(server) => server.stop(signal),
            Self::Redis(server) => end(server, signal),
            Self::Cluster { nodes, next } => end(&nodes[*next], signal),
            Self::Sqlite { path, locked } => {
                let db = rusqlite::Connection::open(path).unwrap();
                db.busy_timeout(Duration::from_secs(10)).unwrap();
                db.execute_batch("BEGIN IMMEDIATE").unwrap();
                *locked = Some(db);
            }
        }
    }

    /// Starts the server again on what it has kept; unlocks a file. Blocks.
    pub(crate) fn resume(&mut self) {
        match self {
            Self::Postgres(server) => server.resume(),
            Self::Redis(server) => server.start_again(),
            Self::Cluster { nodes, next } => {
                nodes[*next].start_again();
                *next = (*next + 1) % nodes.len();
            }
            Self::Sqlite { locked, .. } => {
                let db = locked.take().expect("it is locked");
                db.execute_batch("ROLLBACK").unwrap();
            }
        }
    }

    /// Sends a signal to all processes of the server: `STOP`, or `CONT`.
    pub(crate) fn signal(&self, signal: &str) {
        match self {
            Self::Postgres(server) => server.signal_all(signal),
            Self::Redis(server) => server.signal(signal),
            Self::Cluster { nodes, next } => nodes[*next].signal(signal),
            Self::Sqlite { .. } => panic!("a file hears no signal"),
        }
    }
}

fn end(server: &redis_server::Server, signal: &str) {
    server.signal(signal);
    redis_server::eventually("the server is gone", || {
        TcpStream::connect(("127.0.0.1", server.port)).is_err()
    });
}

/// Opens the store at `url`, beside all sidecars.
pub(crate) async fn open(url: &str, lifecycle: &Lifecycle) -> SharedStore {
    if let Some(path) = url.strip_prefix("sqlite:") {
        return Arc::new(Sqlite::open(path, Arc::new(SystemClock)).unwrap());
    }
    if let Ok(address) = postgres::Address::parse(url) {
        let surroundings = postgres::Surroundings {
            tls: client_config(None, Alpn::Unset).unwrap(),
            lifecycle: lifecycle.clone(),
            random: Arc::new(OsRandom),
        };
        let opened = postgres::Postgres::open(&address, surroundings).await;
        return Arc::new(opened.unwrap());
    }
    let parts = redis::Parts {
        trust: None,
        time: redis::Time::Server,
        random: Arc::new(OsRandom),
        lifecycle: lifecycle.clone(),
    };
    let address = redis::Address::parse(url).unwrap();
    Arc::new(redis::Redis::open(address, parts).await.unwrap())
}
