//! Where the spool's files are.

use std::{
    fmt, io,
    path::{Path, PathBuf},
    sync::Arc,
};

use async_trait::async_trait;
use tokio::{fs, io::AsyncWriteExt};

/// Keeps small files, each written whole or not at all.
#[async_trait]
pub trait Disk: Send + Sync + fmt::Debug + 'static {
    /// Every file: its name, and what is in it. A file that cannot be read is logged and left out.
    async fn read_all(&self) -> io::Result<Vec<(String, Vec<u8>)>>;

    /// Makes or replaces a file. It survives a crash once this has returned.
    async fn write(&self, name: &str, bytes: &[u8]) -> io::Result<()>;

    /// Removes a file; none is no error.
    async fn remove(&self, name: &str) -> io::Result<()>;
}

/// Shared handle to wherever the spool is.
pub type SharedDisk = Arc<dyn Disk>;

/// A directory, which need not exist until something is written to it.
#[derive(Clone, Debug)]
pub struct Directory(PathBuf);

/// What the names of its files end with.
pub(super) const EXTENSION: &str = "renewal";

// === impl Directory ===

impl Directory {
    /// The directory at `path`.
    pub const fn new(path: PathBuf) -> Self {
        Self(path)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.join(name).with_extension(EXTENSION)
    }

    async fn files(&self) -> io::Result<Vec<PathBuf>> {
        let mut entries = match fs::read_dir(&self.0).await {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(error),
        };
        let mut paths = Vec::new();
        while let Some(entry) = entries.next_entry().await? {
            let path = entry.path();
            if path
                .extension()
                .is_some_and(|extension| extension == EXTENSION)
            {
                paths.push(path);
            }
        }
        paths.sort();
        Ok(paths)
    }
}

#[async_trait]
impl Disk for Directory {
    async fn read_all(&self) -> io::Result<Vec<(String, Vec<u8>)>> {
        let mut found = Vec::new();
        for path in self.files().await? {
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            match fs::read(&path).await {
                Ok(bytes) => found.push((name.into_owned(), bytes)),
                Err(error) => tracing::error!(
                    path = %path.display(),
                    error = &error as &dyn std::error::Error,
                    "a spooled renewal cannot be read; it is left where it is",
                ),
            }
        }
        Ok(found)
    }

    async fn write(&self, name: &str, bytes: &[u8]) -> io::Result<()> {
        fs::create_dir_all(&self.0).await?;
        write_whole(&self.0, &self.path(name), bytes).await
    }

    async fn remove(&self, name: &str) -> io::Result<()> {
        match fs::remove_file(self.path(name)).await {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }
}

/// Writes beside, syncs, renames, syncs the directory: after a crash there is the old file or the new.
async fn write_whole(dir: &Path, path: &Path, bytes: &[u8]) -> io::Result<()> {
    let beside = path.with_extension("partial");
    let mut file = fs::OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(&beside)
        .await?;
    file.write_all(bytes).await?;
    file.sync_all().await?;
    fs::rename(&beside, path).await?;
    fs::File::open(dir).await?.sync_all().await
}
