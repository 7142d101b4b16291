//! Keeping a lane that others precede from starving.

use std::time::Duration;

/// How long a lane was passed over.
#[derive(Debug, Default, Clone, Copy)]
pub(crate) struct Ageing {
    since: Option<Duration>,
    /// When it is next to have a level although others come first.
    due: Duration,
}

impl Ageing {
    /// Its work was passed over for so long that it comes first.
    pub(crate) fn is_due(&self, now: Duration) -> bool {
        self.since
            .is_some_and(|since| now >= self.due.max(since + AGE))
    }

    pub(crate) fn passed_over(&mut self, has_work: bool, now: Duration) {
        self.since = match has_work {
            true => self.since.or(Some(now)),
            false => None,
        };
    }

    /// However long its work is, it has no more than a small part of the time while others come first.
    pub(crate) fn served(&mut self, cost: Duration, aged: bool, now: Duration) {
        if aged {
            self.due = now + cost * FLOOR_PART;
        } else {
            self.since = None;
        }
    }
}

/// A lane that was passed over for so long comes first, once.
const AGE: Duration = Duration::from_millis(20);
/// A lane that others precede has one part of so many for sure.
const FLOOR_PART: u32 = 20;
