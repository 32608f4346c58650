//! Loading as a whole: layers, problems, what is never said.

use std::{fs, time::Duration};

use proptest::prelude::*;

use super::*;
use crate::{
    base::{
        lifecycle::{Drained, Lifecycle},
        secret::ReloadableSecret,
    },
    http::Listen,
    provider::Kind,
};

/// A value that no message may repeat.
const SENTINEL: &str = "s3ntinel-value";

fn file(text: &str) -> Result<Loaded, Problems> {
    with(text, &[], &[])
}

fn variables(variables: &[(&str, &str)]) -> Result<Loaded, Problems> {
    with("", variables, &[])
}

fn with(
    text: &str,
    variables: &[(&str, &str)],
    overrides: &[(&str, &str)],
) -> Result<Loaded, Problems> {
    let environment: Environment = variables.iter().copied().collect();
    let owned = |(key, value): &(&str, &str)| ((*key).to_owned(), (*value).to_owned());
    let request = Request {
        file: None,
        overrides: overrides.iter().map(owned).collect(),
    };
    load_text(Path::new("daypass.toml"), text, &request, &environment)
}

fn problems(result: Result<Loaded, Problems>) -> Vec<Finding> {
    match result {
        Ok(_) => panic!("expected a problem"),
        Err(problems) => problems.problems,
    }
}

/// The one problem, as `origin key message`.
fn problem(result: Result<Loaded, Problems>) -> String {
    let problems = problems(result);
    assert_eq!(problems.len(), 1, "{problems:?}");
    problems[0].to_string()
}

fn fine(result: Result<Loaded, Problems>) -> Loaded {
    match result {
        Ok(loaded) => loaded,
        Err(problems) => panic!("{problems}"),
    }
}

fn exposed(secret: Option<&ReloadableSecret>) -> String {
    secret.unwrap().current().danger_expose().clone()
}

fn calcom(loaded: &Loaded) -> &crate::provider::calcom::Config {
    let found = loaded
        .settings
        .providers
        .iter()
        .find_map(|provider| match provider {
            ProviderConfig::Calcom(config) => Some(config),
            ProviderConfig::Calendly(_) => None,
        });
    found.unwrap()
}

fn calendly(loaded: &Loaded) -> &crate::provider::calendly::Config {
    let found = loaded
        .settings
        .providers
        .iter()
        .find_map(|provider| match provider {
            ProviderConfig::Calendly(config) => Some(config),
            ProviderConfig::Calcom(_) => None,
        });
    found.unwrap()
}

#[test]
fn nothing_at_all_is_a_working_configuration() {
    let loaded = fine(file(""));
    let settings = &loaded.settings;
    assert_eq!(settings.outbound.listen.to_string(), "127.0.0.1:7420");
    assert_eq!(settings.ingress.listen.to_string(), "127.0.0.1:7421");
    assert_eq!(settings.admin.listen.to_string(), "127.0.0.1:7422");
    assert_eq!(settings.refresh, token::Config::default());
    assert_eq!(settings.store.spool_dir, Path::new("daypass-spool"));
    assert!(settings.encryption.keys.is_empty());
    let names: Vec<_> = settings
        .providers
        .iter()
        .map(|p| (p.name().as_str(), p.kind()))
        .collect();
    assert_eq!(
        names,
        [("calcom", Kind::Calcom), ("calendly", Kind::Calendly)]
    );
    assert_eq!(loaded.warnings.len(), 2, "two providers without a client");
}

#[test]
fn every_problem_is_reported_at_once_with_its_line() {
    let found = problems(file(
        "[outbound]\nlisten = \"nowhere\"\nreplay_body = 5\n\n[refresh]\nbuffer = 300\n\n[refrehs]\n",
    ));
    let lines: Vec<String> = found.iter().map(ToString::to_string).collect();
    assert_eq!(lines.len(), 4, "{lines:?}");
    assert!(
        lines[0].starts_with("daypass.toml:2: outbound.listen\n"),
        "{}",
        lines[0]
    );
    assert!(
        lines[1].contains("daypass.toml:3")
            && lines[1].contains("did you mean `replay_body_bytes`?")
    );
    assert!(lines[2].contains("daypass.toml:6") && lines[2].contains("a number without quotes"));
    assert!(lines[3].contains("daypass.toml:8") && lines[3].contains("did you mean `refresh`?"));
}

