//! What every operation has at hand: the door, the names of keys, the time, and how changes are told.

use std::sync::{
    Arc,
    atomic::{AtomicBool, AtomicU32, AtomicUsize, Ordering},
};

use parking_lot::Mutex;
use redis::{Cmd, FromRedisValue, Script, ScriptInvocation, Value};
use tokio::{sync::Notify, time::Instant};

use super::{
    Options, Time,
    address::{Address, Kind},
    door::{Door, Question},
    failure::{Failure, code},
    hearsay::Hearsay,
    keys::{Keys, Place},
    opening::SCHEMA,
    rows::Fields,
    scripts,
};
use crate::base::{ids::ConnectionKey, random::SharedRandom};

/// Shared by all operations of one store.
#[derive(Debug)]
pub(super) struct Desk {
    pub(super) address: Arc<Address>,
    pub(super) door: Door,
    pub(super) keys: Keys,
    pub(super) options: Options,
    pub(super) time: Time,
    pub(super) random: SharedRandom,
    /// Woken by every change that this process made or heard of.
    pub(super) changed: Notify,
    /// What was heard of them since the log was last looked at.
    pub(super) hearsay: Hearsay,
    /// Whether changes by others are heard of as they are made.
    pub(super) listening: AtomicBool,
    /// The schema that a newer version has made of the store, once that is found out; else zero.
    pub(super) outdated: AtomicU32,
    /// How often the servers were asked whether they are well.
    pub(super) pings: AtomicUsize,
    /// How often in a row they could be written to.
    pub(super) checks: AtomicUsize,
    /// When this process last looked after the outboxes.
    pub(super) tidied: Mutex<Option<Instant>>,
}

/// What a script says of one connection.
#[derive(Debug)]
pub(super) struct Answer {
    /// One word.
    pub(super) word: String,
    /// The row, where it matters.
    pub(super) row: Fields,
    /// The place in the outbox, if the change waits there; or a number of milliseconds.
    pub(super) place: String,
}

// === impl Desk ===

impl Desk {
    pub(super) fn is_cluster(&self) -> bool {
        self.address.kind == Kind::Cluster
    }

