//! What was allowed to happen: the invariants of `docs/refresh-protocol.md`, held against a chronicle.
//!
//! 1. *Spent twice.* A refresh token is sent again after a provider accepted it: by the process that
//!    has had the answer; long after the store had gone on to its successor; although the answer
//!    reached its process and nothing kept that from storing it; although nothing kept the answer from
//!    arriving; or more often than faults explain. Or two processes send it at once, and nothing had
//!    disturbed either.
//! 2. *Lost.* A connection is marked although its newest tokens had reached a process that lived, or
//!    for no reason that the chronicle knows.
//! 3. *Wrong.* A call carried another user's token.
//! 4. *Unanswered.* A request did not end.
//! 5. *Withheld.* A request was refused for want of a token by a process that had a valid one.
//!
//! Whatever a fault explains is counted by its name, and shown.

use std::collections::{BTreeMap, BTreeSet};

pub(crate) use verdict::{Kind, Verdict, Violation};

use crate::chronicle::{Accepted, Events, Millis, Part, Request, Sending, Stored};

/// What the fleet was told, in milliseconds.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Rules {
    pub(crate) lease: Millis,
    pub(crate) timeout: Millis,
    pub(crate) lifetime: Millis,
}

/// The store's clients give up after five seconds, so a fault of the store is felt for so long after
/// its end.
const FELT: Millis = 6_500;

/// Between two things that a busy machine may do late.
const SLACK: Millis = 500;

/// What faults are called that mean more than that they happened.
pub(crate) const STOPPED: &str = "process stopped";
pub(crate) const SLOW: &str = "providers slow";

/// The case of one chronicle.
pub(crate) struct Judge<'e> {
    events: &'e Events,
    rules: Rules,
    pub(crate) verdict: Verdict,
}

// === impl Judge ===

impl<'e> Judge<'e> {
    pub(crate) fn new(events: &'e Events, rules: Rules) -> Self {
        Self {
            events,
            rules,
            verdict: Verdict::default(),
        }
    }

    /// Judges everything but lost connections, for which everything must have settled.
    pub(crate) fn all(mut self) -> Verdict {
        for accepted in &self.events.accepted {
            self.spent_twice(accepted);
        }
        self.at_once();
        self.requests();
        self.verdict
    }

    fn violate(&mut self, kind: Kind, what: String) {
        self.verdict.violations.push(Violation { kind, what });
    }

    /// Every call that carried `accepted` after it was accepted has an explanation.
    fn spent_twice(&mut self, accepted: &Accepted) {
        let Some(first) = self.acceptor(accepted) else {
            // Sent before the chronicle began, or by a process whose way had no witness.
            return self.violate(
                Kind::SpentTwice,
                format!("nobody was seen to send {}", of(accepted)),
            );
        };
        let again: Vec<_> = self
            .events
            .sendings
            .iter()
            .filter(|call| call.token == accepted.token && call.at > accepted.at)
            .filter(|call| (call.who, call.at) != (first.who, first.at))
            .collect();
        for call in &again {
            match self.explained(accepted, first, call) {
                Ok(why) => *self.verdict.again.entry(why).or_default() += 1,
                Err(wrong) => self.violate(
                    Kind::SpentTwice,
                    format!(
                        "{:?} sends {} again, {wrong}; it was accepted from {:?} {} ms before",
                        call.who,
                        of(accepted),
                        first.who,
                        call.at - accepted.at,
                    ),
                ),
            }
        }
        let Some(last) = again.last() else { return };
        let senders = self.events.sendings.iter();
        let places: BTreeSet<_> = senders
            .filter(|call| call.token == accepted.token)
            .map(|call| call.who.place)
            .collect();
        let mishaps = self.mishaps(&places, accepted.at - self.rules.lease, last.at);
        if again.len() > 1 + mishaps {
            self.violate(Kind::SpentTwice, format!(
                "{} was sent {} times after it was accepted, and {mishaps} faults explain no more \
                 than that many and one",
                of(accepted),
                again.len(),
            ));
        }
    }

