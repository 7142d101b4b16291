//! Limits that a user sets for the programs that it starts, by environment variables. NVIDIA's are read where ours are not
//! set, so that scripts for its MPS go on working.

use crate::error::Error;
use std::ffi::OsString;
use vkmps_protocol::ErrorCode;
use vkmps_protocol::message::Priority;
use vkmps_protocol::quota::{Amount, NoAmount, Wish};
use vkmps_protocol::share::percentage;

/// What a program and its user want, the tighter of both.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Wishes {
    pub(crate) limits: Wish,
    pub(crate) priority: Option<Priority>,
}

impl Wishes {
    pub(crate) fn memory(&mut self, amount: Amount) {
        match amount {
            Amount::Bytes(bytes) => tighten(&mut self.limits.memory_bytes, bytes),
            Amount::Percent(percent) => tighten(&mut self.limits.memory_percent, percent),
        }
    }

    pub(crate) fn cap(&mut self, percent: u8) {
        tighten(&mut self.limits.cap_percent, percent);
    }

    pub(crate) fn priority(&mut self, priority: Priority) {
        tighten(&mut self.priority, priority);
    }

    /// Tightens them by this process's environment. A value that makes no sense is an error, and never no limit.
    pub(crate) fn tighten_by_environment(&mut self) -> Result<(), Error> {
        self.tighten_by(|name| std::env::var_os(name))
    }

    fn tighten_by(&mut self, variable: impl Fn(&str) -> Option<OsString>) -> Result<(), Error> {
        let read = |names: [&'static str; 2]| {
            let found = names
                .into_iter()
                .find_map(|name| Some((name, variable(name)?)));
            found.map(|(name, value)| match value.into_string() {
                Ok(value) => Ok((name, value)),
                Err(_) => Err(malformed(name, "it is not UTF-8")),
            })
        };
        if let Some(found) = read(["VKMPS_DEVICE_MEM_LIMIT", "CUDA_MPS_PINNED_DEVICE_MEM_LIMIT"]) {
            let (name, value) = found?;
            self.memory(memory_of_device(&value).map_err(|text| malformed(name, &text))?);
        }
        if let Some(found) = read([
            "VKMPS_ACTIVE_THREAD_PERCENTAGE",
            "CUDA_MPS_ACTIVE_THREAD_PERCENTAGE",
        ]) {
            let (name, value) = found?;
            let percent = percentage(&value);
            self.cap(percent.ok_or_else(|| malformed(name, "a percentage is from 1 to 100"))?);
        }
        if let Some(found) = read(["VKMPS_CLIENT_PRIORITY", "CUDA_MPS_CLIENT_PRIORITY"]) {
            let (name, value) = found?;
            let priority = match name.starts_with("VKMPS_") {
                true => Priority::ALL
                    .into_iter()
                    .find(|priority| priority.name() == value),
                false => match value.as_str() {
                    "0" => Some(Priority::Medium),
                    "1" => Some(Priority::Low),
                    _ => None,
                },
            };
            let allowed = match name.starts_with("VKMPS_") {
                true => "a priority is low, medium, high or realtime",
                false => "a priority is 0 (normal) or 1 (below normal)",
            };
            self.priority(priority.ok_or_else(|| malformed(name, allowed))?);
        }
        Ok(())
    }
}

/// `2G`, or as NVIDIA has it a list by device: `0=2G,1=512M`. There is one device.
fn memory_of_device(value: &str) -> Result<Amount, String> {
    let amount = |text: &str| text.parse().map_err(|error: NoAmount| error.to_string());
    if !value.contains('=') {
        return amount(value);
    }
    let mut of_ours = None;
    for entry in value.split(',') {
        let pair = entry
            .split_once('=')
            .map(|(device, text)| (device.parse::<u32>(), text));
        let Some((Ok(device), text)) = pair else {
            return Err("limits by device are DEVICE=AMOUNT, separated by commas".to_owned());
        };
        let limit = amount(text)?;
        if device == 0 {
            of_ours = Some(limit);
        }
    }
    of_ours.ok_or_else(|| "it says nothing of device 0, the only one".to_owned())
}

fn malformed(name: &'static str, text: &str) -> Error {
    Error::new(ErrorCode::InvalidArgument, format!("{name}: {text}"))
}

