//! Alerts, their runbooks, and the dashboard: held to promtool, and to the metrics that there are.

use std::{collections::BTreeSet, fs, process::Command};

use serde_json::Value;

use crate::{
    helm::{Install, root},
    rendered::{list, one},
};

fn rules() -> Vec<Value> {
    let install = Install::of_daypass().set("monitoring.prometheusRule.enabled=true");
    let documents = install.rendered();
    let groups = list(&one(&documents, "PrometheusRule")["spec"]["groups"]).to_vec();
    groups
        .iter()
        .flat_map(|it| list(&it["rules"]))
        .cloned()
        .collect()
}

/// What the page of metrics documents.
fn documented() -> BTreeSet<String> {
    let page = fs::read_to_string(root().join("docs/metrics.md")).unwrap();
    let (table, _) = page.split_once("\n## ").unwrap();
    let rows = table.lines().filter_map(|row| row.strip_prefix("| `"));
    rows.filter_map(|row| row.split('`').next().map(str::to_owned))
        .collect()
}

/// Names of metrics in an expression; those of histograms without what is added.
fn metrics(expression: &str) -> BTreeSet<String> {
    let is_name = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let words = expression.split(|c| !is_name(c));
    let ours = words.filter(|word| word.starts_with("daypass_") || word.starts_with("process_"));
    ours.map(|word| word.trim_end_matches("_bucket").to_owned())
        .collect()
}

#[test]
fn alerts_fire_when_they_should_and_not_before() {
    let folder = tempfile::tempdir().unwrap();
    let place = |name: &str| folder.path().join(name);
    fs::copy(
        root().join("helm/daypass/files/alerts.yaml"),
        place("alerts.rules.yaml"),
    )
    .unwrap();
    fs::copy(root().join("tests/chart/alerts.yaml"), place("alerts.yaml")).unwrap();
    for arguments in [
        ["check", "rules", "alerts.rules.yaml"],
        ["test", "rules", "alerts.yaml"],
    ] {
        let mut promtool = Command::new("promtool");
        let output = promtool
            .args(arguments)
            .current_dir(folder.path())
            .output()
            .unwrap();
        let said = [output.stdout, output.stderr].concat();
        assert!(
            output.status.success(),
            "{}",
            String::from_utf8_lossy(&said)
        );
    }
}

#[test]
fn each_alert_has_a_runbook_and_metrics_that_exist() {
    let (runbooks, documented) = (
        fs::read_to_string(root().join("docs/runbooks.md")).unwrap(),
        documented(),
    );
    let mut sections: BTreeSet<String> = runbooks
        .lines()
        .filter_map(|line| line.strip_prefix("## ").map(str::to_owned))
        .collect();
    for rule in rules() {
        let name = rule["alert"].as_str().unwrap();
        assert!(sections.remove(name), "{name} has no runbook");
        let url = rule["annotations"]["runbook_url"].as_str().unwrap();
        assert!(
            url.ends_with(&format!("docs/runbooks.md#{}", name.to_lowercase())),
            "{url}"
        );
        let severity = rule["labels"]["severity"].as_str().unwrap();
        assert!(["critical", "warning"].contains(&severity), "{severity}");
        let used = metrics(rule["expr"].as_str().unwrap());
        assert!(
            !used.is_empty() && used.is_subset(&documented),
            "{name}: {used:?}"
        );
    }
    assert_eq!(sections, BTreeSet::new(), "runbooks of no alert");
}

#[test]
fn the_dashboard_shows_metrics_that_exist() {
    let install = Install::of_daypass().set("monitoring.dashboard.enabled=true");
    let documents = install.rendered();
    let shown = documents
        .iter()
        .find_map(|it| it["data"]["daypass.json"].as_str())
        .unwrap();
    let dashboard: Value = serde_json::from_str(shown).unwrap();
    let panels = list(&dashboard["panels"]).iter();
    let targets = panels.flat_map(|panel| list(&panel["targets"]));
    let used: BTreeSet<String> = targets
        .flat_map(|target| metrics(target["expr"].as_str().unwrap()))
        .collect();
    let documented = documented();
    assert!(used.is_subset(&documented), "{used:?}");
    // What nobody looks at is not worth counting.
    let unseen: Vec<_> = documented.difference(&used).collect();
    assert_eq!(
        unseen,
        [
            "daypass_build_info",
            "daypass_delivery_destinations_left_alone"
        ]
    );
}
