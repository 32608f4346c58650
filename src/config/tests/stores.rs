//! Stores and their keys.

use super::*;

/// The file of the database, which there is.
#[test]
fn an_unknown_store_is_a_problem_when_asked_for_and_a_warning_when_found() {
    assert!(problem(file("[store]\nurl = \"memcached://h\"")).contains("sqlite:"));
    let loaded = fine(variables(&[
        ("DATABASE_URL", "mysql://u:p@h/d"),
        ("REDIS_URL", "memcached://h"),
    ]));
    let warned = loaded
        .warnings
        .iter()
        .filter(|warning| warning.key == "store.url")
        .count();
    assert_eq!(warned, 2);
    assert_eq!(database(&loaded), Path::new("daypass.db"));
}

#[test]
fn redis_is_used_where_it_is_named_and_needs_a_key() {
    let keys = format!("k1:{}", "A".repeat(43));
    let key = ("DAYPASS_ENCRYPTION_KEYS", keys.as_str());
    for url in [
        "redis://h",
        "rediss://u:p@h:6380/1?prefix=staging",
        "redis-cluster://a,b,c",
        "redis-sentinel://a,b,c/main",
    ] {
        for variable in ["DAYPASS_STORE_URL", "REDIS_URL"] {
            let loaded = fine(variables(&[(variable, url), key]));
            let store = &loaded.settings.store;
            assert!(matches!(store.backend, store_room::Backend::Redis { .. }));
            assert_eq!(store.spool_dir, Path::new("daypass-spool"));
            assert!(problem(variables(&[(variable, url)])).contains("daypass keygen"));
        }
    }
    let hidden = fine(variables(&[("REDIS_URL", "redis://u:hunter2@h"), key]));
    assert!(!format!("{:?}", hidden.settings.store).contains("hunter2"));
    let wrong = format!("redis-sentinel://u:{SENTINEL}@a");
    let said = problem(variables(&[("DAYPASS_STORE_URL", &wrong), key]));
    assert!(
        said.contains("master's name") && !said.contains(SENTINEL),
        "{said}"
    );
}

#[test]
fn a_store_that_is_shared_needs_a_key() {
    let url = ("DATABASE_URL", "postgres://u:hidden@h/d");
    let message = problem(variables(&[url]));
    assert!(message.contains("daypass keygen"), "{message}");
    let key = format!("k1:{}", "A".repeat(43));
    let loaded = fine(variables(&[url, ("DAYPASS_ENCRYPTION_KEYS", &key)]));
    let backend = &loaded.settings.store.backend;
    assert!(matches!(backend, store_room::Backend::Postgres { .. }));
    assert!(!format!("{:?}", loaded.settings.store).contains("hidden"));
    assert_eq!(loaded.settings.store.spool_dir, Path::new("daypass-spool"));
}

#[test]
fn the_spool_lies_beside_the_database() {
    for url in [
        "sqlite:/var/lib/daypass/d.db",
        "sqlite:///var/lib/daypass/d.db",
    ] {
        let loaded = fine(variables(&[("DATABASE_URL", url)]));
        assert_eq!(database(&loaded), Path::new("/var/lib/daypass/d.db"));
        assert_eq!(
            loaded.settings.store.spool_dir,
            Path::new("/var/lib/daypass/daypass-spool")
        );
    }
    for url in [
        "sqlite::memory:",
        "sqlite:",
        "sqlite:d.db?mode=ro",
        "daypass.db",
        "sqlite:dir/",
    ] {
        problem(file(&format!("[store]\nurl = \"{url}\"")));
    }
}

#[test]
fn keys_have_distinct_ids_and_one_is_active() {
    let key = |id: &str| {
        format!(
            "[[encryption.keys]]\nid = \"{id}\"\nvalue = \"{}\"\n",
            "A".repeat(43)
        )
    };
    let loaded = fine(file(&key("k1")));
    assert_eq!(loaded.settings.encryption.active.as_deref(), Some("k1"));
    assert!(problem(file(&format!("{}{}", key("k1"), key("k2")))).contains("there are several"));
    let both = format!("[encryption]\nactive = \"k2\"\n{}{}", key("k1"), key("k2"));
    assert_eq!(
        fine(file(&both)).settings.encryption.active.as_deref(),
        Some("k2")
    );
    assert!(
        problem(file(&both.replace("active = \"k2\"", "active = \"k3\""))).contains("no key has")
    );
    assert!(problem(file(&format!("{}{}", key("k1"), key("k1")))).contains("another key"));
    let text = format!("a:{}=,b:{}", "A".repeat(43), "A".repeat(43));
    let loaded = fine(variables(&[
        ("DAYPASS_ENCRYPTION_KEYS", &text),
        ("DAYPASS_ENCRYPTION_ACTIVE", "b"),
    ]));
    assert_eq!(loaded.settings.encryption.keys.len(), 2);
}

#[test]
fn a_key_that_is_no_key_is_refused() {
    for value in ["AAAA", "!", ""] {
        let text = format!("[[encryption.keys]]\nid = \"k1\"\nvalue = \"{value}\"");
        assert!(problem(file(&text)).contains("32 bytes"));
    }
    problem(file("[[encryption.keys]]\nid = \"k1\""));
    problem(file("[encryption]\nactive = \"k1\""));
}
