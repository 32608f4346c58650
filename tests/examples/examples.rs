//! The examples, and how each is made ready and started, as its README says.

use std::{
    fs,
    path::{Path, PathBuf},
};

use tempfile::TempDir;
use tokio::process::Command;

use crate::process::{bare, done};

/// A folder of `docs/examples`.
pub(crate) struct Example {
    pub(crate) folder: &'static str,
    /// Whom its users connect.
    pub(crate) provider: &'static str,
    /// What the provider calls a new booking.
    pub(crate) booked: &'static str,
    /// What locks its packages, and what of them `./test` has put beside it.
    packages: [&'static str; 2],
    kind: Kind,
}

enum Kind {
    /// Compiled by `tsc`; the file that node starts.
    TypeScript(&'static str),
    /// A module for uvicorn.
    Asgi(&'static str),
}

pub(crate) static EXPRESS: Example = Example {
    folder: "express",
    provider: "calendly",
    booked: "invitee.created",
    packages: ["package-lock.json", "node_modules"],
    kind: Kind::TypeScript("dist/server.js"),
};

pub(crate) static NEXTJS: Example = Example {
    folder: "nextjs",
    provider: "calendly",
    booked: "invitee.created",
    packages: ["package-lock.json", "node_modules"],
    kind: Kind::TypeScript("dist/serve.js"),
};

pub(crate) static FASTAPI: Example = Example {
    folder: "fastapi",
    provider: "calcom",
    booked: "BOOKING_CREATED",
    packages: ["requirements.txt", "venv"],
    kind: Kind::Asgi("main:app"),
};

/// An example that can be started, in a folder of its own.
pub(crate) struct Built {
    home: TempDir,
    kind: &'static Kind,
}

// === impl Example ===

impl Example {
    /// Copies the sources to where they can be built, beside the packages that `./test` has installed.
    pub(crate) async fn build(&'static self) -> Built {
        let (source, home) = (docs().join(self.folder), tempfile::tempdir().unwrap());
        copy(&source, home.path());
        let [lock, packages] = self.packages;
        let installed = root().join("target/examples").join(self.folder);
        assert_eq!(
            fs::read_to_string(installed.join("installed")).ok(),
            fs::read_to_string(source.join(lock)).ok(),
            "the packages of docs/examples/{} are not installed: run ./test, which does that",
            self.folder
        );
        let linked = home.path().join(packages);
        std::os::unix::fs::symlink(installed.join(packages), linked).unwrap();
        let built = Built {
            home,
            kind: &self.kind,
        };
        if let Kind::TypeScript(_) = self.kind {
            done(built.command("node_modules/.bin/tsc")).await;
        }
        built
    }
}

// === impl Built ===

impl Built {
    /// Starts it at `port`.
    pub(crate) fn start(&self, port: u16) -> Command {
        let port = port.to_string();
        let mut command = match self.kind {
            Kind::TypeScript(file) => {
                let mut command = self.command("node");
                command.arg(file);
                command
            }
            Kind::Asgi(module) => {
                let mut command = self.command("venv/bin/python");
                command.args(["-m", "uvicorn", module, "--port", &port]);
                command
            }
        };
        command.env("PORT", port);
        command
    }

    fn command(&self, program: &str) -> Command {
        let program = if program.contains('/') {
            self.home.path().join(program)
        } else {
            PathBuf::from(program)
        };
        let mut command = bare(program);
        command.current_dir(self.home.path());
        command
    }
}

pub(crate) fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

pub(crate) fn docs() -> PathBuf {
    root().join("docs/examples")
}

/// Copies a folder, without what somebody may have built in it.
fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let (path, name) = (entry.path(), entry.file_name());
        if ["node_modules", "dist", "venv", "__pycache__"].contains(&&*name.to_string_lossy()) {
            continue;
        }
        if path.is_dir() {
            copy(&path, &to.join(name));
        } else {
            fs::copy(&path, to.join(name)).unwrap();
        }
    }
}
