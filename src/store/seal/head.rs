//! The head of a seal: which key it names, without the rest of it. So what is sealed with which key can
//! be counted without reading it.

use super::{MAX_ID_LEN, OpenError, VERSION};

/// So many bytes from the beginning hold every head.
pub const HEAD_LEN: usize = 2 + MAX_ID_LEN;

/// What every seal under the key `id` begins with, and no other.
pub fn head_of(id: &str) -> Vec<u8> {
    // The length fits a byte: keys with longer ids are refused.
    let len = u8::try_from(id.len()).unwrap_or(u8::MAX);
    let mut head = vec![VERSION, len];
    head.extend_from_slice(id.as_bytes());
    head
}

/// The key that the seal names which begins with `head`.
pub fn key_id_of(head: &[u8]) -> Result<&str, OpenError> {
    let (&version, rest) = head.split_first().ok_or(OpenError::Truncated)?;
    if version != VERSION {
        return Err(OpenError::UnknownFormat { version });
    }
    let (&len, rest) = rest.split_first().ok_or(OpenError::Truncated)?;
    let (id, _) = rest
        .split_at_checked(usize::from(len))
        .ok_or(OpenError::Truncated)?;
    str::from_utf8(id).map_err(|_shows_the_value| OpenError::UnknownKey {
        id: String::from_utf8_lossy(id).into_owned(),
    })
}
