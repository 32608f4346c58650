//! Whom to trust, as it is at the moment: who opens the store says so, each time that it is asked.

use std::{fmt, sync::Arc};

/// Answers with trusted certificates in PEM: the same [`Arc`] for as long as they are the same. `None` for
/// those of the platform.
#[derive(Clone)]
pub struct Trust(Arc<dyn Fn() -> Option<Arc<[u8]>> + Send + Sync>);

// === impl Trust ===

impl Trust {
    /// What `ask` says.
    pub fn new(ask: impl Fn() -> Option<Arc<[u8]>> + Send + Sync + 'static) -> Self {
        Self(Arc::new(ask))
    }

    /// These, for good.
    pub fn always(pem: impl Into<Arc<[u8]>>) -> Self {
        let pem = pem.into();
        Self::new(move || Some(Arc::clone(&pem)))
    }

    pub(super) fn now(&self) -> Option<Arc<[u8]>> {
        (self.0)()
    }
}

impl fmt::Debug for Trust {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Trust")
    }
}
