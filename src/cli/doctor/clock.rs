//! The clocks of this machine, of the store and of the providers.
//!
//! Leases go by the store's clock. When tokens end is reckoned by this machine's; whoever reads them
//! elsewhere goes by another.

use async_trait::async_trait;

use super::{Check, Finding, Patient};
use crate::base::clock::Timestamp;

const NAME: &str = "clock";

/// Beyond this much, in milliseconds, it is told.
const NOTABLE: i64 = 5_000;

/// Beyond this much, tokens are used that have ended, whatever the provider grants.
const GRAVE: i64 = 30_000;

/// See the [module docs](self).
pub(super) struct Clock;

#[async_trait]
impl Check for Clock {
    async fn look(&self, patient: &Patient<'_>) -> Vec<Finding> {
        let survey = match &patient.opened {
            Ok(opened) => opened.survey.as_ref().ok().map(|survey| (opened, survey)),
            Err(_) => None,
        };
        let Some((opened, survey)) = survey else {
            let what = "not compared with the store's, which cannot be asked";
            return vec![Finding::ok(NAME, what)];
        };
        vec![match survey.clock {
            None => Finding::ok(NAME, "the store goes by this machine's"),
            Some(theirs) => judge(apart(opened.asked, theirs, opened.told)),
        }]
    }
}

/// How far `theirs`, which was told between `asked` and `told`, is from then, in milliseconds: ahead or,
/// if negative, behind.
pub(super) fn apart(asked: Timestamp, theirs: Timestamp, told: Timestamp) -> i64 {
    let (asked, theirs, told) = (asked.as_millis(), theirs.as_millis(), told.as_millis());
    if theirs < asked {
        theirs.saturating_sub(asked)
    } else {
        theirs.saturating_sub(told).max(0)
    }
}

fn judge(apart: i64) -> Finding {
    let secs = apart.unsigned_abs().div_ceil(1000);
    let what = match apart {
        0 => "this machine's and the store's agree".to_owned(),
        1.. => format!("this machine's is {secs} s behind the store's"),
        _ => format!("this machine's is {secs} s ahead of the store's"),
    };
    let (why, mend) = (
        "when tokens end is reckoned by this machine's clock: they are renewed too late or too early, \
         and sidecars on other machines disagree",
        "synchronise the clocks of both machines (NTP)",
    );
    match apart.saturating_abs() {
        ..NOTABLE => Finding::ok(NAME, what),
        NOTABLE..GRAVE => Finding::warning(NAME, what, why, mend),
        _ => Finding::error(NAME, what, why, mend),
    }
}

/// The same for the clock of the provider `at`, which tells whole seconds.
pub(super) fn judge_provider(at: &str, apart: i64) -> Finding {
    let secs = apart.unsigned_abs().div_ceil(1000);
    // A whole second that has begun is not ahead.
    let what = match apart {
        -1_000..=0 => format!("this machine's and that of {at} agree"),
        1.. => format!("this machine's is {secs} s behind that of {at}"),
        _ => format!("this machine's is {secs} s ahead of that of {at}"),
    };
    let (why, mend) = (
        "when a provider names a moment and not a span, tokens are renewed too late or too early; and \
         webhooks whose signature has a time are refused beyond webhooks.tolerance",
        "synchronise the clock of this machine (NTP)",
    );
    match apart.saturating_abs() {
        ..NOTABLE => Finding::ok(NAME, what),
        NOTABLE..GRAVE => Finding::warning(NAME, what, why, mend),
        _ => Finding::error(NAME, what, why, mend),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::doctor::Severity;

    fn seen(asked: i64, theirs: i64, told: i64) -> i64 {
        let at = Timestamp::from_millis;
        apart(at(asked), at(theirs), at(told))
    }

    #[test]
    fn what_was_told_while_it_was_asked_is_no_difference() {
        assert_eq!(seen(1_000, 1_000, 9_000), 0);
        assert_eq!(seen(1_000, 8_999, 9_000), 0);
        assert_eq!(seen(1_000, 12_000, 9_000), 3_000);
        assert_eq!(seen(1_000, 400, 9_000), -600);
    }

    #[test]
    fn the_further_they_are_apart_the_worse_it_is() {
        for (apart, severity) in [
            (0, Severity::Ok),
            (4_999, Severity::Ok),
            (5_000, Severity::Warning),
            (-5_000, Severity::Warning),
            (-30_000, Severity::Error),
            (i64::MIN, Severity::Error),
        ] {
            assert_eq!(judge(apart).severity, severity, "{apart}");
        }
        assert!(judge(-7_000).what.contains("7 s ahead"));
    }
}
