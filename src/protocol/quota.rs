//! What there can be too much of, and what a client hears about it.

use crate::message::Priority;
use crate::share::CAPS;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;

/// An amount of memory, as people give it: `512M`, `2G`, `25%`, or plain bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Amount {
    /// So many; not 0.
    Bytes(u64),
    /// A part of what there is, 1 to 100.
    Percent(u8),
}

impl Amount {
    /// All there is.
    pub const ALL: Self = Self::Percent(100);

    /// How much that is where there are `total` bytes.
    pub fn of(self, total: u64) -> u64 {
        match self {
            Self::Bytes(bytes) => bytes.min(total),
            Self::Percent(percent) => {
                let part = u128::from(total) * u128::from(percent) / 100;
                u64::try_from(part).unwrap_or(total).min(total)
            }
        }
    }

    /// Whether it is an amount at all: what comes over a wire may be none.
    pub fn is_valid(self) -> bool {
        match self {
            Self::Bytes(bytes) => bytes > 0,
            Self::Percent(percent) => CAPS.contains(&percent),
        }
    }
}

impl FromStr for Amount {
    type Err = NoAmount;

    fn from_str(text: &str) -> Result<Self, NoAmount> {
        if let Some(percent) = text.strip_suffix('%') {
            let percent = whole(percent).and_then(|percent| u8::try_from(percent).ok());
            return percent
                .map(Self::Percent)
                .filter(|amount| amount.is_valid())
                .ok_or(NoAmount);
        }
        let unit_at = text.find(|c: char| !c.is_ascii_digit());
        let (number, unit) = text.split_at(unit_at.unwrap_or(text.len()));
        let unit = unit.to_ascii_uppercase();
        let shift = UNITS.iter().find(|(names, _)| names.contains(&&*unit));
        let bytes = whole(number).zip(shift).and_then(|(number, (_, shift))| {
            let bytes = number.checked_mul(1 << shift)?;
            Some(Self::Bytes(bytes))
        });
        bytes.filter(|amount| amount.is_valid()).ok_or(NoAmount)
    }
}

impl fmt::Display for Amount {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Percent(percent) => write!(f, "{percent}%"),
            Self::Bytes(bytes) => {
                let whole = |(_, shift): &&(&[&str], u32)| bytes.is_multiple_of(1 << shift);
                match UNITS.iter().rev().find(whole) {
                    Some((names, shift)) => write!(f, "{}{}", bytes >> shift, names[0]),
                    None => write!(f, "{bytes}"),
                }
            }
        }
    }
}

/// A text that is no [`Amount`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "an amount of memory is a whole number with a unit (K, M, G or T), such as 2G, or a part of it from 1% to 100%"
)]
pub struct NoAmount;

/// Digits and nothing else.
fn whole(text: &str) -> Option<u64> {
    let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    digits.then(|| text.parse().ok()).flatten()
}

/// Names of units, the one to print first, and their powers of 2.
const UNITS: [(&[&str], u32); 5] = [
    (&["", "B"], 0),
    (&["K", "KB", "KIB"], 10),
    (&["M", "MB", "MIB"], 20),
    (&["G", "GB", "GIB"], 30),
    (&["T", "TB", "TIB"], 40),
];

/// What there can be too much of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Limit {
    /// Memory of a class.
    Memory,
    /// Sessions, of all users or of one.
    Clients,
    /// Programs of a session.
    Programs,
    /// Buffers of a session.
    Buffers,
    /// Streams of a session.
    Streams,
    /// Submits of a session that are not over, or what they hold.
    Submits,
}

impl Limit {
    /// Its name for people: on the bus, in the journal.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Memory => "memory",
            Self::Clients => "clients",
            Self::Programs => "programs",
            Self::Buffers => "buffers",
            Self::Streams => "streams",
            Self::Submits => "submits",
        }
    }
}

/// Whose limit it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Scope {
    /// The session's own.
    Client,
    /// That of all sessions of its user together.
    User,
    /// That of all sessions of its group together.
    Group,
}

/// A limit that a request would have broken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Excess {
    /// Of what.
    pub limit: Limit,
    /// Whose.
    pub scope: Scope,
    /// How much more was asked for: bytes of memory, else a number.
    pub asked: u64,
    /// How much there is already.
    pub used: u64,
    /// How much there may be.
    pub most: u64,
}

