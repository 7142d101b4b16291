//! How the bus says what the daemon knows.

use crate::control::State;
use vkmps_bus::{Error, Priority as Name};
use vkmps_protocol::handle::SessionId;
use vkmps_protocol::message::Priority;
use vkmps_protocol::share::Mode;

/// Text that others chose, as the bus can carry it: it knows no NUL.
pub(super) fn plain(text: &str) -> String {
    text.replace('\0', "\u{fffd}")
}

pub(super) const fn priority(priority: Priority) -> Name {
    match priority {
        Priority::Low => Name::Low,
        Priority::Medium => Name::Medium,
        Priority::High => Name::High,
        Priority::Realtime => Name::Realtime,
    }
}

/// What a caller calls a priority.
pub(super) fn parse_priority(name: &str) -> Result<Priority, Error> {
    match name.parse() {
        Ok(Name::Low) => Ok(Priority::Low),
        Ok(Name::Medium) => Ok(Priority::Medium),
        Ok(Name::High) => Ok(Priority::High),
        Ok(Name::Realtime) => Ok(Priority::Realtime),
        Err(error) => Err(Error::InvalidArgument(error.to_string())),
    }
}

/// What a caller calls a mode.
pub(super) fn parse_mode(name: &str) -> Result<Mode, Error> {
    let names = Mode::ALL.map(Mode::name).join(" or ");
    let mode = Mode::ALL.into_iter().find(|mode| mode.name() == name);
    mode.ok_or_else(|| Error::InvalidArgument(format!("a mode is {names}")))
}

pub(super) const fn state(state: State) -> &'static str {
    match state {
        State::Starting => "starting",
        State::Serving => "serving",
        State::Draining => "draining",
        State::Drained => "drained",
        State::Stopping => "stopping",
        State::Failed => "failed",
    }
}

/// 8-4-4-4-12 digits.
pub(super) fn uuid(bytes: [u8; 16]) -> String {
    let digits = bytes.map(|byte| format!("{byte:02x}"));
    let groups = [0..4, 4..6, 6..8, 8..10, 10..16];
    groups.map(|group| digits[group].concat()).join("-")
}

pub(super) fn no_such_client(id: SessionId) -> Error {
    Error::NoSuchClient(format!("there is no client {}", id.0))
}

pub(super) fn no_such_session(id: u64) -> Error {
    Error::NoSuchSession(format!("there is no session {id}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_uuid_is_written_as_everyone_writes_it() {
        let bytes = std::array::from_fn(|index| u8::try_from(index * 17).expect("at most 255"));
        assert_eq!(uuid(bytes), "00112233-4455-6677-8899-aabbccddeeff");
    }

    #[test]
    fn priorities_keep_their_names_both_ways() {
        for name in Name::ALL {
            let parsed = parse_priority(name.name()).expect("it is a priority");
            assert_eq!(priority(parsed), name);
        }
        assert!(matches!(
            parse_priority("High"),
            Err(Error::InvalidArgument(_))
        ));
    }
}
