//! Values of the configuration that say themselves what they may be.

use crate::bus::BusAddress;
use serde::de::{Deserialize, Deserializer, Error, Unexpected, Visitor};
use std::fmt;
use std::marker::PhantomData;
use std::str::FromStr;
use std::time::Duration;
use vkmps_bus::LogLevel;
use vkmps_protocol::message::Priority;
use vkmps_protocol::quota::Amount;

/// A whole number within bounds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Count<const MIN: u64, const MAX: u64>(u64);

impl<const MIN: u64, const MAX: u64> Count<MIN, MAX> {
    /// The number, if it is within the bounds.
    pub(crate) fn new(number: u64) -> Option<Self> {
        (MIN..=MAX).contains(&number).then_some(Self(number))
    }

    /// A number that the program itself chooses.
    pub(super) const fn known(number: u64) -> Self {
        assert!(MIN <= number && number <= MAX);
        Self(number)
    }

    /// The number.
    pub(crate) fn number(self) -> u64 {
        self.0
    }

    /// The number of something that is counted in memory.
    pub(crate) fn size(self) -> usize {
        usize::try_from(self.0).unwrap_or(usize::MAX)
    }
}

impl<'de, const MIN: u64, const MAX: u64> Deserialize<'de> for Count<MIN, MAX> {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        checked(
            from,
            format!("a whole number from {MIN} to {MAX}"),
            |given| match given {
                Scalar::Number(number) => Self::new(number.try_into().ok()?),
                Scalar::Text(_) => None,
            },
        )
    }
}

/// A time within bounds, both in milliseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Time<const MIN: u64, const MAX: u64>(Duration);

impl<const MIN: u64, const MAX: u64> Time<MIN, MAX> {
    /// A time that the program itself chooses.
    pub(super) const fn known(milliseconds: u64) -> Self {
        assert!(MIN <= milliseconds && milliseconds <= MAX);
        Self(Duration::from_millis(milliseconds))
    }

    /// The time.
    pub(crate) fn duration(self) -> Duration {
        self.0
    }

    fn parse(text: &str) -> Option<Self> {
        let time = parse_time(text)?;
        let bounds = Duration::from_millis(MIN)..=Duration::from_millis(MAX);
        bounds.contains(&time).then_some(Self(time))
    }

    fn expected() -> String {
        format!(
            "a time from {} to {} with its unit (ms, s, min, h), such as \"1500ms\"",
            Shown(MIN),
            Shown(MAX)
        )
    }
}

impl<'de, const MIN: u64, const MAX: u64> Deserialize<'de> for Time<MIN, MAX> {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        checked(from, Self::expected(), |given| match given {
            Scalar::Text(text) => Self::parse(text),
            Scalar::Number(_) => None,
        })
    }
}

/// A time within bounds, or never.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct TimeOrNever<const MIN: u64, const MAX: u64>(Option<Time<MIN, MAX>>);

impl<const MIN: u64, const MAX: u64> TimeOrNever<MIN, MAX> {
    /// A time that the program itself chooses.
    pub(super) const fn known(milliseconds: u64) -> Self {
        Self(Some(Time::known(milliseconds)))
    }

    /// The time; `None` is never.
    pub(crate) fn duration(self) -> Option<Duration> {
        self.0.map(Time::duration)
    }
}

impl<'de, const MIN: u64, const MAX: u64> Deserialize<'de> for TimeOrNever<MIN, MAX> {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let expected = format!("\"never\" or {}", Time::<MIN, MAX>::expected());
        checked(from, expected, |given| match given {
            Scalar::Text("never") => Some(Self(None)),
            Scalar::Text(text) => Time::parse(text).map(|time| Self(Some(time))),
            Scalar::Number(_) => None,
        })
    }
}

/// An amount of memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Memory(Amount);

impl Memory {
    /// All there is.
    pub(super) const ALL: Self = Self(Amount::ALL);

