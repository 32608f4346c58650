//! What holds for everything that is rendered.

use std::{fs, process::Command};

use serde_json::{Value, json};

use crate::{
    helm::{Install, is_valid},
    injected::example,
    rendered::{container, containers, kind, list, one, selects},
};

/// Clusters before and since native sidecars, and a new one.
const CLUSTERS: [&str; 3] = ["1.28.0", "1.29.0", "1.35.0"];

fn matrix() -> Vec<Install> {
    let mut installs = Vec::new();
    for cluster in CLUSTERS {
        for values in ["gateway-full", "gateway-small"] {
            installs.push(Install::of_daypass().with(values).on(cluster));
        }
        installs.push(Install::of_daypass().on(cluster));
        installs.push(example().on(cluster));
    }
    let full = || Install::of_daypass().with("gateway-full");
    installs.push(full().set("gateway.autoscaling.enabled=false"));
    installs.push(full().set("gateway.networkPolicy.adminFrom=[]"));
    installs.push(full().set("gateway.outbound.enabled=false"));
    installs.push(full().set("caBundle.configMapName=\"\""));
    installs.push(full().set("fullnameOverride=\"passes\""));
    let small = || Install::of_daypass().with("gateway-small");
    installs.push(small().set("gateway.service.type=\"LoadBalancer\""));
    installs.push(small().set("gateway.spool={\"ephemeral\":{\"volumeClaimTemplate\":{\"spec\":{\"accessModes\":[\"ReadWriteOnce\"],\"resources\":{\"requests\":{\"storage\":\"1Gi\"}}}}}}"));
    installs
}

/// The pod specs, with the labels of each pod.
fn pods(documents: &[Value]) -> Vec<(&Value, &Value)> {
    let of = |it| {
        let template: &Value = &(it as &Value)["spec"]["template"];
        (&template["spec"], &template["metadata"]["labels"])
    };
    kind(documents, "Deployment").into_iter().map(of).collect()
}

#[test]
fn everything_that_is_rendered_holds() {
    for install in matrix() {
        let documents = install.rendered();
        let (own, foreign): (Vec<_>, Vec<_>) = documents
            .iter()
            .cloned()
            .partition(|it| it["apiVersion"] != "monitoring.coreos.com/v1");
        is_valid(&own);
        for monitor in kind(&foreign, "ServiceMonitor") {
            finds_a_port(monitor, one(&documents, "Service"));
        }
        assert!(kind(&documents, "Secret").is_empty(), "{install:?}");
        for (pod, labels) in pods(&documents) {
            is_restricted(pod);
            probes_name_ports(pod);
            mounts_have_volumes(pod);
            for service in kind(&documents, "Service") {
                leads_to(service, pod, labels);
            }
            for policy in kind(&documents, "NetworkPolicy") {
                lets_in_by_ports(policy, pod);
            }
        }
        for guard in ["Service", "PodDisruptionBudget", "NetworkPolicy"] {
            for it in kind(&documents, guard) {
                let spec = &it["spec"];
                let selector = [
                    &spec["selector"]["matchLabels"],
                    &spec["podSelector"]["matchLabels"],
                    &spec["selector"],
                ]
                .into_iter()
                .find(|it| it.is_object())
                .unwrap();
                assert!(
                    pods(&documents)
                        .iter()
                        .any(|(_, labels)| selects(selector, labels)),
                    "{it:#}"
                );
            }
        }
        for deployment in kind(&documents, "Deployment") {
            let spec = &deployment["spec"];
            assert!(selects(
                &spec["selector"]["matchLabels"],
                &spec["template"]["metadata"]["labels"]
            ));
        }
    }
}

fn finds_a_port(monitor: &Value, service: &Value) {
    let spec = &monitor["spec"];
    assert!(selects(
        &spec["selector"]["matchLabels"],
        &service["metadata"]["labels"]
    ));
    let port = &list(&spec["endpoints"])[0]["port"];
    assert!(
        list(&service["spec"]["ports"])
            .iter()
            .any(|it| it["name"] == *port),
        "{service:#}"
    );
}

