//! Secrets: from where they are read, and when they are read again.

use super::*;

#[test]
fn a_secret_comes_from_its_file_without_the_line_end() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("token");
    fs::write(&path, "secret\r\n").unwrap();
    let loaded = fine(file(&format!("[admin]\ntoken_file = {path:?}")));
    assert_eq!(exposed(loaded.settings.admin.token.as_ref()), "secret");
}

#[test]
fn a_secret_and_its_file_in_one_layer_are_one_too_many() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("token");
    fs::write(&path, "from the file").unwrap();
    let twice = format!("[admin]\ntoken = \"a\"\ntoken_file = {path:?}");
    assert!(problem(file(&twice)).contains("given twice"));
    // The environment is above the file, so it is clear what is meant.
    let loaded = fine(with(
        "[admin]\ntoken = \"a\"",
        &[("DAYPASS_ADMIN_TOKEN_FILE", path.to_str().unwrap())],
        &[],
    ));
    assert_eq!(
        exposed(loaded.settings.admin.token.as_ref()),
        "from the file"
    );
}

#[test]
fn a_secret_file_that_is_missing_or_empty_is_named() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("token");
    let text = format!("[admin]\ntoken_file = {path:?}");
    assert!(problem(file(&text)).contains(path.to_str().unwrap()));
    fs::write(&path, "\n").unwrap();
    assert!(problem(file(&text)).contains("is empty"));
}

#[cfg(unix)]
#[test]
fn a_secret_file_for_everyone_is_a_warning() {
    use std::os::unix::fs::PermissionsExt;

    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("token");
    fs::write(&path, "secret").unwrap();
    let text = format!("[admin]\ntoken_file = {path:?}");
    for (mode, warned) in [(0o644, true), (0o600, false), (0o440, false)] {
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        let loaded = fine(file(&text));
        let found = loaded
            .warnings
            .iter()
            .any(|warning| warning.key == "admin.token_file");
        assert_eq!(found, warned, "{mode:o}");
    }
}

#[tokio::test]
async fn a_changed_secret_file_is_taken_up_and_a_broken_one_is_not() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("token");
    fs::write(&path, "first").unwrap();
    let loaded = fine(file(&format!("[admin]\ntoken_file = {path:?}")));
    let token = loaded.settings.admin.token.unwrap();
    let mut watched = loaded.secrets;
    for (content, expected, is_new) in [
        ("second\n", "second", true),
        ("second", "second", false),
        ("", "second", false),
        ("third", "third", true),
    ] {
        fs::write(&path, content).unwrap();
        assert_eq!(watched.reload().await, is_new, "{content}");
        assert_eq!(exposed(Some(&token)), expected);
    }
    fs::remove_file(&path).unwrap();
    assert!(!watched.reload().await);
    assert_eq!(exposed(Some(&token)), "third");
}

#[tokio::test(start_paused = true)]
async fn secret_files_are_watched_until_the_drain() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("token");
    fs::write(&path, "first").unwrap();
    let loaded = fine(file(&format!("[admin]\ntoken_file = {path:?}")));
    let token = loaded.settings.admin.token.unwrap();
    let lifecycle = Lifecycle::new();
    let (told, mut hears) = tokio::sync::mpsc::unbounded_channel();
    loaded
        .secrets
        .watch(&lifecycle, move || told.send(()).unwrap());
    fs::write(&path, "second").unwrap();
    tokio::time::sleep(Duration::from_secs(30)).await;
    assert_eq!(exposed(Some(&token)), "second");
    assert!(
        hears.try_recv().is_ok() && hears.try_recv().is_err(),
        "told once"
    );
    let drained = lifecycle.drain(Duration::from_secs(5)).await;
    assert_eq!(drained, Drained::Clean);
}

#[cfg(unix)]
#[tokio::test]
async fn a_secret_behind_a_swapped_symlink_is_taken_up() {
    let directory = tempfile::tempdir().unwrap();
    let at = |name: &str| directory.path().join(name);
    fs::write(at("old"), "old").unwrap();
    fs::write(at("new"), "new").unwrap();
    std::os::unix::fs::symlink(at("old"), at("token")).unwrap();
    let loaded = fine(file(&format!("[admin]\ntoken_file = {:?}", at("token"))));
    fs::remove_file(at("token")).unwrap();
    std::os::unix::fs::symlink(at("new"), at("token")).unwrap();
    let mut watched = loaded.secrets;
    assert!(watched.reload().await);
    assert_eq!(exposed(loaded.settings.admin.token.as_ref()), "new");
}

/// What there is in a file for `key`.
fn content(key: &str) -> String {
    if key.ends_with("signing_secret_file") {
        format!("whsec_{}", "A".repeat(32))
    } else if key == "store.url_file" {
        "postgres://daypass:secret@db/d".to_owned()
    } else if key == "tls.ca_file" {
        let own = rcgen::generate_simple_self_signed(["localhost".to_owned()]);
        own.unwrap().cert.pem()
    } else {
        "a-secret".to_owned()
    }
}

