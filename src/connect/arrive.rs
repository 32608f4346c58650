//! From a code to a connection: exchange, identify, save, and what follows.
//!
//! 1. It runs in a task of its own: once a code is spent, a browser that leaves loses nothing.
//! 2. The code is redeemed once. Only a call that never left the process is made again.
//! 3. Nothing of the old grant is touched before the new one is stored. Then the old one is revoked,
//!    unless that could end the new one ([`revoke_former`](crate::token::Tokens::revoke_former)).
//! 4. The account is what the token answer says, else what the provider's own account says. If that
//!    does not answer, the connection is made all the same, and is identified later: the code is
//!    spent, and the token works. Only if the user did not allow to know it, nobody is connected.
//! 5. What else was asked for and not granted is told, and is no reason not to connect: a person may
//!    keep webhooks to themselves. What was never asked for is the configuration's business.
//! 6. A process that dies between exchange and save loses the grant. Its user sees an error, and
//!    connects again with the same link; the provider keeps a grant that nobody has.

use std::{sync::Arc, time::Duration};

use tokio::time::sleep;

use super::{
    Room,
    ending::{Ending, Note, Reason},
    flow::Flow,
    follower::Arrival,
};
use crate::{
    base::{backoff::Backoff, ids::ConnectionKey, secret::Secret},
    provider::{
        Account, ApiError, CallError, Consent, Denial, Minted, Purpose, Redeem, SharedProvider,
    },
    store::{self, Connection, Saved, Status},
    token::{Grant, GrantTokens},
};

/// Between tries of what may be tried again while a person waits.
const RETRY: Backoff = Backoff {
    first: Duration::from_millis(300),
    max: Duration::from_secs(2),
};

/// How often at most.
const TRIES: u32 = 4;

// === impl Room ===

impl Room {
    /// Redeems `code` and connects whoever it belongs to.
    pub(super) async fn arrive(
        self: Arc<Self>,
        provider: SharedProvider,
        flow: Flow,
        code: Secret<String>,
    ) -> Ending {
        let key = flow.key.clone();
        let Some(consent) = provider.consent() else {
            return Ending::Failed(Reason::ClientRefused);
        };
        let arrived = async {
            let mut minted = self.exchange(consent, &flow, &code).await?;
            // An answer without a scope has granted what was asked for (RFC 6749 §5.1).
            minted.scope = minted.scope.or_else(|| flow.scope.clone());
            let account = self.identify(consent, &key, &minted).await?;
            let missing = missing(consent, flow.scope.as_deref(), minted.scope.as_deref());
            let grant = self.grant(&key, minted, account);
            self.connect(&grant, missing).await
        };
        let ending = match arrived.await {
            Ok(ending) => ending,
            Err(reason) => {
                tracing::warn!(provider = %key.provider, user = %key.user, %reason, "not connected");
                Ending::Failed(reason)
            }
        };
        self.followers.consented(&key, ending.outcome()).await;
        ending
    }

    async fn exchange(
        &self,
        consent: &dyn Consent,
        flow: &Flow,
        code: &Secret<String>,
    ) -> Result<Minted, Reason> {
        let redeem = Redeem {
            code,
            redirect_uri: &flow.redirect_uri,
            verifier: flow.verifier.as_ref(),
        };
        let mut failures = 0;
        loop {
            let error = match consent.exchange(&redeem).await {
                Ok(minted) => return Ok(minted),
                Err(error) => error,
            };
            failures += 1;
            if matches!(error, CallError::NotSent { .. }) && failures < TRIES {
                sleep(RETRY.after(failures, &*self.random)).await;
                continue;
            }
            return Err(refused(&flow.key, &error));
        }
    }

