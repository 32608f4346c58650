//! Secrets: given directly, or as a file that is read again when it changes.
//!
//! 1. Every secret `x` has a twin `x_file`. Both in one layer is a problem: nobody could tell which
//!    one is meant. In different layers the higher one wins, as with every key.
//! 2. The line end that editors and `echo` leave at the end is not part of the secret.
//! 3. Files are read again by path every few seconds and compared by content. Kubernetes swaps a
//!    symlink above a mounted file, which the file's own times and inode do not show.
//! 4. A changed file whose content is not usable leaves the secret as it was, and is logged once.

use std::{
    fs, io, mem,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use tokio::{
    sync::{mpsc, oneshot},
    time::timeout,
};
use tracing::{info, warn};
use zeroize::Zeroizing;

use super::section::{Found, Section};
use crate::base::{
    lifecycle::Lifecycle,
    secret::{ReloadableSecret, Secret},
};

/// How often the files are read. Kubelet itself takes a minute to bring a change; a few small reads
/// cost nothing.
const RELOAD_EVERY: Duration = Duration::from_secs(5);

/// Says what is wrong with the text of a secret.
pub(super) type Check = fn(&str) -> Result<(), &'static str>;

/// The secrets that came from files.
#[derive(Clone, Default)]
#[expect(missing_debug_implementations, reason = "holds secrets")]
pub struct WatchedSecrets(Vec<Watched>);

/// Takes what a file holds now: whether that is new, or why it is not usable.
pub(super) type Take = Arc<dyn Fn(&str) -> Result<bool, String> + Send + Sync>;

/// Has the files of secrets read again at once.
#[derive(Clone, Debug)]
pub struct Reload(mpsc::Sender<oneshot::Sender<()>>);

#[derive(Clone)]
struct Watched {
    key: String,
    path: PathBuf,
    take: Take,
    complained: bool,
}

/// A usable secret is one that fits into a header, which is where most of them go.
pub(super) fn visible(text: &str) -> Result<(), &'static str> {
    if text.is_empty() {
        Err("is empty")
    } else if text
        .bytes()
        .all(|byte| byte.is_ascii_graphic() || byte == b' ')
    {
        Ok(())
    } else {
        Err("may only have visible ASCII characters, on one line")
    }
}

// === impl Section ===

impl Section<'_> {
    /// A secret, if it or its file is given.
    pub(super) fn secret(&self, key: &str, check: Check) -> Option<ReloadableSecret> {
        let file_key = format!("{key}_file");
        self.declare(key, "secret", None);
        self.declare(&file_key, "path", None);
        match (self.find(key), self.find(&file_key)) {
            (Some(direct), Some(file)) if direct.layer == file.layer => {
                self.problem(key, format!("is given twice: here and as {file_key}"));
                None
            }
            (Some(direct), Some(file)) if direct.layer < file.layer => {
                self.secret_file(&file_key, &file, check)
            }
            (Some(direct), _) => self.direct_secret(key, &direct, check),
            (None, Some(file)) => self.secret_file(&file_key, &file, check),
            (None, None) => None,
        }
    }

    fn direct_secret(
        &self,
        key: &str,
        found: &Found<'_>,
        check: Check,
    ) -> Option<ReloadableSecret> {
        let Some(text) = found.value.text() else {
            self.problem(key, format!("expected text, found {}", found.value.kind()));
            return None;
        };
        let text = trimmed(Zeroizing::new(text.to_owned()));
        match check(&text) {
            Ok(()) => Some(ReloadableSecret::new(to_secret(text))),
            Err(fault) => {
                self.problem(key, fault);
                None
            }
        }
    }

    fn secret_file(&self, key: &str, found: &Found<'_>, check: Check) -> Option<ReloadableSecret> {
        let text = self.read_secret_file(key, found)?;
        let path = PathBuf::from(found.value.text()?);
        if let Err(fault) = check(&text) {
            self.problem(key, format!("the content of {} {fault}", path.display()));
            return None;
        }
        let secret = ReloadableSecret::new(to_secret(text));
        let held = secret.clone();
        let take = move |text: &str| {
            check(text)?;
            let new = Secret::new(text.to_owned());
            let is_new = new != *held.current();
            if is_new {
                held.replace(new);
            }
            Ok(is_new)
        };
        self.watch(key, path, Arc::new(take));
        Some(secret)
    }

    /// Has `take` told whenever the file at `path` changes, which is the value of `key`.
    pub(super) fn watch(&self, key: &str, path: PathBuf, take: Take) {
        let key = self.path_of(key);
        self.context().watch(|watched| {
            watched.0.push(Watched {
                key,
                path,
                take,
                complained: false,
            });
        });
    }

    /// The content of the file that `key` names; reports why if there is none.
    pub(super) fn read_secret_file(
        &self,
        key: &str,
        found: &Found<'_>,
    ) -> Option<Zeroizing<String>> {
        let Some(path) = found.value.text().map(Path::new) else {
            self.problem(
                key,
                format!("expected a path, found {}", found.value.kind()),
            );
            return None;
        };
        match read(path) {
            Ok(text) => {
                if is_world_readable(path) {
                    let message = format!("every user of this machine can read {}", path.display());
                    self.warning(key, message);
                }
                Some(text)
            }
            Err(error) => {
                self.problem(key, format!("{} cannot be read: {error}", path.display()));
                None
            }
        }
    }
}