#[test]
fn problems_read_as_a_list() {
    let text = "[refresh]\nbufer = \"5m\"\n[store]\nurl = \"memcached://h\"";
    let variables = [
        ("DAYPASS_ADMIN_LISTEN", "0.0.0.0:1"),
        ("CAL_CLIENT_SECRET", "x"),
    ];
    let all = with(text, &variables, &[]).err().unwrap();
    assert_eq!(
        all.to_string(),
        "\
the configuration has 4 problems

  daypass.toml:2: refresh.bufer
    there is no such key in [refresh]; did you mean `buffer`?

  daypass.toml:4: store.url
    expected \"sqlite:\" and the path of a file, such as \"sqlite:daypass.db\", \
\"postgres://user:password@host/database\", or \"redis://\", \"rediss://\", \"redis-cluster://\" or \
\"redis-sentinel://\" and the servers

  environment variable DAYPASS_ADMIN_LISTEN: admin.listen
    whoever reaches this listener can manage every connection: set admin.token or \
admin.token_file, or listen on a loopback address or a unix socket

  environment variable CAL_CLIENT_SECRET: providers.calcom.platform_client_secret
    is of no use without platform_client_id

  warning: providers.calcom.client_id (not set)
    neither client_id nor platform_client_id is set: tokens of this provider cannot be renewed

  warning: providers.calendly.client_id (not set)
    tokens of this provider cannot be renewed without it"
    );
}

#[test]
fn later_layers_win() {
    let text = "[refresh]\nbuffer = \"6m\"\ntimeout = \"6s\"\nkeep_alive = \"6d\"";
    let loaded = fine(with(
        text,
        &[
            ("DAYPASS_REFRESH_BUFFER", "7m"),
            ("DAYPASS_REFRESH_TIMEOUT", "7s"),
        ],
        &[("refresh.buffer", "8m")],
    ));
    assert_eq!(loaded.settings.refresh.buffer, Duration::from_mins(8));
    assert_eq!(loaded.settings.refresh.timeout, Duration::from_secs(7));
    assert_eq!(
        loaded.settings.refresh.keep_alive,
        Duration::from_hours(6 * 24)
    );
}

#[test]
fn no_message_repeats_a_value() {
    let text = format!(
        "[outbound]\nlisten = \"{SENTINEL}\"\nx = \"{SENTINEL}\"\n[admin]\ntoken = [\"{SENTINEL}\"]\n\
         [{SENTINEL}]\n[store]\nurl = \"postgres://u:{SENTINEL}@h/d\"\n[app]\nsigning_secret = \"{SENTINEL}\"\n\
         [ingress]\nallowed_return_origins = [\"{SENTINEL}\"]\n[[encryption.keys]]\nid = \"k1\"\nvalue = \"{SENTINEL}\"\n\
         [providers.calcom]\nkind = \"calcom\"\nclient_secret = \"{SENTINEL}\\nx\"\nwebhook_secret = 5\n\
         authorize_url = \"http://{SENTINEL}\"\n"
    );
    let name_of_section = "there is no such section";
    let all = file(&text).err().unwrap();
    assert!(all.problems.len() >= 10, "{all}");
    for finding in &all.problems {
        if finding.message != name_of_section {
            assert!(!finding.to_string().contains(SENTINEL), "{finding}");
        }
    }
}

#[test]
fn broken_syntax_is_shown_by_line_without_its_text() {
    let all = file(&format!(
        "[admin]\ntoken = \"{SENTINEL}\nlisten = {SENTINEL}\n"
    ))
    .err()
    .unwrap();
    assert!(all.to_string().contains("daypass.toml:2"), "{all}");
    assert!(!all.to_string().contains(SENTINEL), "{all}");
    let json = serde_json::to_value(&all).unwrap();
    assert_eq!(json["problems"][0]["source"], "file");
    assert_eq!(json["problems"][0]["line"], 2);
}