    /// The call that the provider accepted.
    fn acceptor(&self, accepted: &Accepted) -> Option<&'e Sending> {
        let calls = || {
            let calls = self.events.sendings.iter();
            calls.filter(|call| call.token == accepted.token && call.at <= accepted.at)
        };
        let has_answer = |call: &&Sending| {
            let minted = call
                .answer
                .as_ref()
                .and_then(|answer| answer.minted.as_ref());
            minted == Some(&accepted.minted)
        };
        calls().find(has_answer).or_else(|| calls().next_back())
    }

    /// Whether the answer reached its process within the time in which it listens.
    fn got(&self, accepted: &Accepted, call: &Sending) -> Option<Millis> {
        let answer = call.answer.as_ref()?;
        let delivered = call.delivered?;
        let took = delivered - call.at - self.stopped(call.who.place, call.at, delivered);
        let in_time = took < self.rules.timeout - SLACK / 2;
        (answer.minted.as_ref() == Some(&accepted.minted) && in_time).then_some(delivered)
    }

    fn explained(
        &self,
        accepted: &Accepted,
        first: &Sending,
        again: &Sending,
    ) -> Result<String, &'static str> {
        let got = self.got(accepted, first);
        if got.is_some() && again.who == first.who {
            return Err("although it had the answer");
        }
        // A process begins with what the store holds, and sends within a third of the lease.
        let young = self.rules.lease / 3 + SLACK;
        let stood_still = self.stopped(again.who.place, again.at - young, again.at) > 0;
        if let Some(gone_on) = self.gone_on(accepted)
            && gone_on + young < again.at
            && !stood_still
        {
            return Err("although the store had gone on");
        }
        match got {
            Some(_) => self
                .kept_from_storing(first, again.at)
                .ok_or("although another had the answer and nothing kept it from storing that"),
            None => self
                .kept_from_arriving(accepted, first)
                .ok_or("although nothing kept the answer from arriving"),
        }
    }

    /// When the store was first seen to hold another token than `accepted`.
    fn gone_on(&self, accepted: &Accepted) -> Option<Millis> {
        let mut states = self.events.stored.iter().filter(|state| {
            state.user == accepted.user && state.at > accepted.at && state.token != accepted.token
        });
        states.next().map(|state| state.at)
    }

    /// What kept the process that had the answer from storing it, until then.
    fn kept_from_storing(&self, call: &Sending, until: Millis) -> Option<String> {
        let place = call.who.place;
        let died = self.death(call, until).map(|_| "process killed".to_owned());
        died.or_else(|| {
            self.fault(
                &[Part::Process(place), Part::WayToStore(place), Part::Store],
                call.at - self.rules.lease,
                until,
            )
        })
    }

    /// What kept the answer to `call` from arriving. Standing still is no reason: what came meanwhile is
    /// there when the process goes on.
    fn kept_from_arriving(&self, accepted: &Accepted, call: &Sending) -> Option<String> {
        let place = call.who.place;
        let patience = self.rules.timeout + self.stopped(place, call.at, call.at + 60_000);
        let until = call.at + patience + SLACK;
        if self.death(call, until).is_some() {
            return Some("process killed".to_owned());
        }
        let unreadable = call
            .answer
            .as_ref()
            .is_some_and(|answer| answer.minted.is_none());
        if accepted.spoiled || unreadable {
            return Some("answer lost or spoiled by the provider".to_owned());
        }
        let between = call.at - SLACK..=until;
        let mut faults = self.events.faults.iter();
        let found = faults.find(|fault| {
            let hinders = fault.part == Part::WayToProvider(place) || fault.what == SLOW;
            hinders && fault.from <= *between.end() && fault.until >= *between.start()
        });
        let late = call.delivered.map(|_late| "answer late by itself");
        found
            .map(|fault| fault.what)
            .or(late)
            .map(ToOwned::to_owned)
    }

    fn death(&self, call: &Sending, until: Millis) -> Option<&'e crate::chronicle::Death> {
        let mut deaths = self.events.deaths.iter();
        deaths.find(|death| death.who == call.who && (call.at - SLACK..=until).contains(&death.at))
    }

    /// The first fault of one of `parts` that was felt between the two times.
    fn fault(&self, parts: &[Part], from: Millis, until: Millis) -> Option<String> {
        let mut faults = self.events.faults.iter();
        let found = faults.find(|fault| {
            parts.contains(&fault.part) && fault.from <= until && fault.until + FELT >= from
        });
        found.map(|fault| fault.what.to_owned())
    }

    /// For how long the process at `place` stood still between the two times.
    fn stopped(&self, place: usize, from: Millis, until: Millis) -> Millis {
        let stops =
            self.events.faults.iter().filter(|fault| {
                fault.part == Part::Process(place) && fault.what == "process stopped"
            });
        stops
            .map(|fault| (fault.until.min(until) - fault.from.max(from)).max(0))
            .sum()
    }

    fn mishaps(&self, places: &BTreeSet<usize>, from: Millis, until: Millis) -> usize {
        let concerns = |part: &Part| match part {
            Part::Store | Part::Provider => true,
            Part::Process(place) | Part::WayToStore(place) | Part::WayToProvider(place) => {
                places.contains(place)
            }
        };
        let faults = self.events.faults.iter();
        faults
            .filter(|fault| concerns(&fault.part))
            .filter(|fault| fault.from <= until && fault.until + FELT >= from)
            .count()
    }

    /// Nobody sends what somebody else is sending, if nothing had disturbed either.
    fn at_once(&mut self) {
        let mut by_token: BTreeMap<&str, Vec<&Sending>> = BTreeMap::new();
        for call in &self.events.sendings {
            by_token.entry(&call.token).or_default().push(call);
        }
        for calls in by_token.into_values() {
            for (first, second) in calls.iter().zip(calls.iter().skip(1)) {
                let given_up = first.at + self.rules.timeout;
                let over = first
                    .delivered
                    .or(first.ended)
                    .unwrap_or(given_up)
                    .min(given_up);
                let disturbed = [first, second].into_iter().any(|call| {
                    let place = call.who.place;
                    let parts = [Part::Process(place), Part::WayToStore(place), Part::Store];
                    let since = call.at - self.rules.lease;
                    self.fault(&parts, since, second.at).is_some()
                });
                if second.at < over && !disturbed {
                    self.violate(
                        Kind::SpentTwice,
                        format!(
                            "{:?} sends {} while {:?} is sending it",
                            second.who, second.token, first.who
                        ),
                    );
                }
            }
        }
    }

    fn requests(&mut self) {
        for call in &self.events.api_calls {
            if call.bearer_of.as_deref() != Some(call.asked_as.as_str()) {
                self.violate(
                    Kind::Wrong,
                    format!("a call went out with another's token: {call:?}"),
                );
            }
        }
        for request in &self.events.requests {
            let is_wrong = request.outcome == "200"
                && request.served_as.as_deref() != Some(request.user.as_str());
            if is_wrong {
                self.violate(Kind::Wrong, format!("served as somebody else: {request:?}"));
            }
            if request.outcome == "unanswered" {
                self.violate(Kind::Unanswered, format!("never answered: {request:?}"));
            }
            if request.outcome.starts_with("503") && self.had_a_valid_token(request) {
                self.violate(
                    Kind::Withheld,
                    format!("a valid token was withheld: {request:?}"),
                );
            }
        }
    }

    /// Whether the process had served this user with a token that was still good.
    fn had_a_valid_token(&self, request: &Request) -> bool {
        let before = self.events.requests.iter().rev().find(|other| {
            other.who == request.who
                && other.user == request.user
                && other.until < request.from
                && other.bearer.is_some()
        });
        let bearer = before.and_then(|served| served.bearer.as_ref());
        let Some(minted) = bearer.and_then(|bearer| self.events.minted.get(bearer)) else {
            return false;
        };
        let ended = |(user, at): &(String, Millis)| {
            *user == request.user && (*minted - SLACK..request.until + SLACK).contains(at)
        };
        let rotated = self.events.accepted.iter().any(|accepted| {
            accepted.user == request.user && accepted.at > *minted && accepted.at < request.until
        });
        let short = *minted + self.rules.lifetime - self.rules.lifetime / 4 - SLACK;
        request.until < short
            && !rotated
            && !self.events.revoked.iter().any(ended)
            && !self.events.reconnected.iter().any(ended)
    }

    /// Why a connection that is marked, now that everything has settled, had to be lost.
    pub(crate) fn lost(&self, mark: &Stored) -> Result<String, String> {
        let accepted = self.events.accepted.iter().rev();
        let Some(accepted) = accepted.clone().find(|one| one.token == mark.token) else {
            return Err(format!(
                "{mark:?}, although no provider had accepted its token"
            ));
        };
        if mark.marked.as_deref() != Some("lost-rotation") {
            return Err(format!("{mark:?}, although its rotation was lost"));
        }
        if self
            .events
            .stored
            .iter()
            .any(|state| state.token == accepted.minted)
        {
            return Err(format!("{mark:?}: the store has lost its successor"));
        }
        let Some(call) = self.acceptor(accepted) else {
            return Err(format!("{mark:?}: nobody was seen to send it"));
        };
        let Some(got) = self.got(accepted, call) else {
            let why = self.kept_from_arriving(accepted, call);
            return why.map(|why| format!("answer lost: {why}")).ok_or_else(|| {
                format!("{mark:?}: nothing kept the answer from arriving: {call:?}")
            });
        };
        let mut deaths = self.events.deaths.iter();
        let death = deaths.find(|death| death.who == call.who && death.at >= got - SLACK);
        let Some(death) = death.filter(|death| !death.spooled.contains(&mark.user)) else {
            return Err(format!(
                "{mark:?}: {:?} had its new tokens, and lived",
                call.who
            ));
        };
        let place = call.who.place;
        let parts = [Part::WayToStore(place), Part::Store];
        let hindered = self.fault(&parts, got, death.at).is_some();
        let ran = death.at - got - self.stopped(place, got, death.at);
        // A store that does not answer is given up on after a second; the spool is a file.
        let enough = if hindered { 3_000 } else { 2_000 };
        if ran > enough {
            return Err(format!(
                "{mark:?}: {:?} had {ran} ms to store its new tokens",
                call.who
            ));
        }
        Ok("process killed between the answer and its two writes".to_owned())
    }
}

/// How a token is called in complaints.
fn of(accepted: &Accepted) -> String {
    format!("{} of {}", accepted.token, accepted.user)
}

mod verdict;

mod tests;
