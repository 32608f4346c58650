//! Whose account is it: from the provider's side to connections.
//!
//! 1. An account is the provider's own id or URI ([`Connection::external_id`]), or the id of a managed
//!    user in decimal. Several users may have connected one account.
//! 2. A connection whose account is not known yet, by neither of the two, can be found, and be told its
//!    account once.

use async_trait::async_trait;

use super::{Connection, Error, Fenced};
use crate::base::ids::{ConnectionId, ConnectionKey, ProviderName};

/// Finds connections by account, without a scan; see the [module docs](self).
#[async_trait]
pub trait Accounts: Send + Sync + 'static {
    /// All connections of `account`, whatever their status, each once, in the order of their keys.
    async fn of_account(
        &self,
        provider: &ProviderName,
        account: &str,
    ) -> Result<Vec<Connection>, Error>;

    /// Up to `limit` active connections whose account is not known, in the order of their keys, those
    /// after `after` only.
    async fn unidentified(
        &self,
        provider: &ProviderName,
        after: Option<&ConnectionKey>,
        limit: usize,
    ) -> Result<Vec<Connection>, Error>;

    /// Tells a connection its account (and organization, if that is known; otherwise the stored one
    /// stays). [`Fenced::Unchanged`] if it knows one already, [`Fenced::Refused`] if it is another
    /// connection by now, or gone. The change is told of like any other; the generation stays.
    async fn identify(
        &self,
        key: &ConnectionKey,
        id: ConnectionId,
        external_id: &str,
        organization: Option<&str>,
    ) -> Result<Fenced, Error>;
}

/// The managed user that `account` is the id of, if it is one in decimal as that is written.
pub(super) fn managed_user(account: &str) -> Option<i64> {
    let id: i64 = account.parse().ok()?;
    (id.to_string() == account).then_some(id)
}
