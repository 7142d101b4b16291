//! What administrators decide: shares, modes, and what REALTIME may take.

use std::time::Duration;
use vkmps_protocol::share::Mode;

/// What one client or user may have of the device's time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Share {
    /// Among those who want the device at the same time; 1 to 10 000.
    pub weight: u16,
    /// At most so many percent of the device's time, 1 to 100: a duty cycle, however idle the device is.
    pub cap: Option<u8>,
    /// At least so many percent, whatever others' weights and priorities; of users only.
    pub reserve: u8,
}

/// How much of the device's time a user's REALTIME clients may have together before they run as HIGH.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Realtime {
    /// Time of the device.
    pub budget: Duration,
    /// In so long.
    pub period: Duration,
}

/// What holds for everybody.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Policy {
    /// How long slices are.
    pub mode: Mode,
    /// None: without limit.
    pub realtime: Option<Realtime>,
}

/// How long pieces of work may be: what the device's cost of a launch makes worth while.
#[derive(Debug, Clone, Copy)]
pub struct Slices {
    /// While somebody of a higher priority is there; two of these are what they may have to wait for.
    pub below_others: Duration,
    /// Among clients of one priority, [`Mode::ExclusiveThroughput`]; of clients with a cap in any case.
    pub exclusive: Duration,
    /// Among clients of one priority, [`Mode::CooperativeFairshare`].
    pub cooperative: Duration,
}

impl Default for Share {
    fn default() -> Self {
        Self {
            weight: 100,
            cap: None,
            reserve: 0,
        }
    }
}
