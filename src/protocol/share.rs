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

/// A percentage of the device's time as people write it: `50`, or `50.5` as NVIDIA's tools do. What is behind the point is cut
/// off, which makes it tighter.
pub fn percentage(text: &str) -> Option<u8> {
    let (whole, part) = text.split_once('.').unwrap_or((text, "0"));
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let percent: u8 = whole
        .parse()
        .ok()
        .filter(|_| digits(whole) && digits(part))?;
    let beyond = percent == 100 && part.bytes().any(|byte| byte != b'0');
    (CAPS.contains(&percent) && !beyond).then_some(percent)
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentages_are_within_their_bounds_or_none() {
        for (text, percent) in [
            ("1", 1),
            ("50", 50),
            ("50.0", 50),
            ("99.9", 99),
            ("100", 100),
            ("100.00", 100),
        ] {
            assert_eq!(percentage(text), Some(percent), "{text}");
        }
        for text in [
            "", "0", "0.5", "101", "100.1", "256", "-1", "+5", "nan", "inf", "1e1", "5%", " 5",
            "5.", ".5", "5.5.5", "\u{0665}",
        ] {
            assert_eq!(percentage(text), None, "{text}");
        }
    }
}