#[test]
fn unknown_variables_only_warn() {
    let loaded = fine(variables(&[("DAYPASS_OUTBOND_LISTEN", SENTINEL)]));
    let text = loaded.warnings[2].to_string();
    assert!(text.contains("DAYPASS_OUTBOND_LISTEN") && text.contains("`DAYPASS_OUTBOUND_LISTEN`"));
    assert!(!text.contains(SENTINEL));
}

#[test]
fn what_kubernetes_sets_for_services_passes_in_silence() {
    let loaded = fine(variables(&[
        ("DAYPASS_SERVICE_HOST", "10.0.0.1"),
        ("DAYPASS_SERVICE_PORT", "7422"),
        ("DAYPASS_SERVICE_PORT_ADMIN", "7422"),
        ("DAYPASS_PORT", "tcp://10.0.0.1:7422"),
        ("DAYPASS_ADMIN_PORT_7422_TCP", "tcp://10.0.0.1:7422"),
        ("DAYPASS_ADMIN_PORT_7422_TCP_ADDR", "10.0.0.1"),
    ]));
    assert_eq!(loaded.warnings.len(), 2, "{:?}", loaded.warnings);
    let loaded = fine(variables(&[("DAYPASS_OUTBOUND_PORT", "8080")]));
    assert_eq!(loaded.warnings.len(), 3, "somebody meant a setting");
}

#[test]
fn unknown_flags_are_problems() {
    let text = problem(with("", &[], &[("outbound.listne", "127.0.0.1:1")]));
    assert!(text.contains("command line: outbound.listne") && text.contains("`outbound.listen`"));
}

#[test]
fn an_open_outbound_listener_must_be_meant() {
    let open = "[outbound]\nlisten = \"0.0.0.0:7420\"";
    assert!(problem(file(open)).contains("allow_remote"));
    fine(file(&format!("{open}\nallow_remote = true")));
}

#[test]
fn an_open_admin_listener_needs_a_token() {
    let open = "[admin]\nlisten = \"0.0.0.0:7422\"";
    assert!(problem(file(open)).contains("admin.token"));
    fine(with(open, &[("DAYPASS_ADMIN_TOKEN", "secret")], &[]));
}

#[test]
fn listeners_may_be_sockets_names_of_this_host_or_any_port() {
    let loaded = fine(file(
        "[outbound]\nlisten = \"unix:/run/daypass.sock\"\n[ingress]\nlisten = \"localhost:0\"\n[admin]\nlisten = \"127.0.0.1:0\"",
    ));
    assert_eq!(
        loaded.settings.outbound.listen,
        Listen::Unix("/run/daypass.sock".into())
    );
    assert_eq!(loaded.settings.ingress.listen.to_string(), "127.0.0.1:0");
    assert!(problem(file("[outbound]\nlisten = \"daypass.local:7420\"")).contains("numeric"));
    assert!(problem(file("[outbound]\nlisten = \"unix:run.sock\"")).contains("absolute"));
}

#[test]
fn two_listeners_on_one_address_are_refused() {
    let text = problem(file("[ingress]\nlisten = \"127.0.0.1:7420\""));
    assert!(text.contains("outbound.listen"), "{text}");
}

#[test]
fn times_that_contradict_each_other_are_refused() {
    for (text, word) in [
        ("min_validity = \"5m\"", "refresh.buffer"),
        ("cooldown = \"6m\"", "refresh.cooldown_max"),
        ("timeout = \"0s\"", "longer than zero"),
    ] {
        assert!(
            problem(file(&format!("[refresh]\n{text}"))).contains(word),
            "{text}"
        );
    }
}

#[test]
fn a_token_call_may_take_longer_than_a_lease() {
    fine(file("[refresh]\ntimeout = \"90s\"\nlease_ttl = \"30s\""));
}

#[test]
fn the_user_header_may_not_be_one_with_a_meaning() {
    for taken in [
        "authorization",
        "Cookie",
        "connection",
        "x-forwarded-for",
        "not a header",
    ] {
        problem(file(&format!("[outbound]\nuser_header = \"{taken}\"")));
    }
    fine(file("[outbound]\nuser_header = \"X-Acting-User\""));
}

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

