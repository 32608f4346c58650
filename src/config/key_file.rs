//! The key file: what SQLite is sealed with when no key is configured.
//!
//! One line: 32 bytes in base64. It is made whole before it gets its name, so no process ever reads
//! half a key, and of two that start at once, one makes it and both use it.

use std::{
    ffi::OsString,
    fs::{self, File, OpenOptions},
    io::{self, Write},
    path::{Path, PathBuf},
};

use thiserror::Error;
use zeroize::Zeroizing;

use super::encryption::{decode, encode};
use crate::base::{random::Random, secret::Secret};

/// Its name, beside the database.
const NAME: &str = "daypass.key";

/// The key of a key file, and whether it was there before.
#[expect(missing_debug_implementations, reason = "holds a key")]
pub enum KeyFile {
    /// There was none, so one was made: say so, and that it must be kept.
    Created(Secret<[u8; 32]>),
    /// It was there.
    Existing(Secret<[u8; 32]>),
}

/// Why there is no key. The operator must act.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum KeyFileError {
    /// It can be neither read nor made.
    #[error("the key file {path} can be neither read nor made")]
    Unusable {
        /// Which file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// It holds something else.
    #[error(
        "the key file {path} does not hold 32 bytes in base64; without its key, what was sealed with it stays closed"
    )]
    NotAKey {
        /// Which file.
        path: PathBuf,
    },
}

/// Where the key file of the SQLite database `database` lies.
pub fn key_file_beside(database: &Path) -> PathBuf {
    database.with_file_name(NAME)
}

/// Reads the key file, if there is one.
pub fn read_key_file(path: &Path) -> Result<Option<Secret<[u8; 32]>>, KeyFileError> {
    match fs::read_to_string(path) {
        Ok(text) => match existing(path, &Zeroizing::new(text))? {
            KeyFile::Created(key) | KeyFile::Existing(key) => Ok(Some(key)),
        },
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(source) => Err(KeyFileError::Unusable {
            path: path.to_owned(),
            source,
        }),
    }
}

/// Reads the key file, or makes one that only its owner can read (mode 0600).
pub fn ensure_key_file(path: &Path, random: &dyn Random) -> Result<KeyFile, KeyFileError> {
    let unusable = |source| KeyFileError::Unusable {
        path: path.to_owned(),
        source,
    };
    match fs::read_to_string(path) {
        Ok(text) => existing(path, &Zeroizing::new(text)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let key = Secret::new(random.bytes::<32>());
            match create(path, &key, random) {
                Ok(()) => Ok(KeyFile::Created(key)),
                // Another process was faster: its key is the key.
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                    let text = fs::read_to_string(path).map_err(unusable)?;
                    existing(path, &Zeroizing::new(text))
                }
                Err(error) => Err(unusable(error)),
            }
        }
        Err(error) => Err(unusable(error)),
    }
}

fn existing(path: &Path, text: &str) -> Result<KeyFile, KeyFileError> {
    match decode(text) {
        Some(key) => Ok(KeyFile::Existing(key)),
        None => Err(KeyFileError::NotAKey {
            path: path.to_owned(),
        }),
    }
}

/// Writes the key under a name of its own and then links it to `path`, which fails if that exists.
fn create(path: &Path, key: &Secret<[u8; 32]>, random: &dyn Random) -> io::Result<()> {
    let mut name: OsString = path.as_os_str().to_owned();
    name.push(format!(".{}", hex::encode(random.bytes::<8>())));
    let draft = PathBuf::from(name);
    let linked = write(&draft, key).and_then(|()| fs::hard_link(&draft, path));
    // Whatever came of it, the draft has no further use.
    let _removed = fs::remove_file(&draft);
    linked?;
    let parent = path
        .parent()
        .filter(|parent| !parent.as_os_str().is_empty());
    File::open(parent.unwrap_or_else(|| Path::new(".")))?.sync_all()
}

fn write(path: &Path, key: &Secret<[u8; 32]>) -> io::Result<()> {
    let mut options = OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let mut file = options.open(path)?;
    file.write_all(encode(key).as_bytes())?;
    file.write_all(b"\n")?;
    file.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::random::{OsRandom, SeededRandom};

    fn bytes(file: &KeyFile) -> &[u8; 32] {
        match file {
            KeyFile::Created(key) | KeyFile::Existing(key) => key.danger_expose(),
        }
    }

    #[test]
    fn a_key_file_is_made_once_and_then_read() {
        let directory = tempfile::tempdir().unwrap();
        let path = key_file_beside(&directory.path().join("daypass.db"));
        let made = ensure_key_file(&path, &OsRandom).unwrap();
        assert!(matches!(made, KeyFile::Created(_)));
        let read = ensure_key_file(&path, &OsRandom).unwrap();
        assert!(matches!(read, KeyFile::Existing(_)));
        assert_eq!(bytes(&made), bytes(&read));
        let left: Vec<_> = fs::read_dir(directory.path()).unwrap().collect();
        assert_eq!(left.len(), 1, "no draft stays behind");
    }

    #[cfg(unix)]
    #[test]
    fn only_its_owner_can_read_it() {
        use std::os::unix::fs::PermissionsExt;

        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("daypass.key");
        ensure_key_file(&path, &OsRandom).unwrap();
        let mode = fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
    }

    #[test]
    fn of_two_processes_that_make_one_the_first_wins() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("daypass.key");
        let (first, second) = (SeededRandom::new(1), SeededRandom::new(2));
        create(&path, &Secret::new([1; 32]), &first).unwrap();
        let late = create(&path, &Secret::new([2; 32]), &second).unwrap_err();
        assert_eq!(late.kind(), io::ErrorKind::AlreadyExists);
        assert_eq!(bytes(&ensure_key_file(&path, &second).unwrap()), &[1; 32]);
    }

    #[test]
    fn a_broken_key_file_is_never_replaced() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("daypass.key");
        fs::write(&path, "").unwrap();
        let refused = ensure_key_file(&path, &OsRandom);
        assert!(matches!(refused, Err(KeyFileError::NotAKey { .. })));
        assert_eq!(fs::read_to_string(&path).unwrap(), "");
    }
}
