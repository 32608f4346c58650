//! Lists over many rows, which must not read them all.

use std::time::Duration;

use daypass::{
    base::ids::ProviderName,
    store::{Due, Filter, Store, postgres::Options},
};

use crate::{
    postgres_server::{FAST, Server},
    records::{AT, open_with},
};

/// Rows that were read one after the other, without an index, and rows that were read at all.
const READ: &str = "SELECT seq_tup_read || ' ' || seq_tup_read + idx_tup_fetch \
                    FROM pg_stat_user_tables WHERE relname = 'connections'";

const MANY: &str = "
    INSERT INTO daypass.connections (provider, user_id, id, generation, access, refresh, renewed_at,
        access_expires_at, refresh_expires_at, created_at, updated_at)
    SELECT 'calendly', 'user-' || n, decode(md5(n::text), 'hex'), 1, 'a', 'r', 1800000000000 + n, 0,
        CASE WHEN n % 2 = 0 THEN 1800000000000 + n END, 0, 0
    FROM generate_series(1, 50000) n";

#[tokio::test]
async fn pages_and_the_sweep_read_what_they_return_and_little_else() {
    let server = Server::start(FAST);
    let url = server.url("postgres");
    let mut options = Options::default();
    options.listen = false;
    drop(open_with(&url, options.clone()).await.unwrap());
    server.sql("postgres", MANY);
    server.sql("postgres", "VACUUM ANALYZE daypass.connections");
    server.sql("postgres", "SELECT pg_stat_reset()");

    let store = open_with(&url, options).await.unwrap();
    let due = Due {
        provider: ProviderName::parse("calendly").unwrap(),
        // All are due, half of them in both ways.
        renewed_before: AT.saturating_add(Duration::from_mins(1)),
        refresh_ends_before: AT.saturating_add(Duration::from_mins(1)),
        now: AT,
        longest_cooldown: AT,
        limit: 20,
    };
    assert_eq!(store.due(&due).await.unwrap().len(), 20);
    let first = store.page(&Filter::default(), None, 20).await.unwrap();
    let after = first.last().map(|connection| &connection.key);
    assert_eq!(
        store
            .page(&Filter::default(), after, 20)
            .await
            .unwrap()
            .len(),
        20
    );
    let broken = Filter {
        needs_reauth: Some(true),
        ..Filter::default()
    };
    assert!(store.page(&broken, None, 20).await.unwrap().is_empty());
    drop(store);

    // Sessions report what they have read when they end.
    let mut read = String::new();
    for _try in 0..100 {
        read = server.sql("postgres", READ);
        if !read.ends_with(" 0") && !read.is_empty() {
            break;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let [unguided, all] = read
        .split(' ')
        .map(|count| count.parse::<u32>().unwrap())
        .collect::<Vec<_>>()[..]
    else {
        panic!("{read}");
    };
    assert_eq!(
        unguided, 0,
        "of {all} rows, so many were read without an index"
    );
    assert!(all < 500, "{all} rows were read");
}
