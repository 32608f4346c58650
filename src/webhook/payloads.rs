//! What an event says, opened for an operator who may see it.
//!
//! A payload holds personal data of people who book: names, addresses, answers. Who may see it is
//! decided by who asks here; nothing else of this room shows it.

use std::sync::Arc;

use zeroize::Zeroizing;

use super::envelope::Envelopes;
use crate::{
    base::random::SharedRandom,
    store::{self, Claimed, seal::KeyRing},
};

/// Opens payloads. Clones share the keys.
#[derive(Clone)]
#[expect(missing_debug_implementations, reason = "holds keys")]
pub struct Payloads(Envelopes);

// === impl Payloads ===

impl Payloads {
    /// Opens what was sealed with `keys`.
    pub const fn new(keys: Arc<KeyRing>, random: SharedRandom) -> Self {
        Self(Envelopes::new(keys, random))
    }

    /// The event's body, byte for byte; without its headers, which prove it to the app and say
    /// nothing to people.
    pub fn body(&self, found: &Claimed) -> Result<Zeroizing<Vec<u8>>, store::Error> {
        let delivery = &found.delivery;
        let opened = self
            .0
            .open(&delivery.provider, delivery.event, &found.payload)?;
        Ok(opened.body)
    }
}
