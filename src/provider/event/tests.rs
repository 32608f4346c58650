//! For whom an event is, in every combination of what it names and how it came.

use super::*;

const ME: &str = "me";
const OTHER: &str = "other";

fn account(id: Option<&str>) -> Account {
    Account {
        external_id: id.map(ToOwned::to_owned),
        ..Account::default()
    }
}

fn event(subscriber: Option<&str>, about: About, meeting: Option<&str>) -> Event {
    Event {
        name: "x".to_owned(),
        occurred_at: None,
        key: EventKey([0; 32]),
        names: Names {
            subscriber: subscriber.map(ToOwned::to_owned),
            about,
        },
        meeting_id: meeting.map(ToOwned::to_owned),
        meeting: None,
    }
}

fn accounts(ids: &[&str]) -> About {
    About::Accounts(ids.iter().map(|id| (*id).to_owned()).collect())
}

fn to(ids: &[&str]) -> Addressees {
    Addressees::Accounts(ids.iter().map(|id| (*id).to_owned()).collect())
}

fn abouts() -> Vec<About> {
    vec![
        accounts(&[]),
        accounts(&[ME]),
        accounts(&[OTHER]),
        accounts(&[OTHER, ME]),
        About::Address("a@example.org".to_owned()),
        About::Hosts,
        About::Nobody,
    ]
}

/// W8 of the regressions: whoever subscribed for an organization is not taken for the host.
#[test]
fn in_a_subscription_for_many_only_the_hosts_decide_never_who_subscribed() {
    for coverage in [Coverage::Organization, Coverage::Group, Coverage::Client] {
        for creator in [None, Some(ME), Some(OTHER)] {
            for subscriber in [None, Some(account(None)), Some(account(Some(ME)))] {
                let for_whom = |about: About| {
                    let event = event(creator, about, Some("meeting"));
                    event.addressees(coverage, subscriber.as_ref())
                };
                assert_eq!(for_whom(accounts(&[OTHER])), to(&[OTHER]));
                assert_eq!(for_whom(accounts(&[OTHER, ME])), to(&[OTHER, ME]));
                assert_eq!(
                    for_whom(accounts(&[])),
                    to(&[]),
                    "no host is a normal answer"
                );
                let hosts = Addressees::HostsOf("meeting".to_owned());
                assert_eq!(for_whom(About::Hosts), hosts);
                let address = "a@example.org".to_owned();
                assert_eq!(
                    for_whom(About::Address(address.clone())),
                    Addressees::Address(address)
                );
            }
        }
    }
}

#[test]
fn what_names_nobody_is_for_whoever_subscribed() {
    for coverage in [
        Coverage::User,
        Coverage::Organization,
        Coverage::Group,
        Coverage::Client,
    ] {
        for subscriber in [None, Some(account(Some(ME)))] {
            let event = event(None, About::Nobody, None);
            let for_whom = event.addressees(coverage, subscriber.as_ref());
            assert_eq!(for_whom, Addressees::Subscriber);
        }
    }
}

#[test]
fn hosts_that_nothing_leads_to_are_nobody() {
    let event = event(None, About::Hosts, None);
    let for_whom = event.addressees(Coverage::Organization, None);
    assert_eq!(for_whom, Addressees::Nobody);
}

#[test]
fn a_subscription_of_one_user_reaches_that_users_account_and_no_other() {
    let me = account(Some(ME));
    for about in abouts() {
        for creator in [None, Some(ME), Some(OTHER)] {
            let event = event(creator, about.clone(), Some("meeting"));
            let for_whom = event.addressees(Coverage::User, Some(&me));
            let names_somebody =
                creator.is_some() || matches!(&about, About::Accounts(ids) if !ids.is_empty());
            let names_me = match (creator, &about) {
                (Some(creator), _) => creator == ME,
                (None, About::Accounts(ids)) => ids.iter().any(|id| id == ME),
                _ => false,
            };
            let expected = match (names_somebody, names_me) {
                (false, _) => Addressees::Subscriber,
                (true, true) => to(&[ME]),
                (true, false) => Addressees::Nobody,
            };
            assert_eq!(for_whom, expected, "{creator:?} {about:?}");
        }
    }
}

#[test]
fn while_the_account_is_not_known_the_address_decides_alone() {
    let unknown = account(None);
    for about in abouts() {
        for creator in [None, Some(ME)] {
            let event = event(creator, about.clone(), Some("meeting"));
            let for_whom = event.addressees(Coverage::User, Some(&unknown));
            assert_eq!(for_whom, Addressees::Subscriber, "{creator:?} {about:?}");
        }
    }
}

#[test]
fn a_managed_user_is_known_by_its_number() {
    let managed = Account {
        managed_user_id: Some(42),
        ..Account::default()
    };
    let for_whom = |id| {
        let event = event(None, accounts(&[id]), None);
        event.addressees(Coverage::User, Some(&managed))
    };
    assert_eq!(for_whom("42"), to(&["42"]));
    assert_eq!(for_whom("43"), Addressees::Nobody);
}

#[test]
fn on_the_shared_address_a_users_event_goes_to_whom_it_names() {
    let for_whom = |creator, about, meeting| {
        let event = event(creator, about, meeting);
        event.addressees(Coverage::User, None)
    };
    // Calendly: whoever subscribed for themselves, although others host too.
    assert_eq!(for_whom(Some(ME), accounts(&[OTHER, ME]), None), to(&[ME]));
    assert_eq!(for_whom(Some(ME), About::Nobody, None), to(&[ME]));
    // Cal.com.
    assert_eq!(for_whom(None, accounts(&[OTHER]), None), to(&[OTHER]));
    let address = About::Address("a@example.org".to_owned());
    let expected = Addressees::Address("a@example.org".to_owned());
    assert_eq!(for_whom(None, address, None), expected);
    let expected = Addressees::HostsOf("m".to_owned());
    assert_eq!(for_whom(None, About::Hosts, Some("m")), expected);
    assert_eq!(for_whom(None, About::Hosts, None), Addressees::Nobody);
    assert_eq!(for_whom(None, accounts(&[]), None), to(&[]));
}

#[test]
fn nothing_personal_is_printed() {
    let address = "sentinel@example.org";
    let event = event(None, About::Address(address.to_owned()), None);
    let for_whom = event.addressees(Coverage::Client, None);
    let printed = format!("{event:?} {:?} {for_whom:?}", event.names);
    assert!(!printed.contains("sentinel"), "{printed}");
}