    /// Whose tokens these are, as far as that can be known.
    async fn identify(
        &self,
        consent: &dyn Consent,
        key: &ConnectionKey,
        minted: &Minted,
    ) -> Result<Account, Reason> {
        let mut account = minted.account.clone();
        if account.external_id.is_some() && account.organization.is_some() {
            return Ok(account);
        }
        match self.ask_who(consent, minted).await {
            Ok(found) => {
                account.external_id = account.external_id.or(found.external_id);
                account.organization = account.organization.or(found.organization);
            }
            // All that is missing is the organization, which most accounts do not have.
            Err(_) if account.external_id.is_some() => {}
            Err(ApiError::Forbidden {
                denial: Denial::Scope { missing },
                ..
            }) => {
                let lacks = consent.lacking(minted.scope.as_deref());
                let identity = lacks
                    .iter()
                    .filter(|lack| lack.purpose == Purpose::Identity);
                let known = identity.map(|lack| lack.scope.to_string()).collect();
                let missing = if missing.is_empty() { known } else { missing };
                return Err(Reason::ScopeMissing(missing));
            }
            Err(error) => tracing::warn!(
                provider = %key.provider, user = %key.user,
                error = &error as &dyn std::error::Error,
                "the account is not known yet: connected without",
            ),
        }
        Ok(account)
    }

    /// A token that is some milliseconds old may not be known everywhere at the provider.
    async fn ask_who(&self, consent: &dyn Consent, minted: &Minted) -> Result<Account, ApiError> {
        let mut failures = 0;
        loop {
            let error = match consent.identify(&minted.access).await {
                Ok(identity) => return Ok(identity.account),
                Err(error) => error,
            };
            failures += 1;
            let young = matches!(error, ApiError::TokenRefused { .. });
            if failures >= TRIES || !(young || error.is_transient()) {
                return Err(error);
            }
            sleep(RETRY.after(failures, &*self.random)).await;
        }
    }

    fn grant(&self, key: &ConnectionKey, minted: Minted, account: Account) -> Grant {
        let now = self.clock.now();
        Grant {
            key: key.clone(),
            account,
            tokens: Some(GrantTokens {
                access: minted.access,
                refresh: minted.refresh,
                expires_at: minted.expires_in.map(|left| now.saturating_add(left)),
                refresh_expires_at: minted
                    .refresh_expires_in
                    .map(|left| now.saturating_add(left)),
                issued_at: Some(now),
            }),
            scope: minted.scope,
            once: true,
        }
    }

    /// Stores `grant`, ends the one before, and tells whoever follows.
    async fn connect(&self, grant: &Grant, missing: Vec<String>) -> Result<Ending, Reason> {
        let former = self.load(&grant.key).await?;
        let arrival = match &former {
            None => Arrival::First,
            Some(former) if account_of(former).is_other_than(&grant.account) => {
                Arrival::OtherAccount
            }
            Some(_) => Arrival::Again,
        };
        if let (Some(former), Arrival::OtherAccount) = (&former, arrival) {
            self.followers.disconnecting(former).await;
        }
        let connection = match self.save(grant).await {
            Ok(connection) => connection,
            Err(error) => {
                if let (Some(former), Arrival::OtherAccount) = (&former, arrival) {
                    self.followers.connected(former, Arrival::Again).await;
                }
                return Err(store_failed(&grant.key, &error));
            }
        };
        tracing::info!(
            provider = %grant.key.provider, user = %grant.key.user,
            generation = %connection.generation, arrival = arrival.as_str(), "connected",
        );
        if let Some(former) = former {
            self.revoke_behind(former, grant.clone());
        }
        let mut notes = Vec::new();
        notes.extend((arrival == Arrival::OtherAccount).then_some(Note::AccountChanged));
        notes.extend(
            self.is_shared(&connection)
                .await
                .then_some(Note::AccountShared),
        );
        notes.extend((!missing.is_empty()).then_some(Note::ScopeMissing));
        self.followers.connected(&connection, arrival).await;
        Ok(Ending::Connected { notes, missing })
    }

    /// The connection as it was, if there was one.
    async fn load(&self, key: &ConnectionKey) -> Result<Option<Connection>, Reason> {
        let mut failures = 0;
        loop {
            let error = match self.tokens.connection(key).await {
                Ok(found) => return Ok(found),
                Err(error) => error,
            };
            failures += 1;
            if failures >= TRIES {
                return Err(store_failed(key, &error));
            }
            sleep(RETRY.after(failures, &*self.random)).await;
        }
    }

