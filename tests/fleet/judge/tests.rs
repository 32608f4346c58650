//! That the judge would notice: chronicles in which one thing is wrong, beside those in which it is
//! explained.

use super::*;
use crate::chronicle::{Answer, ApiCall, Death, Fault, Who};

const RULES: Rules = Rules {
    lease: 3_000,
    timeout: 1_500,
    lifetime: 6_000,
};

const ONE: Who = Who { place: 1, life: 1 };
const TWO: Who = Who { place: 2, life: 1 };

/// When the first call is made.
const T: Millis = 1_000_000;

fn sending(who: Who, token: &str, at: Millis) -> Sending {
    Sending {
        who,
        token: token.to_owned(),
        at,
        answer: None,
        delivered: None,
        ended: Some(at + 20),
    }
}

fn answered(mut call: Sending, minted: &str) -> Sending {
    call.answer = Some(Answer {
        minted: Some(minted.to_owned()),
    });
    call.delivered = call.ended;
    call
}

fn accepted(token: &str, minted: &str, at: Millis) -> Accepted {
    Accepted {
        user: "calendly/anna".to_owned(),
        token: token.to_owned(),
        minted: minted.to_owned(),
        at,
        spoiled: false,
    }
}

fn stored(token: &str, marked: Option<&str>, at: Millis) -> Stored {
    Stored {
        user: "calendly/anna".to_owned(),
        token: token.to_owned(),
        marked: marked.map(ToOwned::to_owned),
        at,
    }
}

fn fault(part: Part, what: &'static str, from: Millis, until: Millis) -> Fault {
    Fault {
        part,
        what,
        from,
        until,
    }
}

/// A token `a` that was accepted from the first process, which has had the answer and stored it.
fn good() -> Events {
    Events {
        sendings: vec![answered(sending(ONE, "a", T), "b")],
        accepted: vec![accepted("a", "b", T + 5)],
        stored: vec![stored("a", None, T - 9_000), stored("b", None, T + 60)],
        ..Events::default()
    }
}

fn complaint(events: &Events) -> String {
    let verdict = Judge::new(events, RULES).all();
    assert_eq!(verdict.violations.len(), 1, "{verdict:?}");
    verdict.violations.into_iter().next().unwrap().what
}

fn explanation(events: &Events) -> Vec<String> {
    let verdict = Judge::new(events, RULES).all();
    assert_eq!(verdict.violations, Vec::new());
    verdict.again.into_keys().collect()
}

fn lost(events: &Events, reason: &str) -> Result<String, String> {
    Judge::new(events, RULES).lost(&stored("a", Some(reason), T + 9_000))
}

#[test]
fn a_renewal_like_any_other_is_fine() {
    assert_eq!(explanation(&good()), Vec::<String>::new());
}

#[test]
fn who_has_had_the_answer_must_not_send_the_spent_token() {
    let mut events = good();
    events.stored.pop();
    events.sendings.push(sending(ONE, "a", T + 400));
    // Whatever else goes wrong.
    events
        .faults
        .push(fault(Part::Store, "store killed", T, T + 900));
    assert!(complaint(&events).contains("although it had the answer"));
}

#[test]
fn nobody_must_send_what_the_store_has_gone_on_from() {
    let mut events = good();
    events.sendings.push(sending(TWO, "a", T + 5_000));
    events
        .faults
        .push(fault(Part::Process(1), "process killed", T, T + 900));
    assert!(complaint(&events).contains("the store had gone on"));
    // Between its last look at the clock and the wire, a process may stand still.
    let stop = fault(Part::Process(2), STOPPED, T + 300, T + 4_990);
    events.faults.push(stop);
    assert_eq!(explanation(&events), ["process killed"]);
}

#[test]
fn a_spent_token_is_sent_again_only_if_a_fault_explains_it() {
    let mut events = good();
    events.stored.pop();
    events.sendings.push(sending(TWO, "a", T + 3_500));
    assert!(complaint(&events).contains("nothing kept it from storing"));
    let mut of_somebody_else = events.clone();
    let elsewhere = fault(Part::WayToStore(2), "way broken", T, T + 900);
    of_somebody_else.faults.push(elsewhere);
    assert!(complaint(&of_somebody_else).contains("nothing kept it from storing"));
    events
        .faults
        .push(fault(Part::WayToStore(1), "way broken", T, T + 900));
    assert_eq!(explanation(&events), ["way broken"]);
}

#[test]
fn an_answer_is_not_lost_by_itself() {
    let mut events = good();
    events.stored.pop();
    events.sendings[0] = sending(ONE, "a", T);
    events.sendings.push(sending(TWO, "a", T + 3_500));
    assert!(complaint(&events).contains("nothing kept the answer from arriving"));
    let mut spoiled = events.clone();
    spoiled.accepted[0].spoiled = true;
    assert_eq!(
        explanation(&spoiled),
        ["answer lost or spoiled by the provider"]
    );
    events
        .faults
        .push(fault(Part::WayToProvider(1), "way broken", T, T + 50));
    assert_eq!(explanation(&events), ["way broken"]);
    for (part, what) in [
        (Part::WayToProvider(2), "way broken"),
        (Part::Process(1), STOPPED),
        (Part::Provider, "access token revoked"),
        (Part::Store, "store killed"),
    ] {
        events.faults = vec![fault(part, what, T, T + 50)];
        assert!(complaint(&events).contains("nothing kept the answer from arriving"));
    }
}

#[test]
fn an_answer_that_lay_there_while_the_process_stood_still_counts_as_had() {
    let mut events = good();
    events.stored.pop();
    events.sendings[0].delivered = Some(T + 3_000);
    events
        .faults
        .push(fault(Part::Process(1), STOPPED, T + 100, T + 8_000));
    events.sendings.push(sending(ONE, "a", T + 8_500));
    assert!(complaint(&events).contains("although it had the answer"));
}

