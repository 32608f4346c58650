//! The audit: who did what, when, and what came of it.
//!
//! 1. Whatever changes something by somebody's order is done through [`Audit::of`], which leaves one record
//!    of it when it is over: done, refused, or failed. What never began, because its caller was not let in
//!    or not understood, leaves none.
//! 2. A record is always logged, under the target `daypass::audit` and with the same fields each time. Then
//!    it is stored. If the store does not take it, what was done stays done: the log has the record, says so,
//!    and `daypass_audit_failures_total` counts it.
//! 3. What the app was refused is logged only: an app that asks over and over must not fill the store.
//! 4. What panics, or is cut off at the end of the process, is logged with the reason `broke-off`.
//! 5. Never a secret: a record holds names, and words of this house.

use std::{sync::Arc, time::Duration};

use prometheus_client::metrics::counter::Counter;
use tokio::time::timeout;

use crate::{
    base::{
        clock::SharedClock,
        ids::{AuditId, ConnectionKey, ProviderName, UserId},
        random::SharedRandom,
    },
    store::{Deed, Trail},
};

/// Leaves records. Clones share everything.
#[derive(Clone)]
#[expect(missing_debug_implementations, reason = "a handle to the store")]
pub struct Audit(Arc<Inner>);

struct Inner {
    trail: Arc<dyn Trail>,
    clock: SharedClock,
    random: SharedRandom,
    /// Records that the store did not take.
    failures: Counter,
}

/// Who does something.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Actor {
    via: Via,
    who: String,
}

/// By which way it is done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Via {
    /// The API for operators.
    Api,
    /// The status page.
    Page,
    /// A command of `daypass`.
    Cli,
    /// The app, at the outbound listener.
    Outbound,
    /// A browser, at the ingress listener.
    Ingress,
}