fn tighten<T: Ord>(wish: &mut Option<T>, limit: T) {
    *wish = Some(match wish.take() {
        Some(before) => before.min(limit),
        None => limit,
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    fn by(variables: &[(&str, &str)]) -> Result<Wishes, Error> {
        let mut wishes = Wishes::default();
        let find = |name: &str| variables.iter().find(|(other, _)| *other == name);
        wishes.tighten_by(|name| find(name).map(|(_, value)| value.into()))?;
        Ok(wishes)
    }

    #[test]
    fn ours_win_over_nvidia_s() {
        let wishes = by(&[
            ("VKMPS_DEVICE_MEM_LIMIT", "2G"),
            ("CUDA_MPS_PINNED_DEVICE_MEM_LIMIT", "0=1G"),
            ("CUDA_MPS_ACTIVE_THREAD_PERCENTAGE", "50.5"),
            ("VKMPS_CLIENT_PRIORITY", "high"),
            ("CUDA_MPS_CLIENT_PRIORITY", "nonsense"),
        ])
        .unwrap();
        assert_eq!(wishes.limits.memory_bytes, Some(2 << 30));
        assert_eq!(wishes.limits.cap_percent, Some(50));
        assert_eq!(wishes.priority, Some(Priority::High));
        assert_eq!(by(&[]).unwrap(), Wishes::default());
    }

    #[test]
    fn a_limit_may_be_given_by_device() {
        let memory = |value| by(&[("VKMPS_DEVICE_MEM_LIMIT", value)]).unwrap().limits;
        assert_eq!(memory("0=2G").memory_bytes, Some(2 << 30));
        assert_eq!(memory("1=1G,0=512MB").memory_bytes, Some(512 << 20));
        assert_eq!(memory("25%").memory_percent, Some(25));
        let priority = by(&[("CUDA_MPS_CLIENT_PRIORITY", "1")]).unwrap().priority;
        assert_eq!(priority, Some(Priority::Low));
    }

    #[test]
    fn what_makes_no_sense_is_an_error_that_names_the_variable() {
        for (name, values) in [
            (
                "VKMPS_DEVICE_MEM_LIMIT",
                &[
                    "",
                    "0",
                    "0=",
                    "0=0",
                    "=2G",
                    "0=2G,",
                    "0=2G,x=1G",
                    "1=2G",
                    "-1",
                    "nan",
                    "1e3",
                    "2G 1G",
                    "101%",
                ][..],
            ),
            ("CUDA_MPS_PINNED_DEVICE_MEM_LIMIT", &["", "lots", "0=lots"]),
            (
                "VKMPS_ACTIVE_THREAD_PERCENTAGE",
                &["", "0", "101", "-5", "nan", "1e1", "50%"],
            ),
            ("CUDA_MPS_ACTIVE_THREAD_PERCENTAGE", &["", "0", "inf"]),
            ("VKMPS_CLIENT_PRIORITY", &["", "HIGH", "1", "urgent"]),
            ("CUDA_MPS_CLIENT_PRIORITY", &["", "2", "low"]),
        ] {
            for value in values {
                let error = by(&[(name, value)]).unwrap_err();
                assert_eq!(error.code(), ErrorCode::InvalidArgument, "{name}={value}");
                assert!(error.to_string().contains(name), "{error}");
            }
        }
    }

    #[test]
    fn a_program_and_its_user_get_the_tighter_of_what_they_want() {
        let mut wishes = Wishes::default();
        wishes.memory(Amount::Bytes(1 << 30));
        wishes.cap(30);
        wishes.priority(Priority::Medium);
        let variables = |name: &str| match name {
            "VKMPS_DEVICE_MEM_LIMIT" => Some("2G".into()),
            "VKMPS_ACTIVE_THREAD_PERCENTAGE" => Some("20".into()),
            "VKMPS_CLIENT_PRIORITY" => Some("high".into()),
            _ => None,
        };
        wishes.tighten_by(variables).unwrap();
        assert_eq!(wishes.limits.memory_bytes, Some(1 << 30));
        assert_eq!(wishes.limits.cap_percent, Some(20));
        assert_eq!(wishes.priority, Some(Priority::Medium));
    }
}