const ONE_KEY: &str =
    "[[encryption.keys]]\nid = \"k1\"\nvalue = \"bm90LWEta2V5LWJ1dC1leGFjdGx5LTMyLWJ5dGVzISE=\"\n";

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
fn names_that_apps_already_use_count_least() {
    let names = [
        ("NEXT_PUBLIC_CAL_CLIENT_ID", "platform"),
        ("CAL_CLIENT_SECRET", "hidden"),
        ("CALENDLY_OAUTH_CLIENT_ID", "id"),
        ("CALENDLY_OAUTH_CLIENT_SECRET", "hidden too"),
        ("CALENDLY_OAUTH_REDIRECT_URI", "https://app.example.org/cb"),
    ];
    let loaded = fine(variables(&names));
    assert!(loaded.warnings.is_empty(), "{:?}", loaded.warnings);
    assert_eq!(
        calcom(&loaded).platform_client_id.as_deref(),
        Some("platform")
    );
    assert_eq!(
        exposed(calcom(&loaded).platform_client_secret.as_ref()),
        "hidden"
    );
    assert_eq!(
        exposed(calendly(&loaded).client_secret.as_ref()),
        "hidden too"
    );
    assert_eq!(
        calendly(&loaded).redirect_uri.as_ref().unwrap().host_str(),
        Some("app.example.org")
    );
    let text = "[providers.calendly]\nkind = \"calendly\"\nclient_id = \"from the file\"";
    let loaded = fine(with(text, &names, &[]));
    assert_eq!(
        calendly(&loaded).client_id.as_deref(),
        Some("from the file")
    );
}

/// The file of the database, which there is.
fn database(loaded: &Loaded) -> &Path {
    match &loaded.settings.store.backend {
        store_room::Backend::Sqlite { path } => path,
        other => panic!("{other:?}"),
    }
}

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

#[test]
fn a_provider_is_made_by_its_kind_in_any_layer() {
    let loaded = fine(variables(&[
        ("DAYPASS_PROVIDERS_CALCOM_EU_KIND", "calcom"),
        ("DAYPASS_PROVIDERS_CALCOM_EU_API_BASE", "https://api.cal.eu"),
        ("DAYPASS_PROVIDERS_CALCOM_EU_CLIENT_ID", "id"),
    ]));
    assert!(loaded.warnings.is_empty(), "{:?}", loaded.warnings);
    assert_eq!(loaded.settings.providers.len(), 1);
    let config = calcom(&loaded);
    assert_eq!(config.name.as_str(), "calcom-eu");
    assert_eq!(
        config.authorize_url.as_str(),
        "https://app.cal.eu/auth/oauth2/authorize"
    );
    assert_eq!(
        config.token_url.as_str(),
        "https://api.cal.eu/v2/auth/oauth2/token"
    );
}

#[test]
fn providers_that_make_no_sense_are_refused() {
    for (text, word) in [
        ("[providers.calcom]", "is missing"),
        (
            "[providers.calcom]\nkind = \"calcm\"",
            "did you mean `calcom`?",
        ),
        ("[providers.Cal]\nkind = \"calcom\"", "a-z"),
        (
            "[providers.a]\nkind = \"calcom\"\napi_base = \"http://api.cal.com\"",
            "https",
        ),
        (
            "[providers.a]\nkind = \"calcom\"\nclient_id = \"x\"\nplatform_client_secret = \"x\"",
            "platform_client_id",
        ),
        (
            "[providers.a]\nkind = \"calendly\"\nclient_secret = \"x\"",
            "client_id",
        ),
        (
            "[providers.a]\nkind = \"calendly\"\nauthorize_params = { state = \"x\" }",
            "Daypass sends itself",
        ),
        (
            "[providers.a]\nkind = \"calendly\"\napi_version = \"2024-08-13\"",
            "no such key",
        ),
        (
            "[providers.a]\nkind = \"calcom\"\nwebhook_secret = \"no-secret-provided\"",
            "without a secret",
        ),
        ("[providers]\na = 5", "expected a table"),
        ("providers = 5", "expected tables"),
    ] {
        let found = problems(file(text));
        assert!(
            found
                .iter()
                .any(|problem| problem.to_string().contains(word)),
            "{text}: {found:?}"
        );
    }
}

