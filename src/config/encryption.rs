//! `[encryption]`: the keys that seal tokens at rest.
//!
//! 1. One key is active and seals; the others only open what they sealed. With a single key, it is
//!    the active one.
//! 2. Keys are read once. Putting another key under the same id would lock up everything that was
//!    sealed with the first, so a file that changes is complained of, and not taken: a new key gets a new
//!    id.
//! 3. Outside the file, the list is one text: `id:key,id:key`. It replaces the file's.

use std::{path::PathBuf, sync::Arc};

use base64::{
    Engine, alphabet,
    engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig},
};
use toml::de::DeValue;
use zeroize::Zeroizing;

use super::{
    problem::Origin,
    section::{Found, Layer, Section, Value},
};
use crate::{base::secret::Secret, store::Backend};

/// With or without padding: `openssl rand -base64 32` and most key tools differ in nothing else.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &alphabet::STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// The keys that seal tokens at rest.
#[derive(Clone, Default)]
#[expect(missing_debug_implementations, reason = "holds keys")]
pub struct Encryption {
    /// Which key seals; one of `keys`, and `None` only if there are none.
    pub active: Option<String>,
    /// All keys, by distinct ids. Empty if none is configured: then a key file beside the database
    /// takes their place, which only SQLite can do with.
    pub keys: Vec<EncryptionKey>,
}

/// One key.
#[derive(Clone)]
#[expect(missing_debug_implementations, reason = "holds a key")]
pub struct EncryptionKey {
    /// Its name, which sealed data carries.
    pub id: String,
    /// For AES-256.
    pub key: Secret<[u8; 32]>,
}

pub(super) fn read(section: &Section<'_>) -> Option<Encryption> {
    let active = section.optional_text("active");
    section.declare("keys", "list", None);
    let keys = match section.find("keys") {
        None => Vec::new(),
        Some(found) => read_keys(section, &found)?,
    };
    let has = |id: &str| keys.iter().any(|key| key.id == id);
    let active = match (active, keys.as_slice()) {
        (Some(active), _) if has(&active) => Some(active),
        (Some(_), _) => {
            section.problem("active", "no key has this id");
            None
        }
        (None, []) => None,
        (None, [only]) => Some(only.id.clone()),
        (None, _) => {
            section.problem(
                "active",
                "expected the id of the key that seals, for there are several",
            );
            None
        }
    };
    Some(Encryption { active, keys })
}

/// Reports that there is no key where there must be one.
pub(super) fn require(section: &Section<'_>, read: Option<&Encryption>, store: Option<&Backend>) {
    if let (Some(Encryption { active: None, .. }), Some(backend)) = (read, store)
        && section.find("keys").is_none()
        && !backend.may_keep_its_key()
    {
        section.problem(
            "keys",
            "a store that others share needs a key that they share too: make one with `daypass \
             keygen` and give it to every sidecar; or set store.url to an SQLite file",
        );
    }
}

fn read_keys(section: &Section<'_>, found: &Found<'_>) -> Option<Vec<EncryptionKey>> {
    let fault = |message: &str| section.problem("keys", message);
    let read: Vec<(Place<'_>, Option<EncryptionKey>)> = match found.value {
        Value::Text(text) => text
            .split(',')
            .map(|part| (Place(section, found.origin.clone()), part.trim()))
            .map(|(place, part)| {
                let key = place.key_of_text(part);
                (place, key)
            })
            .collect(),
        Value::Typed(DeValue::Array(items)) => items
            .iter()
            .map(|item| (Place(section, section.origin_in_file(item)), item.get_ref()))
            .map(|(place, item)| {
                let key = place.key_of_table(item);
                (place, key)
            })
            .collect(),
        Value::Typed(_) => {
            fault(EXPECTED);
            return None;
        }
    };
    let mut keys: Vec<EncryptionKey> = Vec::new();
    let mut usable = true;
    for (place, key) in read {
        match key {
            None => usable = false,
            Some(key) if keys.iter().any(|other| other.id == key.id) => {
                place.problem(format!("there is another key with the id \"{}\"", key.id));
            }
            Some(key) => keys.push(key),
        }
    }
    usable.then_some(keys)
}