macro_rules! actions {
    ($($(#[$told:meta])* $name:ident = $word:literal,)*) => {
        /// What is done. Words are never changed, only added.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Deserialize, schemars::JsonSchema)]
        pub enum Action {
            $($(#[$told])* #[serde(rename = $word)] $name,)*
        }

        impl Action {
            /// All there are.
            pub const ALL: &[Self] = &[$(Self::$name),*];

            /// As in records.
            pub const fn as_str(self) -> &'static str {
                match self {
                    $(Self::$name => $word,)*
                }
            }
        }
    };
}

actions! {
    /// A user has connected, by a consent.
    Connect = "connection.connect",
    /// Tokens were brought from elsewhere.
    Import = "connection.import",
    /// A token was renewed by somebody's order.
    Refresh = "connection.refresh",
    /// All meetings of a connection are to be read.
    Sync = "connection.sync",
    /// A user was disconnected.
    Disconnect = "connection.disconnect",
    /// A link was made that lets a user connect.
    ConnectLink = "connect-link.create",
    /// A managed user was made or adopted.
    CreateManagedUser = "managed-user.create",
    /// A managed user was deleted at the provider.
    DeleteManagedUser = "managed-user.delete",
    /// One delivery was sent again.
    ReplayDelivery = "delivery.replay",
    /// All deliveries that fit were sent again.
    ReplayDeliveries = "deliveries.replay",
    /// What an event says was shown to an operator.
    ShowPayload = "delivery.show-payload",
    /// All that is stored was sealed with the active key.
    RotateKeys = "keys.rotate",
    /// Connections were moved here from another store.
    MigrateStore = "store.migrate",
}

/// What is about to be done.
#[derive(Clone, Debug)]
pub struct Order {
    action: Action,
    provider: Option<ProviderName>,
    user: Option<UserId>,
    detail: Option<String>,
}

/// Tells why something was not done.
pub trait Fault {
    /// Why, in a word: that of its problem.
    fn word(&self) -> &'static str;

    /// Whether somebody else would have to mend something; otherwise it was refused.
    fn is_failure(&self) -> bool;
}

/// How long the store may take for a record.
const PATIENCE: Duration = Duration::from_secs(5);

/// The longest text of a record, in bytes.
const MAX_TEXT: usize = 256;

/// What came of it.
enum Outcome {
    Done,
    Refused(&'static str),
    Failed(&'static str),
}

/// Logs what never came to its end.
struct BreaksOff<'a> {
    actor: &'a Actor,
    order: &'a Order,
    audit: &'a Audit,
    is_over: bool,
}

// === impl Audit ===

impl Audit {
    /// Writes records to `trail`, and counts in `failures` those that it does not take.
    pub fn new(
        trail: Arc<dyn Trail>,
        clock: SharedClock,
        random: SharedRandom,
        failures: Counter,
    ) -> Self {
        Self(Arc::new(Inner {
            trail,
            clock,
            random,
            failures,
        }))
    }

    /// Does `work` by the order of `actor`, and leaves a record of it. To be run to its end, whoever waits.
    pub async fn of<T, E: Fault>(
        &self,
        actor: &Actor,
        order: Order,
        work: impl Future<Output = Result<T, E>>,
    ) -> Result<T, E> {
        self.telling(actor, order, work, |_| None).await
    }

    /// As [`Self::of`]; `tell` says what came of it, if that is worth a word.
    pub async fn telling<T, E: Fault>(
        &self,
        actor: &Actor,
        mut order: Order,
        work: impl Future<Output = Result<T, E>>,
        tell: impl FnOnce(&T) -> Option<String>,
    ) -> Result<T, E> {
        let mut watch = BreaksOff {
            actor,
            order: &order,
            audit: self,
            is_over: false,
        };
        let outcome = work.await;
        watch.is_over = true;
        drop(watch);
        let over = match &outcome {
            Ok(done) => {
                order.add(tell(done));
                Outcome::Done
            }
            Err(fault) if fault.is_failure() => Outcome::Failed(fault.word()),
            Err(fault) => Outcome::Refused(fault.word()),
        };
        self.note(&self.deed(actor, &order, &over)).await;
        outcome
    }

    /// Leaves a record of what was done already.
    pub async fn done(&self, actor: &Actor, order: Order) {
        self.note(&self.deed(actor, &order, &Outcome::Done)).await;
    }

    /// Leaves a record of what was refused already, for `reason`.
    pub async fn refused(&self, actor: &Actor, order: Order, reason: &'static str) {
        let deed = self.deed(actor, &order, &Outcome::Refused(reason));
        self.note(&deed).await;
    }

    fn deed(&self, actor: &Actor, order: &Order, outcome: &Outcome) -> Deed {
        let at = self.0.clock.now();
        let (outcome, reason) = match outcome {
            Outcome::Done => ("done", None),
            Outcome::Refused(reason) => ("refused", Some(*reason)),
            Outcome::Failed(reason) => ("failed", Some(*reason)),
        };
        Deed {
            id: AuditId::at(at, &*self.0.random),
            at,
            via: actor.via.as_str().to_owned(),
            who: actor.who.clone(),
            action: order.action.as_str().to_owned(),
            provider: order.provider.clone(),
            user: order.user.clone(),
            outcome: outcome.to_owned(),
            reason: reason.map(str::to_owned),
            detail: order.detail.clone(),
        }
    }

    async fn note(&self, deed: &Deed) {
        log(deed);
        if deed.via == Via::Outbound.as_str() && deed.outcome == "refused" {
            return;
        }
        let what = match timeout(PATIENCE, self.0.trail.record(deed)).await {
            Ok(Ok(())) => return,
            Ok(Err(error)) => error.to_string(),
            Err(_late) => format!("the store took longer than {} s", PATIENCE.as_secs()),
        };
        self.0.failures.inc();
        tracing::warn!(
            target: "daypass::audit",
            error = what,
            audit.id = %deed.id,
            "a record of the audit is in the log only",
        );
    }
}

/// Always the same fields; what is absent is empty.
fn log(deed: &Deed) {
    let text = |text: Option<&str>| text.unwrap_or_default().to_owned();
    tracing::info!(
        target: "daypass::audit",
        via = deed.via,
        audit.id = %deed.id,
        who = deed.who,
        action = deed.action,
        provider = text(deed.provider.as_ref().map(ProviderName::as_str)),
        connection.user = text(deed.user.as_ref().map(UserId::as_str)),
        outcome = deed.outcome,
        reason = text(deed.reason.as_deref()),
        detail = text(deed.detail.as_deref()),
        "audit",
    );
}

impl Drop for BreaksOff<'_> {
    fn drop(&mut self) {
        if !self.is_over {
            let broken = Outcome::Failed("broke-off");
            log(&self.audit.deed(self.actor, self.order, &broken));
            self.audit.0.failures.inc();
        }
    }
}

// === impl Actor, Via ===

impl Actor {
    /// `who` came by this way. What no line can hold is left out, and what is too long is cut.
    pub fn new(via: Via, who: &str) -> Self {
        Self {
            via,
            who: line(who),
        }
    }
}

impl Via {
    /// As in records.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Api => "api",
            Self::Page => "page",
            Self::Cli => "cli",
            Self::Outbound => "outbound",
            Self::Ingress => "ingress",
        }
    }
}

// === impl Order ===

impl Order {
    /// `action`, of nobody in particular.
    pub const fn to(action: Action) -> Self {
        Self {
            action,
            provider: None,
            user: None,
            detail: None,
        }
    }

    /// For one user at one provider.
    #[must_use]
    pub fn about(mut self, key: &ConnectionKey) -> Self {
        self.provider = Some(key.provider.clone());
        self.user = Some(key.user.clone());
        self
    }

    /// For whichever of these is meant.
    #[must_use]
    pub fn about_some(mut self, provider: Option<ProviderName>, user: Option<UserId>) -> Self {
        self.provider = provider;
        self.user = user;
        self
    }

    /// With what else is to be known. Never a secret, and nothing that a stranger has written.
    #[must_use]
    pub fn with(mut self, detail: impl Into<Option<String>>) -> Self {
        self.add(detail.into());
        self
    }

    fn add(&mut self, detail: Option<String>) {
        let Some(more) = detail else {
            return;
        };
        let all = match self.detail.take() {
            Some(before) => format!("{before}, {more}"),
            None => more,
        };
        self.detail = Some(line(&all));
    }
}

fn line(text: &str) -> String {
    let mut line: String = text.chars().filter(|letter| !letter.is_control()).collect();
    while line.len() > MAX_TEXT {
        line.pop();
    }
    line
}

#[cfg(test)]
mod tests {
    use std::{io, sync::Arc};

    use async_trait::async_trait;
    use parking_lot::Mutex;
    use serde_json::Value;

    use super::*;
    use crate::{
        base::{
            clock::{ManualClock, Timestamp},
            random::SeededRandom,
        },
        store::{DeedFilter, Error},
    };

    /// Keeps records, or refuses them.
    #[derive(Default)]
    struct Kept {
        deeds: Mutex<Vec<Deed>>,
        is_broken: bool,
    }

    #[async_trait]
    impl Trail for Kept {
        async fn record(&self, deed: &Deed) -> Result<(), Error> {
            if self.is_broken {
                return Err(Error::NotReady {
                    what: "it is broken".to_owned(),
                });
            }
            self.deeds.lock().push(deed.clone());
            Ok(())
        }

        async fn deeds(
            &self,
            _: &DeedFilter,
            _: Option<AuditId>,
            _: usize,
        ) -> Result<Vec<Deed>, Error> {
            Ok(self.deeds.lock().clone())
        }

        async fn prune_deeds(&self, _: Timestamp, _: usize) -> Result<u64, Error> {
            Ok(0)
        }
    }

    #[derive(Clone, Default)]
    struct Lines(Arc<Mutex<Vec<u8>>>);

    impl io::Write for Lines {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    impl Lines {
        /// Logs what `work` logs here, and nowhere else.
        fn of<T>(&self, work: impl FnOnce() -> T) -> T {
            let lines = self.clone();
            let subscriber = tracing_subscriber::fmt()
                .json()
                .flatten_event(true)
                .with_writer(move || lines.clone())
                .finish();
            tracing::subscriber::with_default(subscriber, work)
        }

        fn read(&self) -> Vec<Value> {
            let text = String::from_utf8(self.0.lock().clone()).unwrap();
            text.lines()
                .map(|line| serde_json::from_str(line).unwrap())
                .collect()
        }
    }

    fn audit(trail: &Arc<Kept>) -> (Audit, Counter) {
        let failures = Counter::default();
        let clock = Arc::new(ManualClock::new(Timestamp::from_secs(1_800_000_000)));
        let random = Arc::new(SeededRandom::new(7));
        let trail = Arc::clone(trail) as Arc<dyn Trail>;
        (Audit::new(trail, clock, random, failures.clone()), failures)
    }

    fn order() -> Order {
        let key = ConnectionKey {
            provider: "calendly".parse().unwrap(),
            user: "u_1".parse().unwrap(),
        };
        Order::to(Action::Refresh)
            .about(&key)
            .with("force".to_owned())
    }

    fn operator() -> Actor {
        Actor::new(Via::Cli, "eve@host\n")
    }

    const FIELDS: [&str; 9] = [
        "via",
        "audit.id",
        "who",
        "action",
        "provider",
        "connection.user",
        "outcome",
        "reason",
        "detail",
    ];

    #[test]
    fn each_record_is_logged_with_the_same_fields_and_stored() {
        let (trail, lines) = (Arc::new(Kept::default()), Lines::default());
        let (audit, failures) = audit(&trail);
        lines.of(|| {
            tokio_test::block_on(async {
                let who = operator();
                let done = audit.of(&who, order(), async { Ok::<_, Error>(7) });
                assert_eq!(done.await.unwrap(), 7);
                let broken = Error::NotReady {
                    what: "no".to_owned(),
                };
                let failing = async { Err::<(), _>(broken) };
                let plain = Order::to(Action::ReplayDeliveries);
                assert!(audit.of(&who, plain, failing).await.is_err());
            });
        });
        let (logged, stored) = (lines.read(), trail.deeds.lock().clone());
        assert_eq!((logged.len(), stored.len(), failures.get()), (2, 2, 0));
        for (line, deed) in logged.iter().zip(&stored) {
            assert_eq!(line["target"], "daypass::audit");
            for field in FIELDS {
                assert!(line[field].is_string(), "{field} is not in {line}");
            }
            assert_eq!(line["audit.id"], deed.id.to_string());
            assert_eq!(line["who"], "eve@host");
            assert_eq!(line["outcome"], deed.outcome);
        }
        let told = |n: usize, field: &str| logged[n][field].as_str().unwrap().to_owned();
        assert_eq!(
            (told(0, "outcome"), told(0, "detail")),
            ("done".into(), "force".into())
        );
        assert_eq!(
            (told(0, "connection.user"), told(0, "reason")),
            ("u_1".into(), String::new())
        );
        assert_eq!(told(1, "reason"), "store-unavailable");
        assert_eq!(
            (told(1, "outcome"), told(1, "connection.user")),
            ("failed".into(), String::new())
        );
    }

    #[test]
    fn what_the_store_does_not_take_is_in_the_log_which_says_so() {
        let broken = Kept {
            is_broken: true,
            ..Kept::default()
        };
        let (trail, lines) = (Arc::new(broken), Lines::default());
        let (audit, failures) = audit(&trail);
        lines.of(|| {
            let who = operator();
            let done = audit.of(&who, order(), async { Ok::<_, Error>(()) });
            tokio_test::block_on(done).unwrap();
        });
        let logged = lines.read();
        assert_eq!((logged.len(), failures.get()), (2, 1));
        assert_eq!(logged[0]["outcome"], "done");
        assert_eq!(logged[1]["level"], "WARN");
        assert_eq!(logged[1]["audit.id"], logged[0]["audit.id"]);
    }

    #[test]
    fn what_breaks_off_is_logged() {
        let (trail, lines) = (Arc::new(Kept::default()), Lines::default());
        let (audit, failures) = audit(&trail);
        lines.of(|| {
            let who = operator();
            let never = std::future::pending::<Result<(), Error>>();
            let mut doing = tokio_test::task::spawn(audit.of(&who, order(), never));
            assert!(doing.poll().is_pending());
        });
        let logged = lines.read();
        assert_eq!((logged.len(), failures.get()), (1, 1));
        assert_eq!(logged[0]["reason"], "broke-off");
    }

    #[test]
    fn what_the_app_is_refused_is_in_the_log_only() {
        let (trail, lines) = (Arc::new(Kept::default()), Lines::default());
        let (audit, failures) = audit(&trail);
        lines.of(|| {
            let app = Actor::new(Via::Outbound, "app");
            tokio_test::block_on(audit.refused(&app, order(), "not-connected"));
        });
        assert_eq!((lines.read().len(), failures.get()), (1, 0));
        assert!(trail.deeds.lock().is_empty());
    }

    #[test]
    fn texts_are_lines_of_a_bounded_length() {
        let who = Actor::new(Via::Page, &"ü".repeat(300));
        assert!(who.who.len() <= MAX_TEXT && who.who.len() > MAX_TEXT - 3);
    }
}
