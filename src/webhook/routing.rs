//! Whose an event is.
//!
//! 1. The provider's rule says which accounts it names
//!    ([`Event::addressees`](crate::provider::Event::addressees)). Every user with an active connection
//!    to one of them gets it, whoever's subscription brought it.
//! 2. A connection that needs its user gets nothing: the event waits, and is delivered when somebody
//!    connects the account.
//! 3. Connections whose account nobody has asked for yet are asked, once each, after the event was
//!    kept: what turns out to be theirs is given to them then.
//! 4. Who hosts a meeting that the event only names is asked after the event was kept, too. Nothing here
//!    makes a provider wait.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use parking_lot::Mutex;
use tokio::{sync::Notify, time::timeout};

use super::route::Target;
use crate::{
    base::{
        ids::{ConnectionId, ConnectionKey, ProviderName},
        lifecycle::Lifecycle,
    },
    provider::{Account, Addressees, Consent, Coverage, Event, SharedProvider},
    store::{self, Accounts, Connection, Deliveries, Status},
    token::{TokenSource, with_token},
};

/// How many connections of unknown account are asked for after one event.
const ASKED_AT_ONCE: usize = 20;

/// How long one of them may take.
const PATIENCE: Duration = Duration::from_secs(15);

/// Finds the users of an event.
#[derive(Clone)]
pub(super) struct Routing {
    accounts: Arc<dyn Accounts>,
    deliveries: Arc<dyn Deliveries>,
    tokens: Arc<dyn TokenSource>,
    lifecycle: Lifecycle,
    accepted: Arc<Notify>,
    /// Those that were asked in vain: asking again would not help.
    asked: Arc<Mutex<BTreeSet<ConnectionId>>>,
}

/// Whom an event is for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Found {
    /// They get it now.
    pub(super) recipients: Vec<ConnectionKey>,
    /// It waits for these, if there are no recipients.
    pub(super) accounts: Vec<String>,
    /// The meeting whose hosts are to be asked for.
    pub(super) hosts_of: Option<String>,
}

// === impl Routing ===

impl Routing {
    pub(super) fn new(
        accounts: Arc<dyn Accounts>,
        deliveries: Arc<dyn Deliveries>,
        tokens: Arc<dyn TokenSource>,
        lifecycle: Lifecycle,
        accepted: Arc<Notify>,
    ) -> Self {
        Self {
            accounts,
            deliveries,
            tokens,
            lifecycle,
            accepted,
            asked: Arc::default(),
        }
    }

    /// Whom `event` of `provider` is for, if it came by `target`'s subscription, or by the shared
    /// address.
    pub(super) async fn find(
        &self,
        provider: &ProviderName,
        event: &Event,
        target: Option<&Target>,
    ) -> Result<Found, store::Error> {
        let coverage = target.map_or(Coverage::Client, |target| target.coverage);
        let subscriber = target.map(|target| &target.account);
        let accounts = match event.addressees(coverage, subscriber) {
            Addressees::Accounts(accounts) => accounts,
            Addressees::Subscriber => match (target, &event.names.subscriber) {
                (Some(target), _) => return self.of_subscriber(target).await,
                (None, Some(account)) => vec![account.clone()],
                (None, None) => Vec::new(),
            },
            Addressees::HostsOf(meeting) => {
                return Ok(Found {
                    accounts: vec![hosts_of(&meeting)],
                    hosts_of: Some(meeting),
                    ..Found::default()
                });
            }
            // An address is not known of any connection, and would be a weak proof if it were.
            Addressees::Address(_) | Addressees::Nobody => Vec::new(),
        };
        let recipients = self.connected(provider, &accounts).await?;
        Ok(Found {
            recipients,
            accounts,
            hosts_of: None,
        })
    }

    async fn connected(
        &self,
        provider: &ProviderName,
        accounts: &[String],
    ) -> Result<Vec<ConnectionKey>, store::Error> {
        let mut recipients = Vec::new();
        for account in accounts {
            let connections = self.accounts.of_account(provider, account).await?;
            recipients.extend(
                connections
                    .into_iter()
                    .filter(is_active)
                    .map(|found| found.key),
            );
        }
        recipients.dedup();
        Ok(recipients)
    }

    /// What names nobody is for who subscribed.
    async fn of_subscriber(&self, target: &Target) -> Result<Found, store::Error> {
        let accounts: Vec<String> = target.account.key().into_iter().collect();
        let recipients = self.connected(&target.key.provider, &accounts).await?;
        Ok(Found {
            recipients,
            accounts,
            hosts_of: None,
        })
    }

