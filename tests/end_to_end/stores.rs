//! Fresh stores for sidecars that share one: a database or a prefix of their own on one server of each
//! kind, which every test of this program shares; or a file.

use std::sync::{
    LazyLock,
    atomic::{AtomicU64, Ordering},
};

use crate::{postgres_server, redis_server};

static POSTGRES: LazyLock<postgres_server::Server> =
    // Without fsync only a crash of the machine loses anything.
    LazyLock::new(|| postgres_server::Server::start(&["fsync=off"]));

static REDIS: LazyLock<redis_server::Server> = LazyLock::new(|| {
    redis_server::Server::start(&["--appendonly", "yes", "--appendfsync", "everysec"])
});

/// Which store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum On {
    Sqlite,
    Postgres,
    Redis,
}

// === impl On ===

impl On {
    /// The address of a store that nobody has used; `None` for the file that every world has.
    pub(crate) async fn fresh(self) -> Option<String> {
        // Servers are started by whoever is first, which blocks.
        let made = tokio::task::spawn_blocking(move || match self {
            Self::Sqlite => None,
            Self::Postgres => {
                let database = format!("story_{}", number());
                POSTGRES.sql("postgres", &format!("CREATE DATABASE {database}"));
                Some(POSTGRES.url(&database))
            }
            Self::Redis => Some(format!(
                "redis://127.0.0.1:{}?prefix=s{}",
                REDIS.port,
                number()
            )),
        });
        made.await.unwrap()
    }
}

fn number() -> u64 {
    static NEXT: AtomicU64 = AtomicU64::new(1);
    NEXT.fetch_add(1, Ordering::Relaxed)
}