/// The Pod Security Standard `restricted`, and a root file system that nobody writes to.
fn is_restricted(pod: &Value) {
    for host in ["hostNetwork", "hostPID", "hostIPC"] {
        assert!(pod[host].is_null());
    }
    let of_pod = &pod["securityContext"];
    for volume in list(&pod["volumes"]) {
        let kinds = [
            "configMap",
            "downwardAPI",
            "emptyDir",
            "ephemeral",
            "persistentVolumeClaim",
            "projected",
            "secret",
        ];
        assert!(
            kinds.iter().any(|kind| volume.get(kind).is_some()),
            "{volume}"
        );
    }
    for container in containers(pod) {
        cannot_become_more(container);
        runs_as_nobody(container, of_pod);
    }
}

fn cannot_become_more(container: &Value) {
    let own = &container["securityContext"];
    let what = format!("{container:#}");
    assert_eq!(own["allowPrivilegeEscalation"], false, "{what}");
    assert_eq!(own["capabilities"]["drop"], json!(["ALL"]), "{what}");
    assert!(own["capabilities"]["add"].is_null(), "{what}");
    assert!(own["privileged"].is_null(), "{what}");
    assert_eq!(own["readOnlyRootFilesystem"], true, "{what}");
    for port in list(&container["ports"]) {
        assert!(port["hostPort"].is_null(), "{what}");
    }
}

fn runs_as_nobody(container: &Value, of_pod: &Value) {
    let own = &container["securityContext"];
    let what = format!("{container:#}");
    let either = |field: &str| {
        if own[field].is_null() {
            of_pod[field].clone()
        } else {
            own[field].clone()
        }
    };
    assert_eq!(either("runAsNonRoot"), true, "{what}");
    assert_ne!(either("runAsUser"), 0, "{what}");
    assert_eq!(either("seccompProfile")["type"], "RuntimeDefault", "{what}");
    let limit = &container["resources"]["limits"]["memory"];
    assert!(limit.is_string(), "{what}");
}

fn probes_name_ports(pod: &Value) {
    for container in containers(pod) {
        for probe in ["startupProbe", "livenessProbe", "readinessProbe"] {
            if let Some(port) = container[probe]["httpGet"]["port"].as_str() {
                let declared = list(&container["ports"])
                    .iter()
                    .any(|it| it["name"] == port);
                assert!(declared, "{port} in {container:#}");
            }
        }
    }
}

fn mounts_have_volumes(pod: &Value) {
    let volumes: Vec<_> = list(&pod["volumes"]).iter().map(|it| &it["name"]).collect();
    for container in containers(pod) {
        for mount in list(&container["volumeMounts"]) {
            assert!(volumes.contains(&&mount["name"]), "{mount} in {pod:#}");
        }
    }
    let mut once = volumes.clone();
    once.sort_by_key(ToString::to_string);
    once.dedup();
    assert_eq!(once.len(), volumes.len(), "{pod:#}");
}

fn declared_ports(pod: &Value) -> Vec<&Value> {
    let ports = |it| list(&(it as &Value)["ports"]).iter();
    containers(pod).into_iter().flat_map(ports).collect()
}

fn leads_to(service: &Value, pod: &Value, labels: &Value) {
    if !selects(&service["spec"]["selector"], labels) {
        return;
    }
    for port in list(&service["spec"]["ports"]) {
        let target = &port["targetPort"];
        let found = declared_ports(pod)
            .into_iter()
            .any(|it| it["name"] == *target);
        assert!(found, "{target} in {pod:#}");
    }
}

fn lets_in_by_ports(policy: &Value, pod: &Value) {
    for rule in list(&policy["spec"]["ingress"]) {
        for port in list(&rule["ports"]) {
            let found = declared_ports(pod)
                .into_iter()
                .any(|it| it["name"] == port["port"]);
            assert!(found, "{port} in {pod:#}");
            // Only the port of webhooks and callbacks is ever anybody's.
            let anybody = rule["from"].is_null();
            assert!(!anybody || port["port"] == "daypass-in", "{policy:#}");
        }
    }
}

