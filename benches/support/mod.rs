//! What the micro-benches stand on: a sidecar in this process, with one connection in its store, and an
//! upstream that answers at once.

use std::sync::Arc;

use daypass::{
    app::{self, Sidecar},
    base::{
        clock::Timestamp,
        ids::{ConnectionKey, ProviderName, UserId},
        lifecycle::Lifecycle,
        secret::Secret,
    },
    config::{self, Environment},
    http::tls,
    provider::Account,
    token::{Grant, GrantTokens},
};
use tempfile::TempDir;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    runtime::Runtime,
};

/// As long as the opaque tokens that providers hand out.
pub(crate) const TOKEN: &str = "cal_at_0123456789abcdef0123456789abcdef0123456789abcdef";
/// A running sidecar; ends with its runtime.
pub(crate) struct Bed {
    pub(crate) runtime: Runtime,
    pub(crate) sidecar: Sidecar,
    pub(crate) key: ConnectionKey,
    _dir: TempDir,
}

// === impl Bed ===

impl Bed {
    pub(crate) fn new() -> Self {
        tls::install_crypto();
        let runtime = app::runtime().unwrap();
        let dir = tempfile::tempdir().unwrap();
        let key = ConnectionKey {
            provider: ProviderName::parse("calcom").unwrap(),
            user: UserId::parse("user-1").unwrap(),
        };
        let lifecycle = Lifecycle::new();
        let sidecar = runtime.block_on(async {
            let upstream = upstream(&lifecycle).await;
            let url = format!("sqlite:{}/daypass.db", dir.path().display());
            let settings = [
                ("outbound.listen", "127.0.0.1:0"),
                ("ingress.listen", "127.0.0.1:0"),
                ("admin.listen", "127.0.0.1:0"),
                ("store.url", &url),
                ("providers.calcom.kind", "calcom"),
                ("providers.calcom.api_base", &upstream),
                ("providers.calcom.client_id", "bench"),
            ];
            let request = config::Request {
                file: None,
                overrides: settings
                    .map(|(name, value)| (name.to_owned(), value.to_owned()))
                    .into(),
            };
            let loaded = config::load(&request, &Environment::default());
            let Ok(loaded) = loaded else {
                panic!("the settings of the bench are refused");
            };
            let sidecar = Sidecar::start(&loaded.settings).await.unwrap();
            sidecar.core().tokens.save(&[grant(&key)]).await.unwrap();
            sidecar
        });
        Self {
            runtime,
            sidecar,
            key,
            _dir: dir,
        }
    }
}

fn grant(key: &ConnectionKey) -> Grant {
    Grant {
        key: key.clone(),
        account: Account {
            external_id: None,
            organization: None,
            managed_user_id: None,
        },
        tokens: Some(GrantTokens {
            access: Secret::from(TOKEN.to_owned()),
            refresh: None,
            // The end of the century: nothing is due while the bench runs.
            expires_at: Some(Timestamp::from_secs(4_102_444_800)),
            refresh_expires_at: None,
            issued_at: None,
        }),
        scope: None,
        once: false,
    }
}

/// Answers every request head with about 700 bytes; tells its address.
async fn upstream(lifecycle: &Lifecycle) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let body = "x".repeat(695);
    let answer: Arc<str> = format!(
        "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    )
    .into();
    let tasks = lifecycle.clone();
    lifecycle.spawn_until_drain(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tasks.spawn_unwatched(answer_all(stream, Arc::clone(&answer)));
        }
    });
    format!("http://{address}")
}

async fn answer_all(mut stream: TcpStream, answer: Arc<str>) {
    let mut head = Vec::new();
    loop {
        match stream.read_buf(&mut head).await {
            Ok(0) | Err(_) => return,
            Ok(_) => {}
        }
        if head.ends_with(b"\r\n\r\n") {
            head.clear();
            if stream.write_all(answer.as_bytes()).await.is_err() {
                return;
            }
        }
    }
}