#[test]
fn scopes_that_calendly_does_not_document_are_doubted() {
    let text =
        "[providers.calendly]\nkind = \"calendly\"\nscope = \"users:read scheduled_event:read\"";
    let loaded = fine(file(text));
    let doubted = loaded
        .warnings
        .iter()
        .find(|warning| warning.key.ends_with("scope"))
        .unwrap();
    assert!(
        doubted.message.contains("`scheduled_events:read`"),
        "{doubted}"
    );
    assert_eq!(
        calendly(&loaded).authorize_params,
        [("prompt".to_owned(), "consent".to_owned())]
    );
    let off = fine(file(
        "[providers.a]\nkind = \"calendly\"\nauthorize_params = {}",
    ));
    assert!(calendly(&off).authorize_params.is_empty());
}

#[test]
fn a_log_level_with_a_slip_in_it_is_not_taken_for_a_target() {
    assert!(problem(file("[telemetry]\nlog = \"inof\"")).contains("did you mean `info`?"));
    fine(file("[telemetry]\nlog = \"info,daypass::token=debug\""));
}

#[test]
fn signing_secrets_are_checked_for_their_shape() {
    let of = |secret: &str| file(&format!("[app]\nsigning_secret = \"{secret}\""));
    assert!(problem(of("hunter2")).contains("whsec_"));
    fine(of(&format!("whsec_{}", "A".repeat(32))));
}

#[test]
fn a_named_file_must_exist() {
    let request = Request {
        file: Some("/nowhere/daypass.toml".into()),
        overrides: Vec::new(),
    };
    let problems = load(&request, &Environment::default()).err().unwrap();
    assert!(problems.to_string().contains("/nowhere/daypass.toml"));
    let environment = [(FILE_VARIABLE, "/nowhere/else.toml")]
        .into_iter()
        .collect();
    let problems = load(&Request::default(), &environment).err().unwrap();
    assert!(
        problems.to_string().contains("DAYPASS_CONFIG"),
        "{problems}"
    );
}

proptest! {
    #[test]
    fn no_file_makes_the_loader_panic(text in "(\\[|\\]|=|\"|\\.|\n|[a-z_]{1,8}|[0-9]|outbound|providers){0,40}") {
        let _ = file(&text);
    }
}

#[test]
fn a_policy_is_read_with_its_provider_and_every_problem_of_it_is_told() {
    let loaded = fine(file(
        "[providers.calendly]\nkind = \"calendly\"\n[providers.calendly.policy]\n\
         allow = [\"GET /users/me\", \"GET|POST /scheduled_events*\"]\nmode = \"observe\"\n\
         [providers.calendly.limits]\nper_user = \"60/m\"\n",
    ));
    let policies = &loaded.settings.outbound.policies;
    let (_, policy) = policies.first_key_value().unwrap();
    let rules: Vec<String> = policy.allow.iter().map(ToString::to_string).collect();
    assert_eq!(rules, ["GET /users/me", "GET|POST /scheduled_events*"]);
    assert_eq!(policy.mode, proxy::Mode::Observe);
    assert_eq!(policy.limits.mode, proxy::Mode::Enforce);
    assert_eq!(policy.limits.per_user.unwrap().calls.get(), 60);

    let found = problems(file(
        "[providers.calendly]\nkind = \"calendly\"\n[providers.calendly.policy]\n\
         allow = [\"/users/me\"]\nmood = \"observe\"\n[providers.calendly.limits]\nper_user = \"60\"\n",
    ));
    let keys: Vec<&str> = found.iter().map(|problem| problem.key.as_str()).collect();
    assert_eq!(
        keys,
        [
            "providers.calendly.policy.allow",
            "providers.calendly.policy.mood",
            "providers.calendly.limits.per_user"
        ]
    );
}

#[test]
fn a_list_that_the_app_can_go_around_is_a_warning() {
    let listed = ("providers.calendly.policy.allow", "GET /users/me");
    let kind = ("providers.calendly.kind", "calendly");
    let warned = |overrides: &[(&str, &str)]| {
        let loaded = fine(with("", &[], overrides));
        let mut keys = loaded.warnings.iter().map(|warning| warning.key.clone());
        keys.any(|key| key == "providers.calendly.policy.allow")
    };
    assert!(!warned(&[kind, listed]));
    assert!(warned(&[kind, listed, ("outbound.token_reads", "true")]));
}