/// Runs `daypass check` with the environment and the files of a container, and with its configuration, to
/// which `more` was added: its exit code, and what it said.
fn check(pod: &Value, documents: &[Value], more: &str) -> (Option<i32>, String) {
    let folder = tempfile::tempdir().unwrap();
    let place = |path: &str| folder.path().join(path.trim_start_matches('/'));
    let container = container(pod, "daypass");
    let own = documents
        .iter()
        .find(|it| it["data"].get("daypass.toml").is_some())
        .unwrap();
    let secrets = place("/run/secrets/daypass");
    fs::create_dir_all(&secrets).unwrap();
    for volume in list(&pod["volumes"]) {
        for source in list(&volume["projected"]["sources"]) {
            for item in list(&source["secret"]["items"]) {
                let name = item["path"].as_str().unwrap();
                let text = match name {
                    "store-url" => "postgres://daypass:password@db/daypass",
                    "key-1" => "bm90LWEta2V5LWJ1dC1leGFjdGx5LTMyLWJ5dGVzISE=",
                    _ => "a long random text of its own, for a test",
                };
                fs::write(secrets.join(name), text).unwrap();
            }
        }
    }
    let here = |text: &str| {
        [
            "/run/secrets/daypass",
            "/var/lib/daypass",
            "/etc/daypass-ca",
        ]
        .iter()
        .fold(text.to_owned(), |text, path| {
            text.replace(path, place(path).to_str().unwrap())
        })
    };
    let config = place("/etc/daypass/daypass.toml");
    fs::create_dir_all(config.parent().unwrap()).unwrap();
    let text = here(own["data"]["daypass.toml"].as_str().unwrap());
    fs::write(&config, text + more).unwrap();
    fs::create_dir_all(place("/etc/daypass-ca")).unwrap();
    let ca = rcgen::generate_simple_self_signed(["ca".to_owned()]).unwrap();
    fs::write(place("/etc/daypass-ca/ca.crt"), ca.cert.pem()).unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_daypass"));
    command.env_clear().current_dir(folder.path());
    for variable in list(&container["env"]) {
        let value = here(variable["value"].as_str().unwrap());
        command.env(variable["name"].as_str().unwrap(), value);
    }
    let output = command
        .args(["--config", config.to_str().unwrap(), "check"])
        .output()
        .unwrap();
    let said = [output.stdout, output.stderr].concat();
    let said = String::from_utf8_lossy(&said).into_owned();
    (output.status.code(), said)
}

#[test]
fn what_pods_would_run_passes_the_check_of_the_binary() {
    for install in matrix() {
        let documents = install.rendered();
        for (pod, _) in pods(&documents) {
            let (code, said) = check(pod, &documents, "");
            assert_eq!(code, Some(0), "{said}\n{pod:#}");
        }
    }
}

/// The step before everything else runs to its end, so that its failure keeps the pod from starting.
#[test]
fn a_wrong_configuration_ends_in_the_step_that_checks_it() {
    let more = "daypass.sidecar.extraVolumeMounts=[{\"name\":\"data\",\"mountPath\":\"/more\"}]";
    let documents = example().set(more).rendered();
    let pod = &one(&documents, "Deployment")["spec"]["template"]["spec"];
    let step = container(pod, "daypass-check");
    assert!(step["restartPolicy"].is_null());
    assert_eq!(list(&step["args"]).last().unwrap(), "check");
    let own = container(pod, "daypass");
    for what in ["image", "env", "volumeMounts"] {
        assert_eq!(step[what], own[what], "what it checks is what will run");
    }
    let (code, said) = check(pod, &documents, "\n[nonsense]\nkey = 1\n");
    assert_eq!(code, Some(2), "{said}");
    assert!(said.contains("nonsense"), "{said}");
}

#[test]
fn a_change_of_the_configuration_makes_new_pods() {
    let install = || Install::of_daypass().with("gateway-small");
    let pods =
        |install: Install| one(&install.rendered(), "Deployment")["spec"]["template"].clone();
    let changed =
        install().set("config=\"[telemetry]\\nlog = \\\"debug\\\"\\n[[encryption.keys]]\\n\"");
    assert_ne!(pods(install()), pods(changed));
    assert_eq!(pods(install()), pods(install()));
}