    /// Stores `grant`. A save whose answer was lost may have been done: the grant is recognised when it
    /// comes again, so that nothing that was renewed meanwhile is overwritten.
    async fn save(&self, grant: &Grant) -> Result<Connection, store::Error> {
        let mut failures = 0;
        loop {
            let error = match self.save_once(grant).await {
                Ok(connection) => return Ok(connection),
                Err(error) => error,
            };
            failures += 1;
            if failures >= TRIES {
                return Err(error);
            }
            sleep(RETRY.after(failures, &*self.random)).await;
        }
    }

    pub(super) async fn save_once(&self, grant: &Grant) -> Result<Connection, store::Error> {
        let saved = self.tokens.save(std::slice::from_ref(grant)).await?;
        match saved.into_iter().next() {
            // A server that hands out the same tokens again: what was wrong with them is over.
            Some(Saved::Unchanged(Connection {
                status: Status::NeedsReauth { .. },
                ..
            })) if grant.once => {
                let anew = Grant {
                    once: false,
                    ..grant.clone()
                };
                Box::pin(self.save_once(&anew)).await
            }
            Some(
                Saved::Created(connection)
                | Saved::Replaced(connection)
                | Saved::Unchanged(connection),
            ) => Ok(connection),
            None => Err(store::Error::Inconsistent {
                row: grant.key.to_string(),
                what: "it was saved, and nothing came back".to_owned(),
            }),
        }
    }

    /// Revokes the grant that was replaced; nobody waits for it.
    fn revoke_behind(&self, former: Connection, grant: Grant) {
        let tokens = self.tokens.clone();
        drop(self.lifecycle.spawn(async move {
            // A failure is logged there; the grant ends by itself, or when its user ends it.
            let _revoked = tokens.revoke_former(&former, &grant).await;
        }));
    }

    /// Whether another user has connected the same account.
    async fn is_shared(&self, connection: &Connection) -> bool {
        let Some(account) = account_of(connection).key() else {
            return false;
        };
        let provider = &connection.key.provider;
        let Ok(all) = self.accounts.of_account(provider, &account).await else {
            // It is a remark, for which nothing is delayed.
            return false;
        };
        let others = all.iter().filter(|other| other.key != connection.key);
        let Some(other) = others.map(|other| &other.key.user).next() else {
            return false;
        };
        tracing::warn!(
            %provider, user = %connection.key.user, %other,
            "two users have connected one account: some providers keep one grant per account, and \
             then one of the two has to connect again whenever the other's token is renewed",
        );
        true
    }
}

fn store_failed(key: &ConnectionKey, error: &(dyn std::error::Error + 'static)) -> Reason {
    tracing::warn!(
        provider = %key.provider, user = %key.user, error,
        "the store did not keep a new connection",
    );
    Reason::StoreUnavailable
}

/// What was asked for and not granted. A scope that is missing from what was asked for was not the
/// user's to grant.
fn missing(consent: &dyn Consent, asked: Option<&str>, granted: Option<&str>) -> Vec<String> {
    let unasked = consent.lacking(asked);
    let lacks = consent.lacking(granted).into_iter();
    lacks
        .filter(|lack| !unasked.contains(lack))
        .map(|lack| lack.scope.into_owned())
        .collect()
}

/// Who a connection is at its provider.
pub(super) fn account_of(connection: &Connection) -> Account {
    Account {
        external_id: connection.external_id.clone(),
        organization: connection.organization.clone(),
        managed_user_id: connection.managed_user_id,
    }
}

/// Why a code was not taken. What only the operator can mend is an error in the log.
fn refused(key: &ConnectionKey, error: &CallError) -> Reason {
    match error {
        CallError::GrantRefused { .. } => Reason::CodeRefused,
        CallError::ClientRefused { .. } | CallError::NotConfigured { .. } => {
            tracing::error!(
                provider = %key.provider, error = error as &dyn std::error::Error,
                "nobody can connect: the provider does not take this installation as it is configured",
            );
            Reason::ClientRefused
        }
        _ => {
            tracing::warn!(
                provider = %key.provider, user = %key.user,
                error = error as &dyn std::error::Error, "a code could not be redeemed",
            );
            Reason::ProviderUnavailable
        }
    }
}