    /// Begins a call of `script`, by the arguments that all share.
    pub(super) fn call<'a>(&self, script: &'a Script) -> ScriptInvocation<'a> {
        let mut call = script.prepare_invoke();
        let channel = if self.is_cluster() {
            String::new()
        } else {
            self.keys.channel()
        };
        call.arg(self.now()).arg(self.kept()).arg(channel);
        call.arg(self.call_id());
        call
    }

    /// Begins a call of `script` about a section (see [`Keys`]), by the arguments that all share.
    pub(super) fn call_in<'a>(&self, script: &'a Script, section: &str) -> ScriptInvocation<'a> {
        let mut call = script.prepare_invoke();
        // Two that never exist: see `section.lua`.
        call.key(format!("{section}never"));
        call.key(format!("{section}nowhere"));
        call.arg(self.now()).arg(self.call_id());
        call
    }

    /// The time that scripts go by, in milliseconds; empty for the server's own.
    pub(super) fn now(&self) -> String {
        match &self.time {
            Time::Server => String::new(),
            Time::Clock(clock) => clock.now().as_millis().to_string(),
        }
    }

    /// By what a call is recognised when it is sent again.
    pub(super) fn call_id(&self) -> String {
        hex::encode(self.random.bytes::<8>())
    }

    /// Begins a call of `script` about the connection of `key`.
    pub(super) fn call_about<'a>(
        &self,
        script: &'a Script,
        key: &ConnectionKey,
    ) -> (ScriptInvocation<'a>, Place) {
        let place = self.keys.place(key);
        let mut call = self.call(script);
        call.key(&place.keys)
            .key(self.told(&place))
            .arg(&place.name);
        (call, place)
    }

    /// Ends a call about one connection, and tells of the change if there was one.
    pub(super) async fn answer(
        &self,
        call: &ScriptInvocation<'_>,
        place: &Place,
    ) -> Result<Answer, Failure> {
        let answer = Answer::read(self.ask(call).await?)?;
        self.tell(place, &answer).await;
        Ok(answer)
    }

    pub(super) async fn ask<T: FromRedisValue>(
        &self,
        call: &ScriptInvocation<'_>,
    ) -> Result<T, Failure> {
        self.is_current()?;
        match self.door.ask(Question::Script(call)).await {
            Err(Failure::Driver(error)) if code(&error).as_deref() == Some("FUTURE") => {
                let found = error.detail().and_then(|found| found.trim().parse().ok());
                self.admits(found.unwrap_or(u32::MAX))?;
                Err(error.into())
            }
            answer => answer,
        }
    }

    /// Refuses to work on a store that a newer version has taken over.
    pub(super) fn admits(&self, schema: u32) -> Result<(), Failure> {
        if schema > SCHEMA {
            self.outdated.store(schema, Ordering::Relaxed);
        }
        self.is_current()
    }

    fn is_current(&self) -> Result<(), Failure> {
        match self.outdated.load(Ordering::Relaxed) {
            0 => Ok(()),
            found => Err(Failure::FromTheFuture {
                found,
                known: SCHEMA,
            }),
        }
    }

    pub(super) async fn command<T: FromRedisValue>(&self, command: &Cmd) -> Result<T, Failure> {
        self.is_current()?;
        self.door.command(command).await
    }

    /// Asks the server that has `slot`.
    pub(super) async fn command_at<T: FromRedisValue>(
        &self,
        command: &Cmd,
        slot: u16,
    ) -> Result<T, Failure> {
        self.is_current()?;
        self.door.ask(Question::At(command, slot)).await
    }

    /// Where a script tells of changes at `place`: in the log, or, since that may lie on another
    /// server of a cluster, in the outbox of the bucket.
    pub(super) fn told(&self, place: &Place) -> String {
        if self.is_cluster() {
            place.outbox.clone()
        } else {
            self.keys.single("log")
        }
    }

    /// Carries a change from the outbox to the log. What fails here is found by whoever tidies up:
    /// the write itself has been done.
    pub(super) async fn tell(&self, place: &Place, answer: &Answer) {
        if !answer.is_change() {
            return;
        }
        if self.is_cluster() && !answer.place.is_empty() {
            let told = self.carry(&place.outbox, &answer.place, &place.name).await;
            if let Err(failure) = told {
                tracing::debug!(?failure, "a change waits in its outbox");
            }
        }
        // It is heard of in a moment otherwise.
        if !self.listening.load(Ordering::Relaxed) {
            self.hearsay.forget();
            self.changed.notify_waiters();
        }
    }

    /// Tells in the log what stands in `outbox` at `at`, then crosses it out there. Ending in between
    /// tells it twice.
    pub(super) async fn carry(&self, outbox: &str, at: &str, name: &str) -> Result<(), Failure> {
        let mut call = scripts::TELL.prepare_invoke();
        call.key(self.keys.single("log"))
            .arg(self.keys.channel())
            .arg(self.kept())
            .arg(name)
            .arg(u8::from(at.starts_with('a')));
        let () = self.ask(&call).await?;
        self.command(redis::cmd("HDEL").arg(outbox).arg(at)).await
    }

    /// One more than promised: the entry that a cursor stands on has to be there.
    fn kept(&self) -> u64 {
        u64::from(self.options.keep_changes).saturating_add(1)
    }
}

// === impl Answer ===

impl Answer {
    pub(super) fn read(value: Value) -> Result<Self, Failure> {
        let (word, row, place) = redis::from_redis_value(value)?;
        Ok(Self { word, row, place })
    }

    fn is_change(&self) -> bool {
        ["created", "replaced", "removed", "stored", "written"].contains(&self.word.as_str())
    }
}
