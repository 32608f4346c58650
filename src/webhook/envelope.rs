//! What is kept of an event: the provider's raw bytes and the headers that go with them, in one seal.
//!
//! ```text
//! length of the headers (4 bytes, big endian) | headers as JSON pairs | body
//! ```
//!
//! The seal is bound to the provider and the event's id: a body that was moved to another event does
//! not open.

use std::sync::Arc;

use http::{HeaderMap, HeaderName, HeaderValue};
use zeroize::Zeroizing;

use crate::{
    base::{
        ids::{EventId, ProviderName},
        random::SharedRandom,
    },
    store::{
        self,
        seal::{Binding, KeyRing, Sealed},
    },
};

/// Seals and opens events.
#[derive(Clone)]
pub(super) struct Envelopes {
    keys: Arc<KeyRing>,
    random: SharedRandom,
}

/// An event as it came.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Envelope {
    /// Those that are passed on: the content type, and the provider's signature.
    pub(super) headers: HeaderMap,
    /// Byte for byte.
    pub(super) body: Zeroizing<Vec<u8>>,
}

// === impl Envelopes ===

impl Envelopes {
    pub(super) const fn new(keys: Arc<KeyRing>, random: SharedRandom) -> Self {
        Self { keys, random }
    }

    pub(super) fn seal(
        &self,
        provider: &ProviderName,
        event: EventId,
        envelope: &Envelope,
    ) -> Sealed {
        let plain = envelope.to_bytes();
        let binding = Binding::event(provider, event);
        self.keys.seal_bytes(&*self.random, &binding.aad(), &plain)
    }

    /// Fails for what was not sealed as this event, or by a key that is not there.
    pub(super) fn open(
        &self,
        provider: &ProviderName,
        event: EventId,
        sealed: &Sealed,
    ) -> Result<Envelope, store::Error> {
        let inconsistent = |what: String| store::Error::Inconsistent {
            row: format!("event {event}"),
            what,
        };
        let binding = Binding::event(provider, event);
        let plain = self
            .keys
            .open_bytes(&binding.aad(), sealed)
            .map_err(|error| inconsistent(error.to_string()))?;
        Envelope::from_bytes(&plain)
            .ok_or_else(|| inconsistent("its payload cannot be read".to_owned()))
    }
}

// === impl Envelope ===

impl Envelope {
    fn to_bytes(&self) -> Zeroizing<Vec<u8>> {
        let pairs: Vec<(&str, &str)> = self
            .headers
            .iter()
            .filter_map(|(name, value)| Some((name.as_str(), value.to_str().ok()?)))
            .collect();
        let headers = serde_json::to_vec(&pairs).unwrap_or_default();
        let len = u32::try_from(headers.len()).unwrap_or(0);
        let mut bytes = Zeroizing::new(Vec::with_capacity(4 + headers.len() + self.body.len()));
        bytes.extend_from_slice(&len.to_be_bytes());
        bytes.extend_from_slice(&headers);
        bytes.extend_from_slice(&self.body);
        bytes
    }

    fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let (len, rest) = bytes.split_first_chunk::<4>()?;
        let len = usize::try_from(u32::from_be_bytes(*len)).ok()?;
        let (headers, body) = rest.split_at_checked(len)?;
        let pairs: Vec<(String, String)> = serde_json::from_slice(headers).ok()?;
        let mut headers = HeaderMap::with_capacity(pairs.len());
        for (name, value) in pairs {
            let name = HeaderName::try_from(name).ok()?;
            headers.append(name, HeaderValue::try_from(value).ok()?);
        }
        Some(Self {
            headers,
            body: Zeroizing::new(body.to_vec()),
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::{
        base::{random::SeededRandom, secret::Secret},
        store::seal::Key,
    };

    fn envelopes() -> Envelopes {
        let key = Secret::new([7; 32]);
        let keys = KeyRing::new("k1", vec![Key::new("k1", &key).unwrap()]).unwrap();
        Envelopes::new(Arc::new(keys), Arc::new(SeededRandom::new(1)))
    }

    fn event(seed: u64) -> EventId {
        EventId::random(&SeededRandom::new(seed))
    }

    fn envelope(body: &[u8]) -> Envelope {
        let mut headers = HeaderMap::new();
        headers.insert("x-cal-signature-256", HeaderValue::from_static("ab12"));
        headers.insert("content-type", HeaderValue::from_static("application/json"));
        Envelope {
            headers,
            body: Zeroizing::new(body.to_vec()),
        }
    }

    proptest! {
        #[test]
        fn what_was_sealed_opens_byte_for_byte(body: Vec<u8>) {
            let (envelopes, calcom) = (envelopes(), ProviderName::parse("calcom").unwrap());
            let sealed = envelopes.seal(&calcom, event(1), &envelope(&body));
            let opened = envelopes.open(&calcom, event(1), &sealed).unwrap();
            prop_assert!(opened == envelope(&body));
        }

        #[test]
        fn bytes_of_any_kind_do_no_harm(bytes: Vec<u8>) {
            let _whatever = Envelope::from_bytes(&bytes);
        }
    }

    #[test]
    fn an_envelope_that_was_moved_to_another_event_does_not_open() {
        let (envelopes, calcom) = (envelopes(), ProviderName::parse("calcom").unwrap());
        let sealed = envelopes.seal(&calcom, event(1), &envelope(b"{}"));
        let other = ProviderName::parse("calendly").unwrap();
        assert!(envelopes.open(&calcom, event(2), &sealed).is_err());
        assert!(envelopes.open(&other, event(1), &sealed).is_err());
    }
}