#[test]
fn one_fault_explains_no_storm() {
    let mut events = good();
    events.stored.pop();
    events.accepted[0].spoiled = true;
    events.sendings[0] = sending(ONE, "a", T);
    for nth in 1..=3 {
        events.sendings.push(sending(TWO, "a", T + nth * 1_000));
    }
    assert!(complaint(&events).contains("sent 3 times"));
}

#[test]
fn two_must_not_send_one_token_at_once() {
    let mut events = Events {
        sendings: vec![sending(ONE, "a", T), sending(TWO, "a", T + 10)],
        ..Events::default()
    };
    assert!(complaint(&events).contains("is sending it"));
    events.sendings[1].at = T + 30;
    assert_eq!(explanation(&events), Vec::<String>::new());
    events.sendings[1].at = T + 10;
    events
        .faults
        .push(fault(Part::Store, "store killed", T - 9_000, T - 8_000));
    assert_eq!(explanation(&events), Vec::<String>::new());
}

#[test]
fn a_token_of_another_user_is_noticed_at_either_end() {
    let call = |bearer_of: Option<&str>| ApiCall {
        asked_as: "anna".to_owned(),
        bearer_of: bearer_of.map(ToOwned::to_owned),
    };
    let request = |served_as: &str| Request {
        user: "calendly/anna".to_owned(),
        who: ONE,
        from: T,
        until: T + 5,
        outcome: "200".to_owned(),
        served_as: Some(served_as.to_owned()),
        bearer: None,
    };
    let mut events = Events {
        api_calls: vec![call(Some("anna"))],
        requests: vec![request("calendly/anna")],
        ..Events::default()
    };
    assert_eq!(explanation(&events), Vec::<String>::new());
    for other in [None, Some("ben")] {
        events.api_calls[0] = call(other);
        assert!(complaint(&events).contains("another's token"));
    }
    events.api_calls.clear();
    events.requests[0] = request("calendly/ben");
    assert!(complaint(&events).contains("somebody else"));
}

#[test]
fn every_request_ends_and_no_valid_token_is_withheld() {
    let request = |at: Millis, outcome: &str| Request {
        user: "calendly/anna".to_owned(),
        who: ONE,
        from: at,
        until: at + 5,
        outcome: outcome.to_owned(),
        served_as: Some("calendly/anna".to_owned()),
        bearer: (outcome == "200").then(|| "t".to_owned()),
    };
    let mut events = Events {
        minted: [("t".to_owned(), T)].into(),
        requests: vec![request(T + 100, "200"), request(T + 3_000, "unanswered")],
        ..Events::default()
    };
    assert!(complaint(&events).contains("never answered"));
    events.requests[1] = request(T + 3_000, "503 refresh-failed");
    assert!(complaint(&events).contains("withheld"));
    // Short, or no longer what the provider takes.
    events.requests[1] = request(T + 4_500, "503 refresh-failed");
    assert_eq!(explanation(&events), Vec::<String>::new());
    events.requests[1] = request(T + 3_000, "503 refresh-failed");
    events.revoked.push(("calendly/anna".to_owned(), T + 1_000));
    assert_eq!(explanation(&events), Vec::<String>::new());
}

#[test]
fn a_connection_is_lost_only_with_its_answer_or_its_process() {
    let mut events = good();
    events.stored.pop();
    assert!(
        lost(&events, "lost-rotation")
            .unwrap_err()
            .contains("and lived")
    );
    assert!(
        lost(&events, "grant-refused")
            .unwrap_err()
            .contains("rotation was lost")
    );
    let mut never = events.clone();
    never.accepted.clear();
    assert!(
        lost(&never, "grant-refused")
            .unwrap_err()
            .contains("no provider had accepted")
    );
    let mut forgotten = events.clone();
    forgotten.stored.push(stored("b", None, T + 60));
    assert!(
        lost(&forgotten, "lost-rotation")
            .unwrap_err()
            .contains("has lost its successor")
    );
    let mut silent = events.clone();
    silent.sendings[0] = sending(ONE, "a", T);
    assert!(
        lost(&silent, "lost-rotation")
            .unwrap_err()
            .contains("nothing kept")
    );
    silent.accepted[0].spoiled = true;
    assert!(
        lost(&silent, "lost-rotation")
            .unwrap()
            .starts_with("answer lost")
    );
}

#[test]
fn a_process_loses_what_it_had_no_time_to_write_and_nothing_else() {
    let mut events = good();
    events.stored.pop();
    let death = |at, spooled: &[&str]| Death {
        who: ONE,
        at,
        spooled: spooled.iter().map(|&user| user.to_owned()).collect(),
    };
    events.deaths = vec![death(T + 40, &["calendly/anna"])];
    assert!(
        lost(&events, "lost-rotation")
            .unwrap_err()
            .contains("and lived")
    );
    events.deaths = vec![death(T + 9_000, &[])];
    assert!(
        lost(&events, "lost-rotation")
            .unwrap_err()
            .contains("ms to store")
    );
    // While the store does not answer there is the spool, sooner or later.
    events.faults = vec![fault(Part::Store, "store frozen", T, T + 9_000)];
    assert!(
        lost(&events, "lost-rotation")
            .unwrap_err()
            .contains("ms to store")
    );
    events.deaths = vec![death(T + 2_500, &[])];
    assert!(lost(&events, "lost-rotation").is_ok());
    events.faults.clear();
    events.deaths = vec![death(T + 40, &[])];
    assert!(
        lost(&events, "lost-rotation")
            .unwrap()
            .contains("two writes")
    );
}