// === impl WatchedSecrets ===

impl WatchedSecrets {
    /// Keeps the secrets true to their files, until the drain begins. `changed` is called whenever one
    /// was replaced.
    pub fn watch(mut self, lifecycle: &Lifecycle, changed: impl Fn() + Send + 'static) -> Reload {
        let (reload, mut asked) = mpsc::channel::<oneshot::Sender<()>>(1);
        if self.0.is_empty() {
            return Reload(reload);
        }
        let kept = reload.clone();
        lifecycle.spawn_until_drain(async move {
            // Without it, nobody could ask any more, and there would be no pause.
            let _kept = kept;
            loop {
                let waiting = timeout(RELOAD_EVERY, asked.recv()).await.ok().flatten();
                if self.reload().await {
                    changed();
                }
                if let Some(waiting) = waiting {
                    // Who has left does not want to know.
                    let _left = waiting.send(());
                }
            }
        });
        Reload(reload)
    }

    /// The keys whose files are read again.
    #[cfg(test)]
    pub(super) fn keys(&self) -> Vec<&str> {
        self.0.iter().map(|watched| watched.key.as_str()).collect()
    }

    /// Reads every file again; whether any secret was replaced.
    pub(super) async fn reload(&mut self) -> bool {
        let mut replaced = false;
        for watched in &mut self.0 {
            let content = tokio::fs::read_to_string(&watched.path).await;
            replaced |= watched.take(content.map(|text| trimmed(Zeroizing::new(text))));
        }
        replaced
    }
}

// === impl Reload ===

impl Reload {
    /// Returns when every file was read; at once if there is none, or the drain has begun.
    pub async fn now(&self) {
        let (asker, read) = oneshot::channel();
        if self.0.send(asker).await.is_ok() {
            let _drains = read.await;
        }
    }
}

// === impl Watched ===

impl Watched {
    /// Takes what the file holds now; whether that was something new and usable.
    fn take(&mut self, content: io::Result<Zeroizing<String>>) -> bool {
        let path = self.path.display();
        let fault = match content {
            Ok(text) => match (self.take)(&text) {
                Ok(is_new) => {
                    if is_new {
                        info!(config.key = self.key, %path, "secret changed; the new one is in use");
                    }
                    self.complained = false;
                    return is_new;
                }
                Err(fault) => fault,
            },
            Err(error) => error.to_string(),
        };
        if !mem::replace(&mut self.complained, true) {
            warn!(config.key = self.key, %path, fault, "secret file not usable; the old secret stays");
        }
        false
    }
}

fn read(path: &Path) -> io::Result<Zeroizing<String>> {
    Ok(trimmed(Zeroizing::new(fs::read_to_string(path)?)))
}

fn trimmed(mut text: Zeroizing<String>) -> Zeroizing<String> {
    let length = text.trim_end_matches(['\r', '\n']).len();
    text.truncate(length);
    text
}

fn to_secret(mut text: Zeroizing<String>) -> Secret<String> {
    Secret::new(mem::take(&mut *text))
}

#[cfg(unix)]
fn is_world_readable(path: &Path) -> bool {
    use std::os::unix::fs::PermissionsExt;

    fs::metadata(path).is_ok_and(|metadata| metadata.permissions().mode() & 0o004 != 0)
}

#[cfg(not(unix))]
const fn is_world_readable(_: &Path) -> bool {
    false
}
