//! What was counted in the last half hour, as bars.
//!
//! The bars are in whole units of a box of [`WIDTH`] by [`HEIGHT`], which the page stretches to its
//! place. What failed stands on what went well, in another colour, and is said in words, too.

use std::time::Duration;

use crate::admin::history::{MAX_SAMPLES, SAMPLE_EVERY, Split, Totals};

/// How many readings make a bar.
const READINGS: usize = 3;

/// How many bars there are: those of half an hour.
const BARS: usize = (MAX_SAMPLES - 1) / READINGS;

/// How long a bar is in time, in seconds.
const SECS: u64 = SAMPLE_EVERY.as_secs() * READINGS as u64;

const STEP: usize = 60;
/// The width of a bar.
pub(super) const BAR: usize = 46;

/// The width of the box.
pub(super) const WIDTH: usize = BARS * STEP;
/// The height of the box.
pub(super) const HEIGHT: u64 = 640;

/// A chart.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Chart {
    pub(super) bars: Vec<Bar>,
    /// In the half hour.
    pub(super) total: u64,
    /// Of these.
    pub(super) failed: u64,
    /// The highest bar, as a rate.
    pub(super) most: String,
    /// The last bar that is whole, as a rate.
    pub(super) now: String,
}

/// A rectangle.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Bar {
    pub(super) x: usize,
    pub(super) y: u64,
    pub(super) height: u64,
    pub(super) is_failed: bool,
}

/// So many in such a time.
#[derive(Clone, Copy, Debug)]
struct Rate {
    count: u64,
    secs: u64,
}

/// In how long a rate counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Per {
    Second,
    Minute,
}

// === impl Chart ===

impl Chart {
    /// The bars of what `pick` finds in `samples`, of which the last is now, and `age` after the one
    /// before.
    pub(super) fn of(
        samples: &[Totals],
        age: Duration,
        per: Per,
        pick: impl Fn(&Totals) -> Split,
    ) -> Self {
        let steps: Vec<Split> = samples
            .iter()
            .zip(samples.iter().skip(1))
            .map(|(earlier, later)| pick(later).since(pick(earlier)))
            .collect();
        // From now backwards, so that the last bar always ends now.
        let counts: Vec<Split> = steps
            .rchunks(READINGS)
            .take(BARS)
            .map(|steps| Split {
                fine: steps.iter().map(|step| step.fine).sum(),
                failed: steps.iter().map(|step| step.failed).sum(),
            })
            .collect();
        let most = counts.iter().map(|count| count.all()).max().unwrap_or(0);
        // The last bar is about a time that is not over.
        let whole = steps.len().clamp(1, READINGS) as u64 - 1;
        let last = Rate {
            count: counts.first().map_or(0, |count| count.all()),
            secs: (whole * SAMPLE_EVERY.as_secs() + age.as_secs()).max(1),
        };
        let rates = counts.iter().skip(1).map(|count| Rate {
            count: count.all(),
            secs: SECS,
        });
        let highest = rates.chain([last]).max_by_key(|rate| per.tenths(*rate));
        let bars = counts.iter().enumerate().flat_map(|(age, count)| {
            let x = (BARS - 1 - age) * STEP + (STEP - BAR) / 2;
            bars(x, *count, most)
        });
        Self {
            bars: bars.collect(),
            total: counts.iter().map(|count| count.all()).sum(),
            failed: counts.iter().map(|count| count.failed).sum(),
            most: per.told(highest.unwrap_or(last)),
            now: per.told(last),
        }
    }
}

/// The rectangles of one bar.
fn bars(x: usize, count: Split, most: u64) -> Vec<Bar> {
    // What is there at all is to be seen.
    let height = |count: u64| match count {
        0 => 0,
        _ => (count.saturating_mul(HEIGHT - 40) / most.max(1)).max(12),
    };
    let (fine, failed) = (height(count.fine), height(count.failed));
    let bar = |height: u64, below: u64, is_failed| Bar {
        x,
        y: HEIGHT.saturating_sub(below + height),
        height,
        is_failed,
    };
    let both = [bar(fine, 0, false), bar(failed, fine, true)];
    both.into_iter().filter(|bar| bar.height > 0).collect()
}