impl fmt::Display for Excess {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            asked, used, most, ..
        } = self;
        let what = match self.limit {
            Limit::Memory => "bytes of memory",
            other => other.name(),
        };
        let who = match self.scope {
            Scope::Client => "this client",
            Scope::User => "this user",
            Scope::Group => "this session",
        };
        write!(
            f,
            "{who} has {used} of {most} {what}, {asked} more asked for"
        )
    }
}

/// Limits that a client sets itself when it connects; it gets the tighter of these and of what policy says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
pub struct Wish {
    /// Most memory, bytes.
    pub memory_bytes: Option<u64>,
    /// Most memory, percent of what there is; where both are set, both hold.
    pub memory_percent: Option<u8>,
    /// Most of the device's time, percent.
    pub cap_percent: Option<u8>,
}

impl Wish {
    /// Whether its values are within their bounds.
    pub fn is_valid(&self) -> bool {
        self.memory_bytes.is_none_or(|bytes| bytes > 0)
            && self.memory_percent.is_none_or(|part| CAPS.contains(&part))
            && self.cap_percent.is_none_or(|cap| CAPS.contains(&cap))
    }
}

/// What a session may have and has: the budget that a client sees is its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
pub struct Quota {
    /// Memory that the device computes in, bytes: used, and the most it may use.
    pub device_bytes: (u64, u64),
    /// Memory that the client maps, bytes; the same memory as the device's on a unified device.
    pub shared_bytes: (u64, u64),
    /// Buffers: how many there are, and the most.
    pub buffers: (u32, u32),
    /// Programs.
    pub programs: (u32, u32),
    /// Most streams.
    pub streams: u32,
    /// Most submits that are not over.
    pub submits: u32,
    /// Most of the device's time, percent; 100 is no cap.
    pub cap_percent: u8,
    /// Its part of its user's device time against the user's other sessions.
    pub weight: u16,
    /// Lane of its work.
    pub priority: Priority,
    /// Whether its work runs one lane lower now, for want of budget.
    pub demoted: bool,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn amounts_have_a_number_and_perhaps_a_unit() {
        for (text, bytes) in [
            ("1", 1),
            ("4096B", 4096),
            ("64k", 64 << 10),
            ("512M", 512 << 20),
            ("512MB", 512 << 20),
            ("2G", 2 << 30),
            ("2GiB", 2 << 30),
            ("1T", 1 << 40),
        ] {
            assert_eq!(text.parse(), Ok(Amount::Bytes(bytes)), "{text}");
        }
        assert_eq!("25%".parse(), Ok(Amount::Percent(25)));
        assert_eq!("100%".parse(), Ok(Amount::ALL));
    }

    #[test]
    fn what_is_no_amount_is_refused_and_never_taken_for_no_limit() {
        for text in [
            "",
            "0",
            "0G",
            "0%",
            "101%",
            "256%",
            "%",
            "-1",
            "+1",
            "1.5G",
            "1e3",
            "nan",
            "inf",
            "NaN%",
            "2 G",
            " 2G",
            "2G ",
            "G",
            "2X",
            "2GG",
            "0x10",
            "٢G",
            "unlimited",
            "18446744073709551616",
            "99999999999T",
            "2G,1G",
        ] {
            assert_eq!(text.parse::<Amount>(), Err(NoAmount), "{text}");
        }
    }

    #[test]
    fn amounts_are_printed_as_they_are_read() {
        for text in ["1", "1023", "64K", "512M", "2G", "1T", "25%", "2049M"] {
            assert_eq!(
                text.parse::<Amount>().map(|it| it.to_string()),
                Ok(text.to_owned())
            );
        }
    }

    #[test]
    fn nobody_may_have_more_than_there_is() {
        assert_eq!(Amount::Percent(50).of(1001), 500);
        assert_eq!(Amount::ALL.of(u64::MAX), u64::MAX);
        assert_eq!(Amount::Bytes(5).of(3), 3);
        assert_eq!(Amount::Percent(1).of(50), 0);
    }
}
