//! The key ring of a process: the configured keys, or the key file beside the SQLite database.

use std::{collections::BTreeMap, path::Path, sync::Arc};

use thiserror::Error;

use crate::{
    base::{random::Random, secret::Secret},
    config::{Encryption, KeyFile, KeyFileError, ensure_key_file, key_file_beside, read_key_file},
    store::{
        Backend, Drawer, Seals,
        seal::{Key, KeyError, KeyRing, key_id_of},
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

/// How many rows of each kind are looked at: a key that is missing is missing for many.
const LOOKED_AT: usize = 500;

/// Says in the log if something that is stored was sealed with a key that is not among `keys`. Looks at
/// some of it: thousands of sidecars may start at once, and `daypass rotate-keys --check` looks at all.
pub(super) async fn miss(seals: Arc<dyn Seals>, keys: Arc<KeyRing>) {
    for drawer in Drawer::ALL {
        let page = match seals.sealed(drawer, None, LOOKED_AT, None).await {
            Ok(page) => page,
            // Whoever looks after the store says so.
            Err(error) => {
                tracing::debug!(%error, "it was not looked at which keys the store needs");
                return;
            }
        };
        let mut missing: BTreeMap<String, usize> = BTreeMap::new();
        let seals = page.rows.iter().flat_map(|row| &row.seals);
        for id in seals.filter_map(|seal| key_id_of(seal.as_bytes()).ok()) {
            if keys.ids().all(|known| known != id) {
                *missing.entry(id.to_owned()).or_default() += 1;
            }
        }
        for (id, count) in missing {
            tracing::error!(
                encryption.key = id,
                drawer = drawer.as_str(),
                count,
                "what is stored needs an encryption key that is not configured: add it to [encryption] \
                 under its id, then run `daypass rotate-keys`; until then it does not open",
            );
        }
    }
}

fn of_file(key: &Secret<[u8; 32]>) -> Result<KeyRing, KeysError> {
    Ok(KeyRing::new(FILE_KEY, vec![Key::new(FILE_KEY, key)?])?)
}
