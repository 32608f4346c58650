//! What a connection in memory costs, by the resident memory of this process, in which nothing else
//! happens: one test, and a binary of its own.

#![expect(
    clippy::unwrap_used,
    reason = "a test that meets the unexpected must fail loudly"
)]

use std::fs;

use daypass::{
    app::{self, Sidecar},
    base::{
        clock::Timestamp,
        ids::{ConnectionKey, ProviderName, UserId},
        secret::Secret,
    },
    config::{self, Environment},
    http::tls,
    provider::Account,
    token::{Grant, GrantTokens, TokenSource},
};

/// As long as Cal.com's opaque tokens and as `benches/memory.py` has them: 135 characters.
const TOKEN_LEN: usize = 135;

/// The pieces are 423 bytes, with the cache; the rest is what the allocator and SQLite lose between them.
/// Builds for debugging, such as this one, take 530 to 630 here; `benches/memory.py` has the figure of a
/// release.
const BOUND: usize = 700;

const FIRST: usize = 4_000;
const MORE: usize = 12_000;

fn grant(n: usize) -> Grant {
    Grant {
        key: ConnectionKey {
            provider: ProviderName::parse("calcom").unwrap(),
            user: UserId::parse(&format!("user-{n:08}")).unwrap(),
        },
        account: Account::default(),
        tokens: Some(GrantTokens {
            access: Secret::from(format!("{n:0TOKEN_LEN$}")),
            refresh: None,
            // The end of the century: nothing is due.
            expires_at: Some(Timestamp::from_secs(4_102_444_800)),
            refresh_expires_at: None,
            issued_at: None,
        }),
        scope: None,
        once: false,
    }
}

fn resident() -> usize {
    let statm = fs::read_to_string("/proc/self/statm").unwrap();
    let pages: usize = statm.split(' ').nth(1).unwrap().parse().unwrap();
    pages * 4096
}

async fn start(folder: &tempfile::TempDir) -> Sidecar {
    let url = format!("sqlite:{}/daypass.db", folder.path().display());
    let settings = [
        ("outbound.listen", "127.0.0.1:0"),
        ("ingress.listen", "127.0.0.1:0"),
        ("admin.listen", "127.0.0.1:0"),
        ("store.url", &url),
        ("providers.calcom.kind", "calcom"),
        ("providers.calcom.api_base", "http://127.0.0.1:9"),
        ("providers.calcom.client_id", "id"),
    ];
    let overrides = settings.map(|(name, value)| (name.to_owned(), value.to_owned()));
    let request = config::Request {
        file: None,
        overrides: overrides.into(),
    };
    let loaded = config::load(&request, &Environment::default());
    Sidecar::start(&loaded.ok().unwrap().settings)
        .await
        .unwrap()
}

#[test]
fn a_connection_in_memory_costs_no_more_than_its_bound() {
    tls::install_crypto();
    let runtime = app::runtime().unwrap();
    let folder = tempfile::tempdir().unwrap();
    runtime.block_on(async {
        let sidecar = start(&folder).await;
        let tokens = &sidecar.core().tokens;
        for from in (0..FIRST + MORE).step_by(500) {
            let grants: Vec<Grant> = (from..from + 500).map(grant).collect();
            tokens.save(&grants).await.unwrap();
        }
        // What reading needs in any case is there before the first figure.
        for n in 0..FIRST {
            tokens.bearer(grant(n).key).await.unwrap();
        }
        let before = resident();
        for n in FIRST..FIRST + MORE {
            // As the proxy does: what is in memory is sent, by a clone of the header.
            let bearer = tokens.bearer(grant(n).key).await.unwrap();
            assert_eq!(
                bearer.authorization().clone().len(),
                "Bearer ".len() + TOKEN_LEN
            );
        }
        let each = resident().saturating_sub(before) / MORE;
        assert_eq!(tokens.health().remembered, FIRST + MORE);
        assert!(each <= BOUND, "{each} bytes each");
        // A figure that is too good would say that nothing was measured.
        assert!(each >= 300, "{each} bytes each");
    });
}
