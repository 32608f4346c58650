//! The key ring of a process: the configured keys, or the key file beside the SQLite database.

use std::path::Path;

use thiserror::Error;

use crate::{
    base::{random::Random, secret::Secret},
    config::{Encryption, KeyFile, KeyFileError, ensure_key_file, key_file_beside, read_key_file},
    store::{
        Backend,
        seal::{Key, KeyError, KeyRing},
    },
};

/// The name of a key that was not given one.
const FILE_KEY: &str = "file";

/// Why there is no key ring. The operator must act.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum KeysError {
    /// A configured key is unusable.
    #[error("a configured key is unusable")]
    Configured(#[from] KeyError),
    /// There is none, and no place to keep a key file.
    #[error(
        "no encryption key is configured, which this store needs: make one with `daypass keygen`"
    )]
    Missing,
    /// The key file is unusable.
    #[error(transparent)]
    File(#[from] KeyFileError),
}

/// The keys of `encryption`; without any, those of the key file, which is made if it is not there.
pub(super) fn key_ring(
    encryption: &Encryption,
    backend: &Backend,
    random: &dyn Random,
) -> Result<KeyRing, KeysError> {
    if let Some(ring) = configured_keys(encryption)? {
        return Ok(ring);
    }
    // The configuration refuses any other store without a key.
    let Backend::Sqlite { path } = backend else {
        return Err(KeysError::Missing);
    };
    let path = key_file_beside(path);
    let key = match ensure_key_file(&path, random)? {
        KeyFile::Created(key) => {
            tracing::warn!(
                path = %path.display(),
                "no encryption key is configured: made a key file. Keep it with your backups, apart \
                 from the database; without it no stored token can be read",
            );
            key
        }
        KeyFile::Existing(key) => key,
    };
    of_file(&key)
}

/// The keys of `encryption`, if there are any.
pub fn configured_keys(encryption: &Encryption) -> Result<Option<KeyRing>, KeysError> {
    let Some(active) = &encryption.active else {
        return Ok(None);
    };
    let keys: Result<Vec<_>, _> = encryption
        .keys
        .iter()
        .map(|key| Key::new(&key.id, &key.key))
        .collect();
    Ok(Some(KeyRing::new(active, keys?)?))
}

/// The key of the key file at `path`; none is made.
pub fn key_of_file(path: &Path) -> Result<Option<KeyRing>, KeysError> {
    read_key_file(path)?.map(|key| of_file(&key)).transpose()
}

fn of_file(key: &Secret<[u8; 32]>) -> Result<KeyRing, KeysError> {
    Ok(KeyRing::new(FILE_KEY, vec![Key::new(FILE_KEY, key)?])?)
}
