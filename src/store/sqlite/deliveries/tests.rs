//! What is asked often follows its indexes, however many rows there are.

use super::{
    super::{accounts, due, expiring, jobs, listing::plan, meetings},
    accepting, lines, listing, pruning,
};
use crate::{
    base::{
        clock::Timestamp,
        ids::{ProviderName, UserId},
    },
    store::{DeliveryFilter, DeliveryId, DeliveryStatus, MeetingCursor, MeetingFilter},
};

fn assert_searches(sql: &str, index: &str) {
    let plan = plan(sql);
    assert!(plan.contains(index), "{sql}\n{plan}");
    for step in plan.lines() {
        let fine = [
            "SEARCH",
            "LIST SUBQUERY",
            "SCALAR SUBQUERY",
            "SCAN CONSTANT ROW",
        ];
        let fine = fine.iter().any(|word| step.starts_with(word));
        assert!(fine, "{sql}\n{plan}");
    }
}

#[test]
fn claiming_reads_what_is_due_and_no_more() {
    assert_searches(lines::DUE, "lines_by_due (due_at<?)");
    assert_searches(lines::FIRST, "deliveries_in_line (user=?)");
    assert_searches(lines::FIRST_NUMBER, "deliveries_in_line (user=?)");
    assert_searches(jobs::DUE, "jobs_by_due (kind=? AND due_at<?)");
    assert_searches(due::LINES, "lines_by_since (since>?)");
    assert_searches(due::JOBS, "jobs_by_since (since>?)");
}

#[test]
fn accepting_and_adopting_look_in_one_place() {
    assert_searches(accepting::KNOWN, "(dedupe=?)");
    assert_searches(accepting::WAITING, "PRIMARY KEY (provider=? AND account=?)");
    assert_searches(accepting::FORGET_WAITING, "waiting_by_event (event=?)");
}

#[test]
fn accounts_are_found_by_their_indexes() {
    let plan = plan(accounts::OF_ACCOUNT);
    for index in [
        "connections_by_account (provider=? AND external_id=?)",
        "connections_by_managed_user (provider=? AND managed_user_id=?)",
    ] {
        assert!(plan.contains(index), "{plan}");
    }
    assert!(!plan.contains("SCAN connections"), "{plan}");
    assert_searches(
        accounts::UNIDENTIFIED,
        "connections_unidentified (provider=? AND user>?)",
    );
}

#[test]
fn what_is_old_is_found_by_its_age() {
    assert_searches(expiring::SWEEP, "expiring_by_end");
    assert_searches(meetings::PRUNE, "meetings_by_end (ends_at<?)");
    assert_searches(pruning::DELIVERED, "deliveries_delivered (at<?)");
    assert_searches(pruning::OTHERS, "deliveries_by_status (status=?)");
    assert_searches(pruning::IS_ALIVE, "(event=?)");
}

#[test]
fn pages_of_deliveries_start_at_their_place() {
    let before = Some(DeliveryId(9));
    let all = DeliveryFilter::default;
    let cases = [
        (all(), "USING INTEGER PRIMARY KEY (rowid<?)"),
        (
            DeliveryFilter {
                user: UserId::parse("anna").ok(),
                status: Some(DeliveryStatus::Dead),
                ..all()
            },
            "deliveries_by_user (user=? AND id<?)",
        ),
        (
            DeliveryFilter {
                status: Some(DeliveryStatus::Dead),
                provider: ProviderName::parse("calcom").ok(),
                ..all()
            },
            "deliveries_by_status (status=? AND id<?)",
        ),
    ];
    for (filter, index) in cases {
        let (sql, _parameters) = listing::page(&filter, before, 9);
        assert_searches(&sql, index);
    }
    let span = DeliveryFilter {
        since: Some(Timestamp::EPOCH),
        until: Some(Timestamp::EPOCH),
        ..all()
    };
    let plan = plan(&listing::page(&span, before, 9).0);
    let range = "deliveries_by_time (accepted_at>? AND accepted_at<?)";
    assert!(plan.contains(range), "{plan}");
}

#[test]
fn deliveries_are_counted_in_their_indexes() {
    let plan = plan(listing::TALLY);
    for index in ["deliveries_by_status", "deliveries_delivered"] {
        let covering = format!("USING COVERING INDEX {index}");
        assert!(plan.contains(&covering), "{plan}");
    }
}

#[test]
fn pages_of_meetings_start_at_their_place() {
    let filter = MeetingFilter {
        user: UserId::parse("anna").unwrap(),
        provider: None,
        from: None,
        until: None,
    };
    let after = MeetingCursor {
        starts_at: Timestamp::EPOCH,
        provider: ProviderName::parse("calcom").unwrap(),
        external_id: "1".to_owned(),
    };
    let (sql, _parameters) = meetings::page(&filter, Some(&after), 9);
    assert_searches(
        &sql,
        "meetings_by_time (user=? AND (starts_at,provider,external_id)>(?,?,?))",
    );
}