    /// Looks further for the users of an event that was kept as nobody's.
    pub(super) fn look_further(
        &self,
        provider: SharedProvider,
        target: Option<Target>,
        hosts_of: Option<String>,
    ) {
        let routing = self.clone();
        drop(self.lifecycle.spawn(async move {
            if let Err(error) = routing.identify_all(&provider).await {
                tracing::warn!(
                    provider = %provider.name(),
                    error = &error as &dyn std::error::Error,
                    "connections of unknown account could not be looked through",
                );
            }
            if let (Some(target), Some(meeting)) = (target, hosts_of) {
                routing.ask_for_hosts(&provider, &target, &meeting).await;
            }
        }));
    }

    /// Asks the connections of unknown account who they are, once each, and gives them what waits for
    /// them.
    async fn identify_all(&self, provider: &SharedProvider) -> Result<(), store::Error> {
        let name = provider.name();
        let Some(consent) = provider.consent() else {
            return Ok(());
        };
        let unknown = self
            .accounts
            .unidentified(name, None, ASKED_AT_ONCE * 10)
            .await?;
        let mut asked = 0;
        for connection in unknown {
            if self.ask(consent, &connection).await? {
                asked += 1;
            }
            if asked == ASKED_AT_ONCE {
                break;
            }
        }
        Ok(())
    }

    /// Asks a connection of unknown account who it is, once, and gives it what waits for it. Whether it
    /// was asked now.
    pub(super) async fn identify(
        &self,
        provider: &SharedProvider,
        connection: &Connection,
    ) -> Result<bool, store::Error> {
        match provider.consent() {
            Some(consent) => self.ask(consent, connection).await,
            None => Ok(false),
        }
    }

    async fn ask(
        &self,
        consent: &dyn Consent,
        connection: &Connection,
    ) -> Result<bool, store::Error> {
        if !self.asked.lock().insert(connection.id) {
            return Ok(false);
        }
        let key = &connection.key;
        let asking = with_token(&*self.tokens, key, |token| async move {
            consent.identify(&token).await
        });
        match timeout(PATIENCE, asking).await {
            Ok(Ok(identity)) => self.identified(connection, &identity.account).await?,
            Ok(Err(error)) => {
                if error.is_transient() {
                    self.asked.lock().remove(&connection.id);
                }
                tracing::warn!(
                    provider = %key.provider, user = %key.user,
                    error = &error as &dyn std::error::Error,
                    "whose account this connection is could not be asked, so its events cannot be \
                     told: import it with external_id, or let the user connect again",
                );
            }
            Err(_late) => {
                self.asked.lock().remove(&connection.id);
            }
        }
        Ok(true)
    }

    async fn identified(
        &self,
        connection: &Connection,
        account: &Account,
    ) -> Result<(), store::Error> {
        let Some(external_id) = account.key() else {
            return Ok(());
        };
        let organization = account.organization.as_deref();
        self.accounts
            .identify(&connection.key, connection.id, &external_id, organization)
            .await?;
        self.give(&external_id, &connection.key).await
    }

    /// Gives what waits for `account` to `key`, whose it is.
    pub(super) async fn give(
        &self,
        account: &str,
        key: &ConnectionKey,
    ) -> Result<(), store::Error> {
        let given = self.deliveries.adopt(account, key).await?;
        if given > 0 {
            tracing::info!(
                provider = %key.provider, user = %key.user, events = given,
                "events that had waited are delivered",
            );
            self.accepted.notify_one();
        }
        Ok(())
    }

    async fn ask_for_hosts(&self, provider: &SharedProvider, target: &Target, meeting: &str) {
        let Some(meetings) = provider.meetings() else {
            return;
        };
        let fetching = with_token(&*self.tokens, &target.key, |token| async move {
            meetings.fetch(&token, meeting).await
        });
        let hosts = match timeout(PATIENCE, fetching).await {
            Ok(Ok(found)) => found.hosts,
            Ok(Err(error)) => {
                tracing::warn!(
                    provider = %target.key.provider,
                    error = &error as &dyn std::error::Error,
                    "who hosts a meeting could not be asked: its event waits as unrouted",
                );
                return;
            }
            Err(_late) => return,
        };
        for account in hosts {
            let connections = self.accounts.of_account(provider.name(), &account).await;
            for connection in connections
                .unwrap_or_default()
                .iter()
                .filter(|found| is_active(found))
            {
                if let Err(error) = self.give(&hosts_of(meeting), &connection.key).await {
                    tracing::warn!(
                        error = &error as &dyn std::error::Error,
                        "an event could not be given to its user: it waits as unrouted",
                    );
                }
            }
        }
    }
}

fn is_active(connection: &Connection) -> bool {
    connection.status == Status::Active
}

/// Under what an event waits whose hosts are not known yet; no account is called so.
fn hosts_of(meeting: &str) -> String {
    format!("hosts-of {meeting}")
}
