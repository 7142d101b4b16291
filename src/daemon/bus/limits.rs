//! Limits as the bus carries them: values by name, each a number or a text.

use super::words;
use std::collections::HashMap;
use std::ops::RangeInclusive;
use vkmps_broker::{Change, ClientChanges, ClientLimits, UserChanges, UserView};
use vkmps_bus::{Error, limits as key};
use vkmps_protocol::group::GroupLimits;
use vkmps_protocol::limits::{MAX_BUFFERS, MAX_PROGRAMS, MAX_SESSIONS, MAX_STREAMS, MAX_SUBMITS};
use vkmps_protocol::message::Priority;
use vkmps_protocol::quota::{Amount, NoAmount};
use vkmps_protocol::share::{CAPS, WEIGHTS};
use zbus::{OwnedVariant, Variant};

/// What callers give.
pub(super) type Given = HashMap<String, OwnedVariant>;

/// Changes to the limits of a client, or of every client.
pub(super) fn of_client(given: &Given) -> Result<ClientChanges, Error> {
    let mut changes = ClientChanges::default();
    for (name, value) in given {
        let value = Value::new(name, value)?;
        match name.as_str() {
            key::MEMORY => changes.memory = value.memory()?,
            key::PERCENTAGE => changes.cap_percent = value.number(bounds(&CAPS))?,
            key::WEIGHT => changes.weight = value.number(bounds(&WEIGHTS))?,
            key::BUFFERS => changes.buffers = value.number(1..=MAX_BUFFERS as u64)?,
            key::PROGRAMS => changes.programs = value.number(1..=MAX_PROGRAMS as u64)?,
            key::STREAMS => changes.streams = value.number(1..=MAX_STREAMS as u64)?,
            key::SUBMITS => changes.submits = value.number(1..=MAX_SUBMITS as u64)?,
            _ => return Err(unknown(&key::OF_CLIENTS)),
        }
    }
    Ok(changes)
}

/// Changes to the limits of all clients of a user together.
pub(super) fn of_user(given: &Given) -> Result<UserChanges, Error> {
    let mut changes = UserChanges::default();
    for (name, value) in given {
        let value = Value::new(name, value)?;
        match name.as_str() {
            key::MEMORY => changes.memory = value.memory()?,
            key::PERCENTAGE => changes.cap_percent = value.number(bounds(&CAPS))?,
            key::WEIGHT => changes.weight = value.number(bounds(&WEIGHTS))?,
            key::RESERVED => changes.reserve_percent = value.number(0..=100)?,
            _ => return Err(unknown(&key::OF_USERS)),
        }
    }
    Ok(changes)
}

/// Limits of a session.
pub(super) fn of_session(given: &Given) -> Result<GroupLimits, Error> {
    let mut limits = GroupLimits::default();
    for (name, value) in given {
        let value = Value::new(name, value)?;
        match name.as_str() {
            key::MEMORY => limits.memory = set(value.memory()?),
            key::PERCENTAGE => limits.cap_percent = set(value.number(bounds(&CAPS))?),
            key::PRIORITY => limits.max_priority = set(value.priority()?),
            key::CLIENTS => limits.clients = set(value.number(1..=MAX_SESSIONS as u64)?),
            _ => return Err(unknown(&key::OF_SESSIONS)),
        }
    }
    Ok(limits)
}

/// Of something new there is nothing to keep.
fn set<T>(change: Change<T>) -> Option<T> {
    match change {
        Change::Set(value) => Some(value),
        Change::Keep | Change::Clear => None,
    }
}

/// A user's limits, and what it has.
pub(super) fn describe_user(
    view: &UserView,
    memory: (u64, u64),
) -> HashMap<&'static str, Variant<'static>> {
    let (used, limit) = memory;
    HashMap::from([
        (key::MEMORY, limit.into()),
        (key::MEMORY_USED, used.into()),
        (key::PERCENTAGE, view.limits.cap_percent.into()),
        (key::WEIGHT, view.limits.weight.into()),
        (key::RESERVED, view.limits.reserve_percent.into()),
    ])
}

/// A client's limits, as its properties have them.
pub(super) fn properties(
    limits: &ClientLimits,
    memory_bytes: u64,
) -> [(&'static str, Variant<'static>); 7] {
    [
        ("MemoryLimit", memory_bytes.into()),
        ("ActiveThreadPercentage", limits.cap_percent.into()),
        ("Weight", limits.weight.into()),
        ("BuffersLimit", limits.buffers.into()),
        ("ProgramsLimit", limits.programs.into()),
        ("StreamsLimit", limits.streams.into()),
        ("SubmitsLimit", limits.submits.into()),
    ]
}

/// One value, looked at once.
struct Value<'a> {
    name: &'a str,
    given: Scalar<'a>,
}

enum Scalar<'a> {
    Number(u64),
    Text(&'a str),
}

impl<'a> Value<'a> {
    fn new(name: &'a str, value: &'a OwnedVariant) -> Result<Self, Error> {
        let number = |number: i64| u64::try_from(number).ok().map(Scalar::Number);
        let given = match &**value {
            Variant::U8(value) => Some(Scalar::Number((*value).into())),
            Variant::U16(value) => Some(Scalar::Number((*value).into())),
            Variant::U32(value) => Some(Scalar::Number((*value).into())),
            Variant::U64(value) => Some(Scalar::Number(*value)),
            Variant::I16(value) => number((*value).into()),
            Variant::I32(value) => number((*value).into()),
            Variant::I64(value) => number(*value),
            Variant::Str(text) => Some(Scalar::Text(text.as_str())),
            _ => None,
        };
        // The name is a stranger's until it is found among ours.
        let given = given.ok_or_else(|| {
            Error::InvalidArgument(
                "a limit is a whole number that is not negative, or a text".to_owned(),
            )
        })?;
        Ok(Self { name, given })
    }