/// What the list looks like in the file.
const EXPECTED: &str = "expected tables: write `[[encryption.keys]]` above each key";

/// Where one key of the list stands.
struct Place<'a>(&'a Section<'a>, Origin);

// === impl Place ===

impl Place<'_> {
    fn problem(&self, message: impl Into<String>) {
        let Self(section, origin) = self;
        section
            .context()
            .problem(origin.clone(), &section.path_of("keys"), message);
    }

    fn key_of_text(&self, text: &str) -> Option<EncryptionKey> {
        let Some((id, encoded)) = text.split_once(':') else {
            self.problem("expected \"id:key\", several separated by commas");
            return None;
        };
        self.key(id, encoded)
    }

    fn key_of_table(&self, item: &DeValue<'_>) -> Option<EncryptionKey> {
        let DeValue::Table(table) = item else {
            self.problem(EXPECTED);
            return None;
        };
        if table
            .keys()
            .any(|name| !["id", "value", "file"].contains(&name.get_ref().as_ref()))
        {
            self.problem("a key has `id` and either `value` or `file`, nothing else");
        }
        let value = |name: &str| table.get(name).map(|node| Value::Typed(node.get_ref()));
        let Some(id) = value("id").and_then(Value::text) else {
            self.problem("every key needs an `id`");
            return None;
        };
        match (value("value"), value("file")) {
            (Some(encoded), None) => self.key(id, encoded.text().unwrap_or_default()),
            (None, Some(path)) => {
                let Self(section, origin) = self;
                let origin = origin.clone();
                let found = Found {
                    value: path,
                    origin,
                    layer: Layer::File,
                };
                let content = section.read_secret_file("keys", &found)?;
                let key = self.key(id, &content)?;
                self.watch(&key, path);
                Some(key)
            }
            _ => {
                self.problem(format!("the key \"{id}\" needs either `value` or `file`"));
                None
            }
        }
    }

    /// Complains when the file at `path` holds something else than `key`, which stays in use.
    fn watch(&self, key: &EncryptionKey, path: Value<'_>) {
        let Some(path) = path.text() else { return };
        let (id, known) = (key.id.clone(), key.key.clone());
        let take = move |text: &str| match decode(text) {
            Some(found) if found == known => Ok(false),
            _ => Err(format!(
                "the value of an encryption key is for good, and \"{id}\" has another one now: put the \
                 first one back; a new key gets a new id"
            )),
        };
        let at = format!("keys.{}", key.id);
        self.0.watch(&at, PathBuf::from(path), Arc::new(take));
    }

    fn key(&self, id: &str, encoded: &str) -> Option<EncryptionKey> {
        let named = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
        if !(1..=32).contains(&id.len()) || !id.bytes().all(named) {
            self.problem("an id is 1 to 32 letters, digits, '-', '_' or '.'");
            return None;
        }
        let Some(key) = decode(encoded) else {
            let keygen = "as `daypass keygen` makes them";
            self.problem(format!(
                "the key \"{id}\" must be 32 bytes in base64, {keygen}"
            ));
            return None;
        };
        Some(EncryptionKey {
            id: id.to_owned(),
            key,
        })
    }
}

/// Reads 32 bytes in base64.
pub(super) fn decode(encoded: &str) -> Option<Secret<[u8; 32]>> {
    let bytes = Zeroizing::new(BASE64.decode(encoded.trim()).ok()?);
    Some(Secret::new(bytes.as_slice().try_into().ok()?))
}

/// The reverse of [`decode`].
pub(super) fn encode(key: &Secret<[u8; 32]>) -> Zeroizing<String> {
    Zeroizing::new(BASE64.encode(key.danger_expose()))
}
