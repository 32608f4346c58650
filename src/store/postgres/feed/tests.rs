//! What a look, a notification and a write of one's own add up to.

use super::*;

fn noted(seq: i64, xid: i64, user: &str) -> Noted {
    Noted {
        seq,
        xid,
        key: ConnectionKey {
            provider: ProviderName::parse("calendly").unwrap(),
            user: UserId::parse(user).unwrap(),
        },
    }
}

/// A look at the log: everything from the horizon that is committed.
fn seen(xmin: i64, entries: &[Noted]) -> Seen {
    Seen {
        xmin,
        pruned: 0,
        pruning: 90,
        server: (1, 0),
        entries: entries.to_vec(),
    }
}

/// A feed whose first look found the oldest running transaction to be 100.
fn feed() -> Feed {
    let feed = Feed::new(4);
    feed.apply(seen(100, &[]));
    feed
}

/// The users told after `cursor`, which moves on; `None` if anything may have changed.
fn told(feed: &Feed, cursor: &mut Cursor) -> Option<Vec<String>> {
    let changes = feed.after(Some(*cursor));
    *cursor = changes.cursor;
    let users = changes.keys?.into_iter().map(|key| key.user.to_string());
    Some(users.collect())
}

fn users(names: &[&str]) -> Vec<String> {
    names.iter().map(|&name| name.to_owned()).collect()
}

#[test]
fn what_was_announced_is_not_told_again_by_the_look_that_finds_it() {
    let feed = feed();
    let mut at = feed.after(None).cursor;
    feed.tell(noted(1, 101, "anna"));
    feed.tell(noted(1, 101, "anna"));
    assert_eq!(told(&feed, &mut at), Some(users(&["anna"])));
    feed.apply(seen(102, &[noted(1, 101, "anna")]));
    feed.tell(noted(1, 101, "anna"));
    assert_eq!(told(&feed, &mut at), Some(users(&[])));
}

#[test]
fn an_entry_that_becomes_visible_after_a_later_one_is_told() {
    let feed = feed();
    let mut at = feed.after(None).cursor;
    // Transaction 100 holds number 1 and is still running.
    feed.apply(seen(100, &[noted(2, 101, "quick")]));
    assert_eq!(told(&feed, &mut at), Some(users(&["quick"])));
    feed.apply(seen(102, &[noted(1, 100, "slow"), noted(2, 101, "quick")]));
    assert_eq!(told(&feed, &mut at), Some(users(&["slow"])));
    assert!(
        feed.state.lock().told.is_empty(),
        "nothing is kept for ever"
    );
}

#[test]
fn what_cannot_be_known_is_admitted() {
    let complete = || seen(110, &[noted(1, 105, "anna")]);
    let pruned = Seen {
        pruned: 100,
        pruning: 101,
        ..complete()
    };
    let older = Seen {
        xmin: 99,
        ..complete()
    };
    let restarted = Seen {
        server: (2, 0),
        ..complete()
    };
    let cut = Seen {
        server: (1, 1),
        ..complete()
    };
    for doubtful in [pruned, older, restarted, cut] {
        let feed = feed();
        let mut at = feed.after(None).cursor;
        feed.apply(doubtful);
        assert_eq!(told(&feed, &mut at), None);
        assert_eq!(told(&feed, &mut at), Some(users(&[])));
    }
    let feed = feed();
    let mut at = feed.after(None).cursor;
    feed.state.lock().failed = true;
    feed.apply(complete());
    assert_eq!(told(&feed, &mut at), None);
    feed.apply(seen(111, &[noted(2, 110, "ben")]));
    assert_eq!(told(&feed, &mut at), Some(users(&["ben"])));
}

#[test]
fn no_more_is_kept_than_asked() {
    let feed = feed();
    let mut at = feed.after(None).cursor;
    for n in 1..=4 {
        feed.tell(noted(n, 100 + n, "anna"));
    }
    assert_eq!(told(&feed, &mut at.clone()), Some(users(&["anna"])));
    feed.tell(noted(5, 105, "ben"));
    assert_eq!(told(&feed, &mut at), None);
}

#[test]
fn an_announcement_reads_back() {
    let entry = noted(7, 1234, "a/b:c");
    assert_eq!(Noted::parse(&entry.line()), Some(entry));
    for other in ["", "7", "x y z", "7 1234 calendly a b", "7 1234 Cal a"] {
        assert_eq!(Noted::parse(other), None, "{other}");
    }
}