    fn memory(&self) -> Result<Change<Amount>, Error> {
        let amount = match self.given {
            Scalar::Text(DEFAULT) => return Ok(Change::Clear),
            Scalar::Text(text) => text.parse().ok(),
            Scalar::Number(bytes) => Some(Amount::Bytes(bytes)).filter(|amount| amount.is_valid()),
        };
        amount
            .map(Change::Set)
            .ok_or_else(|| Error::InvalidArgument(format!("{}: {NoAmount}", self.name)))
    }

    fn priority(&self) -> Result<Change<Priority>, Error> {
        match self.given {
            Scalar::Text(DEFAULT) => Ok(Change::Clear),
            Scalar::Text(text) => words::parse_priority(text).map(Change::Set),
            Scalar::Number(_) => {
                let text = format!("{}: low, medium, high or realtime", self.name);
                Err(Error::InvalidArgument(text))
            }
        }
    }

    fn number<T: TryFrom<u64>>(&self, bounds: RangeInclusive<u64>) -> Result<Change<T>, Error> {
        let number = match self.given {
            Scalar::Text(DEFAULT) => return Ok(Change::Clear),
            Scalar::Text(_) => None,
            Scalar::Number(number) => Some(number),
        };
        let number = number.filter(|number| bounds.contains(number));
        number
            .and_then(|number| T::try_from(number).ok())
            .map(Change::Set)
            .ok_or_else(|| {
                let (least, most) = (bounds.start(), bounds.end());
                let text = format!(
                    "{}: a whole number from {least} to {most}, or \"{DEFAULT}\"",
                    self.name
                );
                Error::InvalidArgument(text)
            })
    }
}

fn bounds<T: Copy + Into<u64>>(bounds: &RangeInclusive<T>) -> RangeInclusive<u64> {
    (*bounds.start()).into()..=(*bounds.end()).into()
}

fn unknown(known: &[&str]) -> Error {
    Error::InvalidArgument(format!("limits are {}", known.join(", ")))
}

/// Leaves a limit to the configuration again.
const DEFAULT: &str = vkmps_bus::limits::DEFAULT;

#[cfg(test)]
mod tests {
    use super::*;

    fn given(name: &str, value: impl Into<Variant<'static>>) -> Given {
        let value = value.into().try_to_owned().expect("it holds no descriptor");
        HashMap::from([(name.to_owned(), value)])
    }

    #[test]
    fn numbers_of_any_type_and_texts_are_taken() {
        let caps = [
            of_client(&given("active-thread-percentage", 30_u8)),
            of_client(&given("active-thread-percentage", 30_i32)),
            of_client(&given("active-thread-percentage", 30_u64)),
        ];
        for cap in caps {
            assert_eq!(cap.unwrap().cap_percent, Change::Set(30));
        }
        let amounts = [
            (
                given("memory", 1_u64 << 30),
                Change::Set(Amount::Bytes(1 << 30)),
            ),
            (given("memory", "1G"), Change::Set(Amount::Bytes(1 << 30))),
            (given("memory", "25%"), Change::Set(Amount::Percent(25))),
            (given("memory", "default"), Change::Clear),
        ];
        for (given, amount) in amounts {
            assert_eq!(of_client(&given).unwrap().memory, amount);
            assert_eq!(of_user(&given).unwrap().memory, amount);
        }
        let none = of_user(&given("reserved-percentage", 0_u8)).unwrap();
        assert_eq!(none.reserve_percent, Change::Set(0));
    }

    #[test]
    fn what_makes_no_sense_is_refused_by_name_with_what_is_allowed() {
        let refused = [
            (
                given("active-thread-percentage", 0_u8),
                "active-thread-percentage: a whole number from 1 to 100",
            ),
            (
                given("active-thread-percentage", 101_u32),
                "active-thread-percentage: a whole number from 1 to 100",
            ),
            (
                given("active-thread-percentage", "nan"),
                "active-thread-percentage: a whole number from 1 to 100",
            ),
            (
                given("active-thread-percentage", -1_i32),
                "a whole number that is not negative",
            ),
            (
                given("active-thread-percentage", 50.0_f64),
                "a whole number that is not negative",
            ),
            (
                given("weight", u64::MAX),
                "weight: a whole number from 1 to 10000",
            ),
            (given("memory", 0_u64), "memory: an amount of memory"),
            (given("memory", "1e3"), "memory: an amount of memory"),
            (
                given("streams", 257_u32),
                "streams: a whole number from 1 to 256",
            ),
            (
                given("reserved-percentage", 5_u8),
                "limits are memory, active-thread-percentage",
            ),
            (
                given("\u{1b}[2J", 5_u8),
                "limits are memory, active-thread-percentage",
            ),
        ];
        for (given, text) in refused {
            let Err(Error::InvalidArgument(found)) = of_client(&given) else {
                panic!("{given:?}");
            };
            assert!(found.contains(text), "{found}");
        }
        assert!(of_user(&given("buffers", 5_u8)).is_err());
    }
}
