//! Words and bounds of how the device's time is shared.

use serde::{Deserialize, Serialize};
use std::ops::RangeInclusive;

/// By which rule the device's time is shared.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
pub enum Mode {
    /// Long slices, most throughput.
    #[default]
    ExclusiveThroughput,
    /// Short slices, by backlog and priority.
    CooperativeFairshare,
}

impl Mode {
    /// All.
    pub const ALL: [Self; 2] = [Self::ExclusiveThroughput, Self::CooperativeFairshare];

    /// Its name for people: in the configuration, on the bus, in the journal.
    pub const fn name(self) -> &'static str {
        match self {
            Self::ExclusiveThroughput => "exclusive-throughput",
            Self::CooperativeFairshare => "cooperative-fairshare",
        }
    }
}

/// Weights of a session among those of its user, and of a user among users: device time goes by their ratio.
pub const WEIGHTS: RangeInclusive<u16> = 1..=10_000;
/// The weight of whom nobody gave another.
pub const DEFAULT_WEIGHT: u16 = 100;
/// Caps, percent of the device's time.
pub const CAPS: RangeInclusive<u8> = 1..=100;
/// The cap that is none.
pub const NO_CAP: u8 = 100;
/// Budgets and periods of [`crate::message::Priority::Realtime`], microseconds.
pub const REALTIME_US: RangeInclusive<u32> = 1_000..=10_000_000;