    /// The amount.
    pub(crate) fn amount(self) -> Amount {
        self.0
    }
}

impl<'de> Deserialize<'de> for Memory {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let expected = "an amount such as \"512M\" or \"2G\", or a part from \"1%\" to \"100%\"";
        checked(from, expected.to_owned(), |given| match given {
            Scalar::Text(text) => text.parse().ok().map(Self),
            Scalar::Number(_) => None,
        })
    }
}

/// Which Vulkan device.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum DeviceIndex {
    /// The best one.
    #[default]
    Auto,
    /// This one.
    Number(u32),
}

impl<'de> Deserialize<'de> for DeviceIndex {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        checked(
            from,
            "\"auto\" or the index of a device, from 0".to_owned(),
            |given| match given {
                Scalar::Text("auto") => Some(Self::Auto),
                Scalar::Text(_) => None,
                Scalar::Number(number) => number.try_into().ok().map(Self::Number),
            },
        )
    }
}

/// Where administrators reach the daemon.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) enum Bus {
    /// The system bus when systemd started the daemon, else none.
    #[default]
    Auto,
    /// The system bus.
    System,
    /// Nowhere.
    None,
    /// A bus with this address.
    Address(String),
}

impl Bus {
    /// Which bus, if any; `activated`: by systemd.
    pub(crate) fn address(&self, activated: bool) -> Option<BusAddress> {
        match self {
            Self::Auto => activated.then_some(BusAddress::System),
            Self::System => Some(BusAddress::System),
            Self::None => None,
            Self::Address(address) => Some(BusAddress::At(address.clone())),
        }
    }
}

impl FromStr for Bus {
    type Err = UnknownBus;

    fn from_str(text: &str) -> Result<Self, UnknownBus> {
        match text {
            "auto" => Ok(Self::Auto),
            "system" => Ok(Self::System),
            "none" => Ok(Self::None),
            // A transport and its parameters; the bus library knows the rest.
            address => match address.split_once(':') {
                Some((transport, _)) if !transport.is_empty() => {
                    Ok(Self::Address(address.to_owned()))
                }
                _ => Err(UnknownBus),
            },
        }
    }
}

impl<'de> Deserialize<'de> for Bus {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        checked(from, UnknownBus.to_string(), |given| match given {
            Scalar::Text(text) => text.parse().ok(),
            Scalar::Number(_) => None,
        })
    }
}

/// No name or address of a bus.
#[derive(Debug, Clone, Copy, thiserror::Error)]
#[error("auto, system, none or a D-Bus address such as unix:path=/run/dbus/system_bus_socket")]
pub(crate) struct UnknownBus;

/// A log level.
pub(super) fn level<'de, D: Deserializer<'de>>(from: D) -> Result<LogLevel, D::Error> {
    named(from, &LogLevel::ALL.map(|level| (level.name(), level)))
}

/// A priority.
pub(super) fn priority<'de, D: Deserializer<'de>>(from: D) -> Result<Priority, D::Error> {
    named(
        from,
        &Priority::ALL.map(|priority| (priority.name(), priority)),
    )
}

/// A priority that need not be there.
pub(super) fn some_priority<'de, D: Deserializer<'de>>(
    from: D,
) -> Result<Option<Priority>, D::Error> {
    priority(from).map(Some)
}

fn named<'de, D: Deserializer<'de>, T: Copy>(from: D, all: &[(&str, T)]) -> Result<T, D::Error> {
    let names: Vec<&str> = all.iter().map(|(name, _)| *name).collect();
    checked(
        from,
        format!("one of {}", names.join(", ")),
        |given| match given {
            Scalar::Text(text) => all
                .iter()
                .find(|(name, _)| *name == text)
                .map(|(_, value)| *value),
            Scalar::Number(_) => None,
        },
    )
}

/// What a value may be before it is looked at.
pub(super) enum Scalar<'a> {
    Number(i64),
    Text(&'a str),
}

