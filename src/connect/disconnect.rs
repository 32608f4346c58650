//! Disconnecting: take back what was set up, revoke, forget.
//!
//! The followers are told first, while the token still works. Whatever they or the provider do, the
//! connection is forgotten here: a provider that is down keeps nobody connected.

use super::{Connect, Error};
use crate::{
    base::ids::ConnectionKey,
    token::{self, Revocation},
};

// === impl Connect ===

impl Connect {
    /// Ends the connection of `key`, and says what became of its tokens at the provider; `None` if
    /// there was none.
    pub async fn disconnect(&self, key: &ConnectionKey) -> Result<Option<Revocation>, Error> {
        let room = &self.0;
        let connection = match room.tokens.connection(key).await {
            // It is no longer configured, so nothing can be taken back there.
            Err(token::Error::UnknownProvider { .. }) => None,
            found => found?,
        };
        if let Some(connection) = &connection {
            room.followers.disconnecting(connection).await;
        }
        let revocation = room.tokens.disconnect(key).await?;
        if let Some(revocation) = revocation {
            tracing::info!(
                provider = %key.provider, user = %key.user, tokens = revocation.as_str(), "disconnected",
            );
            if let Some(connection) = &connection {
                room.followers.disconnected(connection, revocation).await;
            }
        }
        Ok(revocation)
    }
}
