//! The units in `docs/systemd` are what systemd takes, shut in as far as it can, and fit the defaults.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use serde_json::Value;
use tempfile::TempDir;

use crate::sidecar::run;

fn unit(name: &str) -> String {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/systemd");
    fs::read_to_string(folder.join(name)).unwrap()
}

/// Both units, with the binary of these tests.
fn placed() -> (TempDir, [PathBuf; 2]) {
    let home = tempfile::tempdir().unwrap();
    let paths = ["daypass.service", "daypass.socket"].map(|name| {
        let text = unit(name).replace("/usr/local/bin/daypass", env!("CARGO_BIN_EXE_daypass"));
        let path = home.path().join(name);
        fs::write(&path, text).unwrap();
        path
    });
    (home, paths)
}

fn analyze(arguments: &[&str], units: &[&PathBuf]) -> (bool, String) {
    let ended = Command::new("systemd-analyze")
        .args(arguments)
        .args(units)
        .output();
    // Debian's; ./test installs it.
    let ended = ended.unwrap();
    let said = [ended.stdout, ended.stderr].map(|text| String::from_utf8(text).unwrap());
    (ended.status.success(), said.concat())
}

#[test]
fn systemd_finds_nothing_wrong_with_the_units() {
    let (_home, [service, socket]) = placed();
    let (fine, said) = analyze(&["verify", "--man=no"], &[&service, &socket]);
    assert!(fine && said.is_empty(), "{said}");
    // A misspelt setting is found, so the above says something.
    let text = fs::read_to_string(&service).unwrap();
    fs::write(&service, text.replace("WatchdogSec=", "WatchdogSecs=")).unwrap();
    let (_, said) = analyze(&["verify", "--man=no"], &[&service]);
    assert!(said.contains("WatchdogSecs"), "{said}");
}

#[test]
fn the_service_may_do_little() {
    let (_home, [service, _]) = placed();
    // In tenths of what systemd calls exposure; 100 is everything.
    let limit = "--threshold=15";
    let (fine, said) = analyze(
        &["security", "--offline=true", "--no-pager", limit],
        &[&service],
    );
    assert!(fine, "{said}");
}

#[tokio::test]
async fn the_sockets_have_the_addresses_of_the_listeners() {
    let checked = run(&["check", "--json", "--config", "/dev/null"], "").await;
    let checked: Value = serde_json::from_str(&checked.stdout).unwrap();
    let sides = ["outbound", "ingress", "admin"];
    let listeners = sides.map(|side| checked[side].as_str().unwrap().to_owned());
    let text = unit("daypass.socket");
    let streams = text
        .lines()
        .filter_map(|line| line.strip_prefix("ListenStream="));
    assert_eq!(streams.collect::<Vec<_>>(), listeners);
}

#[tokio::test]
async fn what_the_page_has_systemd_check_is_fine() {
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/install.md");
    let page = fs::read_to_string(page).unwrap();
    let (_, rest) = page
        .split_once("<!-- configuration: systemd -->\n```toml\n")
        .unwrap();
    let (text, _) = rest.split_once("```").unwrap();
    let home = tempfile::tempdir().unwrap();
    let at = |name: &str| home.path().join(name).display().to_string();
    let credentials = home.path().display().to_string();
    let text = text.replace("/run/credentials/daypass.service", &credentials);
    fs::write(at("daypass.toml"), text).unwrap();
    let service = unit("daypass.service");
    for credential in service
        .lines()
        .filter_map(|line| line.strip_prefix("LoadCredential="))
    {
        let name = credential.split(':').next().unwrap();
        let made = run(&["keygen"], "").await;
        fs::write(at(name), made.stdout).unwrap();
    }
    let mut check = Command::new(env!("CARGO_BIN_EXE_daypass"));
    check
        .env_clear()
        .args(["check", "--config", &at("daypass.toml")]);
    for variable in service
        .lines()
        .filter_map(|line| line.strip_prefix("Environment="))
    {
        let (name, value) = variable.split_once('=').unwrap();
        check.env(name, value.replace("%d", &credentials));
    }
    let ended = check.output().unwrap();
    let said = [ended.stdout, ended.stderr].map(|text| String::from_utf8(text).unwrap());
    assert!(ended.status.success(), "{said:?}");
    assert!(
        said[0].contains("is fine.") && said[0].contains("calendly"),
        "{said:?}"
    );
}