// === impl Per ===

impl Per {
    fn tenths(self, rate: Rate) -> u64 {
        let factor = match self {
            Self::Second => 10,
            Self::Minute => 600,
        };
        rate.count.saturating_mul(factor) / rate.secs
    }

    /// With one digit behind the point below ten.
    fn told(self, rate: Rate) -> String {
        let (tenths, count) = (self.tenths(rate), rate.count);
        let unit = match self {
            Self::Second => "s",
            Self::Minute => "min",
        };
        match tenths {
            100.. => format!("{}/{unit}", tenths / 10),
            0 if count > 0 => format!("<0.1/{unit}"),
            _ if tenths % 10 == 0 => format!("{}/{unit}", tenths / 10),
            _ => format!("{}.{}/{unit}", tenths / 10, tenths % 10),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn totals(fine: u64, failed: u64) -> Totals {
        Totals {
            requests: Split { fine, failed },
            ..Totals::default()
        }
    }

    fn chart(samples: &[Totals]) -> Chart {
        let age = SAMPLE_EVERY;
        Chart::of(samples, age, Per::Second, |totals| totals.requests)
    }

    #[test]
    fn the_last_bar_is_now_and_at_the_right() {
        let mut samples = vec![totals(0, 0); 4];
        samples.push(totals(60, 0));
        let chart = chart(&samples);
        assert_eq!((chart.total, chart.failed), (60, 0));
        assert_eq!((chart.now.as_str(), chart.most.as_str()), ("2/s", "2/s"));
        let [bar] = chart.bars[..] else {
            panic!("{chart:?}")
        };
        assert_eq!(bar.x + BAR + (STEP - BAR) / 2, WIDTH);
        assert_eq!(bar.y + bar.height, HEIGHT);
    }

    #[test]
    fn every_bar_is_within_the_box_and_failures_are_seen() {
        let mut samples: Vec<_> = (0..500_u64)
            .map(|n| totals(n * n * 1000, n / 100))
            .collect();
        samples.push(totals(u64::MAX / 1000, 6));
        let chart = chart(&samples);
        assert!(chart.bars.iter().any(|bar| bar.is_failed));
        for bar in &chart.bars {
            assert!(bar.x + BAR <= WIDTH, "{bar:?}");
            assert!(bar.y + bar.height <= HEIGHT && bar.height > 0, "{bar:?}");
        }
    }

    #[test]
    fn a_rate_is_of_the_time_that_went_by() {
        let samples = [totals(0, 0), totals(40, 0)];
        let age = Duration::from_secs(4);
        let chart = Chart::of(&samples, age, Per::Second, |totals| totals.requests);
        assert_eq!((chart.now.as_str(), chart.most.as_str()), ("10/s", "10/s"));
    }

    #[test]
    fn nothing_is_no_bar() {
        for samples in [vec![], vec![totals(9, 9)], vec![totals(9, 9); 200]] {
            let chart = chart(&samples);
            assert_eq!((chart.bars.len(), chart.total), (0, 0));
            assert_eq!(chart.now, "0/s");
        }
    }

    #[test]
    fn rates_are_short() {
        for (count, told) in [
            (0, "0/min"),
            (1, "2/min"),
            (5, "10/min"),
            (1500, "3000/min"),
        ] {
            assert_eq!(Per::Minute.told(Rate { count, secs: SECS }), told);
        }
        for (count, told) in [(1, "<0.1/s"), (3, "0.1/s"), (45, "1.5/s"), (3000, "100/s")] {
            assert_eq!(Per::Second.told(Rate { count, secs: SECS }), told);
        }
    }
}