/// Whatever gives a secret a use.
const USES: &str = "
[app]
webhook_url = \"https://app.example/hooks\"
[providers.calcom]
kind = \"calcom\"
client_id = \"c\"
platform_client_id = \"p\"
[providers.calendly]
kind = \"calendly\"
client_id = \"c\"
";

#[test]
fn every_key_that_names_a_file_is_read_again() {
    let text = format!("{ONE_KEY}{USES}");
    let keys = fine(file(&text)).keys;
    let files = keys.iter().filter(|key| key.name.ends_with("_file"));
    let directory = tempfile::tempdir().unwrap();
    let current = (
        "DAYPASS_APP_SIGNING_SECRET",
        &*content("signing_secret_file"),
    );
    let mut seen = 0;
    for key in files {
        let (at, path) = (key.path(), directory.path().join(key.path()));
        fs::write(&path, content(&at)).unwrap();
        let set = [(key.variable.as_str(), path.to_str().unwrap()), current];
        let is_other = !at.contains("app.signing");
        let set = if is_other { &set[..] } else { &set[..1] };
        let loaded = fine(with(&text, set, &[]));
        assert!(
            loaded.secrets.keys().contains(&at.as_str()),
            "{at} is read once"
        );
        seen += 1;
    }
    assert!(seen >= 10, "{seen} keys");
}

#[tokio::test]
async fn another_value_under_the_id_of_a_key_is_complained_of_and_not_taken() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("k1");
    let value = ONE_KEY.split('"').nth(3).unwrap();
    fs::write(&path, value).unwrap();
    let text = format!("[[encryption.keys]]\nid = \"k1\"\nfile = {path:?}\n");
    let loaded = fine(file(&text));
    let mut watched = loaded.secrets;
    assert_eq!(watched.keys(), ["encryption.keys.k1"]);
    for content in [value, "bmV3LXNlbnRpbmVsLWtleS0zMi1ieXRlcy10ZXN0cyE=", ""] {
        fs::write(&path, content).unwrap();
        assert!(!watched.reload().await);
    }
}

#[tokio::test]
async fn a_changed_file_of_the_stores_url_brings_another_password_and_no_other_store() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("url");
    let url = |password: &str, host: &str| format!("postgres://daypass:{password}@{host}/d");
    let backend = |url: &str| store::parse(url).unwrap();
    fs::write(&path, url("old", "db") + "\n").unwrap();
    let loaded = fine(file(&format!("{ONE_KEY}[store]\nurl_file = {path:?}")));
    let (held, mut watched) = (loaded.settings.store.backend.clone(), loaded.secrets);
    assert_eq!(held, backend(&url("old", "db")));
    for (content, is_new, password) in [
        (url("new", "db"), true, "new"),
        (url("new", "db"), false, "new"),
        (url("newer", "elsewhere"), false, "new"),
        ("redis://db".to_owned(), false, "new"),
        (SENTINEL.to_owned(), false, "new"),
        (url("third", "db"), true, "third"),
    ] {
        fs::write(&path, content).unwrap();
        assert_eq!(watched.reload().await, is_new);
        assert_eq!(held, backend(&url(password, "db")));
        assert_eq!(loaded.settings.store.backend, held, "every clone sees it");
    }
}

#[test]
fn the_stores_url_and_its_file_follow_the_rules_of_secrets() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("url");
    let variable = ("DAYPASS_STORE_URL_FILE", path.to_str().unwrap());
    fs::write(&path, "sqlite:from-the-file.db").unwrap();
    let twice = format!("[store]\nurl = \"sqlite:a.db\"\nurl_file = {path:?}");
    assert!(problem(file(&twice)).contains("given twice"));
    let higher = fine(with("[store]\nurl = \"sqlite:a.db\"", &[variable], &[]));
    assert_eq!(database(&higher), Path::new("from-the-file.db"));
    let lower = fine(with(
        &format!("[store]\nurl_file = {path:?}"),
        &[("DAYPASS_STORE_URL", "sqlite:b.db")],
        &[],
    ));
    assert_eq!(database(&lower), Path::new("b.db"));
    let over_names_of_apps = [variable, ("DATABASE_URL", "postgres://u@h/d")];
    assert_eq!(
        database(&fine(variables(&over_names_of_apps))),
        Path::new("from-the-file.db")
    );
    fs::write(&path, SENTINEL).unwrap();
    let told = problem(variables(&[variable]));
    assert!(
        told.contains("is no store: expected") && !told.contains(SENTINEL),
        "{told}"
    );
}

#[test]
fn signing_secrets_are_checked_for_their_shape() {
    let of = |secret: &str| file(&format!("[app]\nsigning_secret = \"{secret}\""));
    assert!(problem(of("hunter2")).contains("whsec_"));
    fine(of(&format!("whsec_{}", "A".repeat(32))));
}
