//! Values that are wrong, and what Helm says of them.

use crate::helm::Install;

fn small() -> Install {
    Install::of_daypass().with("gateway-small")
}

#[track_caller]
fn refused(install: &Install, words: &[&str]) {
    let said = install.refused();
    for word in words {
        assert!(said.contains(word), "{word} in: {said}");
    }
}

#[test]
fn the_chart_passes_its_own_lint() {
    Install::of_daypass().is_linted();
    for values in ["gateway-full", "gateway-small"] {
        Install::of_daypass().with(values).is_linted();
    }
}

#[test]
fn what_is_no_value_is_refused() {
    for (set, word) in [
        ("gatewey.enabled=true", "gatewey"),
        ("gateway.replicas=0", "replicas"),
        ("gateway.replicas=\"2\"", "replicas"),
        ("sidecar.native=\"perhaps\"", "native"),
        ("sidecar.port=80", "port"),
        ("image.digest=\"latest\"", "digest"),
        ("gateway.ingress.paths=[\"/v1\"]", "paths"),
        ("sidecar.spool={\"hostPath\":{\"path\":\"/\"}}", "spool"),
        ("secrets=[{\"name\":\"a\"}]", "secretName"),
        (
            "secrets=[{\"name\":\"../a\",\"secretName\":\"b\",\"key\":\"c\"}]",
            "name",
        ),
        (
            "secrets=[{\"name\":\"a\",\"secretName\":\"b\",\"key\":\"c\",\"setting\":\"store.url\"}]",
            "setting",
        ),
        (
            "secrets=[{\"name\":\"a\",\"value\":\"plain\",\"secretName\":\"b\",\"key\":\"c\"}]",
            "value",
        ),
        (
            "gateway.terminationGracePeriodSeconds=20",
            "terminationGracePeriodSeconds",
        ),
    ] {
        refused(&small().set(set), &[word]);
    }
}

#[test]
fn secrets_in_the_open_are_refused() {
    for line in [
        "client_secret = 's'",
        "  token=\\\"s\\\"",
        "value = 's'",
        "signing_secret = 's'",
        "webhook_signing_key = 's'",
        "platform_client_secret = 's'",
    ] {
        let config = format!("config=\"[x]\\n{line}\\n\"");
        refused(&small().set(&config), &["holds a secret", "_file"]);
    }
    let url = r#"config="[store]\nurl = \"postgres://a:b@db/x\"\n""#;
    refused(&small().set(url), &["password", "store.url_file"]);
}

#[test]
fn what_cannot_work_is_refused_with_a_word_on_what_to_do() {
    refused(
        &Install::of_daypass().set("gateway.enabled=true"),
        &["needs a store on a server", "store.url_file"],
    );
    refused(
        &small().set("config=\"\""),
        &["needs an encryption key", "daypass keygen"],
    );
    refused(
        &small().set("admin.exposed=true"),
        &["needs a token", "admin.token_file"],
    );
    refused(
        &small().set("gateway.serviceMonitor.enabled=true"),
        &["admin.exposed"],
    );
    refused(
        &small().set("gateway.ingress.enabled=true"),
        &["gateway.ingress.host"],
    );
}