/// A value that `read` takes, else an error that says what was expected.
pub(super) fn checked<'de, D, T, R>(from: D, expected: String, read: R) -> Result<T, D::Error>
where
    D: Deserializer<'de>,
    R: Fn(Scalar<'_>) -> Option<T>,
{
    from.deserialize_any(Checked {
        expected,
        read,
        result: PhantomData,
    })
}

struct Checked<T, R> {
    expected: String,
    read: R,
    result: PhantomData<T>,
}

impl<T, R: Fn(Scalar<'_>) -> Option<T>> Visitor<'_> for Checked<T, R> {
    type Value = T;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.expected)
    }

    fn visit_i64<E: Error>(self, number: i64) -> Result<T, E> {
        (self.read)(Scalar::Number(number))
            .ok_or_else(|| E::invalid_value(Unexpected::Signed(number), &self))
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<T, E> {
        (self.read)(Scalar::Text(text))
            .ok_or_else(|| E::invalid_value(Unexpected::Str(text), &self))
    }
}

/// `10s`, `1500ms`: a whole number and its unit.
fn parse_time(text: &str) -> Option<Duration> {
    let unit_at = text.find(|c: char| !c.is_ascii_digit())?;
    let (number, unit) = text.split_at(unit_at);
    let (_, milliseconds) = UNITS.iter().find(|(name, _)| *name == unit)?;
    let number: u64 = number.parse().ok()?;
    Some(Duration::from_millis(number.checked_mul(*milliseconds)?))
}

/// Milliseconds, in the largest unit that has no fraction.
struct Shown(u64);

impl fmt::Display for Shown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let fits =
            |(_, milliseconds): &&(&str, u64)| self.0 > 0 && self.0.is_multiple_of(*milliseconds);
        let (name, milliseconds) = UNITS.iter().rev().find(fits).unwrap_or(&("s", 1000));
        write!(f, "{}{name}", self.0 / milliseconds)
    }
}

/// Units of time in milliseconds, small ones first.
const UNITS: [(&str, u64); 4] = [("ms", 1), ("s", 1000), ("min", 60_000), ("h", 3_600_000)];
/// More loop iterations than any slice has: a device does a hundred million in a second.
pub(super) const MAX_LOOP_SLICE: u64 = 1_000_000_000_000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_have_a_whole_number_and_a_unit() {
        let ms = Duration::from_millis;
        for (text, time) in [
            ("0s", ms(0)),
            ("1500ms", ms(1500)),
            ("10s", ms(10_000)),
            ("5min", ms(300_000)),
            ("2h", ms(7_200_000)),
        ] {
            assert_eq!(parse_time(text), Some(time), "{text}");
        }
        for text in [
            "", "5", "s", "5 s", " 5s", "5s ", "-5s", "+5s", "1.5s", "5m", "5S", "5sec", "٥s",
        ] {
            assert_eq!(parse_time(text), None, "{text}");
        }
        assert_eq!(parse_time("99999999999999999999h"), None);
        assert_eq!(parse_time("9999999999999999999h"), None);
    }

    #[test]
    fn bounds_are_shown_in_a_unit_that_people_read() {
        let shown: Vec<String> = [0, 100, 1000, 1500, 60_000, 90_000, 3_600_000]
            .map(|ms| Shown(ms).to_string())
            .into();
        assert_eq!(shown, ["0s", "100ms", "1s", "1500ms", "1min", "90s", "1h"]);
    }

    #[test]
    fn a_bus_is_a_word_or_an_address() {
        assert_eq!("system".parse::<Bus>().unwrap(), Bus::System);
        assert_eq!("none".parse::<Bus>().unwrap(), Bus::None);
        assert!(matches!("unix:path=/x".parse(), Ok(Bus::Address(_))));
        for text in ["", "sytem", ":", ":path=/x"] {
            assert!(text.parse::<Bus>().is_err(), "{text}");
        }
    }
}
