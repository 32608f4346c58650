//! The template that adds Daypass to any pod.

use std::{fs, path::Path, process::Command};

use serde_json::{Value, json};

use crate::{
    helm::{Install, root},
    rendered::{container, list, names, one},
};

fn copy(from: &Path, to: &Path) {
    let copied = Command::new("cp").arg("-r").arg(from).arg(to).status();
    assert!(copied.unwrap().success());
}

/// The example app, with the chart as its dependency.
pub(crate) fn example() -> Install {
    with_pod(None)
}

/// The example app with another pod than its own.
fn with_pod(pod: Option<&Value>) -> Install {
    let folder = tempfile::tempdir().unwrap().keep();
    let chart = folder.join("app");
    copy(&root().join("helm/example-app"), &chart);
    drop(fs::remove_dir_all(chart.join("charts")));
    fs::create_dir(chart.join("charts")).unwrap();
    copy(&root().join("helm/daypass"), &chart.join("charts/daypass"));
    if let Some(pod) = pod {
        let template = chart.join("templates/deployment.yaml");
        let text = fs::read_to_string(&template).unwrap();
        let rest = text.split_once("{{- end }}").unwrap().1;
        let pod = format!("{{{{- define \"app.pod\" -}}}}\n{pod}\n{{{{- end }}}}");
        fs::write(&template, pod + rest).unwrap();
    }
    Install {
        chart,
        ..Install::of_daypass()
    }
}

fn template(install: &Install) -> Value {
    one(&install.rendered(), "Deployment")["spec"]["template"].clone()
}

#[test]
fn it_is_a_native_sidecar_that_is_up_before_everything_else() {
    let pod = &template(&example().on("1.29.0"))["spec"];
    let init = list(&pod["initContainers"]);
    assert_eq!(names(init), ["daypass-check", "daypass"]);
    assert_eq!(init[1]["restartPolicy"], "Always");
    assert!(init[1]["startupProbe"].is_object() && init[1]["readinessProbe"].is_object());
    assert_eq!(names(list(&pod["containers"])), ["app"]);
}

#[test]
fn on_older_clusters_it_is_the_first_container_and_outlasts_the_app() {
    let pod = &template(&example().on("1.28.9"))["spec"];
    assert_eq!(names(list(&pod["initContainers"])), ["daypass-check"]);
    let containers = list(&pod["containers"]);
    assert_eq!(names(containers), ["daypass", "app"]);
    assert!(containers[0]["restartPolicy"].is_null());
    let hook = &containers[0]["lifecycle"]["postStart"]["exec"]["command"];
    assert_eq!(list(hook).last().unwrap(), "60s");
    let arguments = list(&containers[0]["args"]);
    assert_eq!(
        arguments[arguments.len() - 2..],
        [json!("--linger"), json!("15s")]
    );
    let native = example()
        .on("1.28.9")
        .set("daypass.sidecar.native=\"always\"");
    assert_eq!(list(&template(&native)["spec"]["initContainers"]).len(), 2);
    let never = example()
        .on("1.35.0")
        .set("daypass.sidecar.native=\"never\"");
    assert_eq!(list(&template(&never)["spec"]["containers"]).len(), 2);
}

#[test]
fn what_a_pod_has_already_stays() {
    let pod = json!({
        "metadata": {"labels": {"app": "shop"}, "annotations": {"a": "b"}},
        "spec": {
            "serviceAccountName": "shop",
            "securityContext": {"fsGroup": 2000, "runAsUser": 1000},
            "initContainers": [{"name": "migrate", "image": "m"}],
            "containers": [{"name": "app", "image": "a"}, {"name": "log", "image": "l"}],
            "volumes": [{"name": "data", "emptyDir": {}}],
        },
    });
    let new = template(&with_pod(Some(&pod)));
    let (old, spec) = (&pod["spec"], &new["spec"]);
    assert_eq!(new["metadata"]["labels"], pod["metadata"]["labels"]);
    assert_eq!(new["metadata"]["annotations"]["a"], "b");
    for field in ["serviceAccountName", "securityContext", "containers"] {
        assert_eq!(spec[field], old[field]);
    }
    let init = list(&spec["initContainers"]);
    assert_eq!(names(init), ["daypass-check", "daypass", "migrate"]);
    assert_eq!(init[2], old["initContainers"][0]);
    assert_eq!(list(&spec["volumes"])[0], old["volumes"][0]);
}

#[test]
fn secret_files_are_read_by_nobody_else() {
    let plain = template(&example());
    let spec = &plain["spec"];
    let secrets = list(&spec["volumes"])
        .iter()
        .find(|it| it["name"] == "daypass-secrets")
        .unwrap();
    assert_eq!(secrets["projected"]["defaultMode"], 0o440);
    // They are root's and its group's, unless the pod has a group for files.
    assert_eq!(
        container(spec, "daypass")["securityContext"]["runAsGroup"],
        0
    );
    let grouped = json!({"spec": {"securityContext": {"fsGroup": 7}, "containers": [{"name": "app", "image": "a"}]}});
    let spec = &template(&with_pod(Some(&grouped)))["spec"];
    assert_eq!(
        container(spec, "daypass")["securityContext"]["runAsGroup"],
        65532
    );
    for it in list(&spec["containers"]) {
        assert!(it["volumeMounts"].is_null(), "the app has no part in it");
    }
}

#[test]
fn a_pod_that_is_no_yaml_is_refused() {
    let wrong = with_pod(Some(&json!("not a pod")));
    let said = wrong.refused();
    assert!(said.contains("daypass.inject"), "{said}");
}
