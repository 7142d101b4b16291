//! `vkmpsctl set-limits`, `mode` and the limits that `vkmps-control` knows.

use crate::error::Error;
use crate::output::Format;
use crate::service::Service;
use crate::text::escape;
use nix::unistd::User;
use serde_json::json;
use std::collections::HashMap;
use std::str::FromStr;
use vkmps_bus::limits as key;
use vkmps_protocol::quota::Amount;
use zbus::Variant;

/// Whose limits, and what of them.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct Options {
    /// A client's id, as list shows it
    #[arg(required_unless_present_any = ["user", "default"], conflicts_with_all = ["user", "default"])]
    client: Option<u64>,
    /// All clients of a user together, by name or number
    #[arg(long, value_name = "USER", conflicts_with = "default", value_parser = user)]
    user: Option<u32>,
    /// Every client for which nobody said something else
    #[arg(long)]
    default: bool,
    #[command(flatten)]
    limits: Limits,
}

/// What to set; "default" leaves a limit to the configuration again.
#[derive(Debug, Clone, clap::Args)]
#[group(required = true, multiple = true)]
struct Limits {
    /// Memory: 512M, 2G, 25%, ...
    #[arg(long, value_name = "AMOUNT")]
    memory: Option<Setting<Amount>>,
    /// Most of the device's time, 1 to 100
    #[arg(long, value_name = "PERCENT")]
    active_thread_percentage: Option<Setting<u8>>,
    /// Part of the device's time against others, 1 to 10000
    #[arg(long, value_name = "WEIGHT")]
    weight: Option<Setting<u16>>,
    /// Least of the device's time while a user has work, 0 to 100
    #[arg(long, value_name = "PERCENT", conflicts_with_all = ["client", "default"])]
    reserved_percentage: Option<Setting<u8>>,
    /// Most buffers
    #[arg(long, value_name = "COUNT", conflicts_with = "user")]
    buffers: Option<Setting<u32>>,
    /// Most programs
    #[arg(long, value_name = "COUNT", conflicts_with = "user")]
    programs: Option<Setting<u32>>,
    /// Most streams
    #[arg(long, value_name = "COUNT", conflicts_with = "user")]
    streams: Option<Setting<u32>>,
    /// Most submits that are not over
    #[arg(long, value_name = "COUNT", conflicts_with = "user")]
    submits: Option<Setting<u32>>,
}

/// A value, or none of one's own.
#[derive(Debug, Clone, Copy)]
enum Setting<T> {
    Default,
    Value(T),
}

impl<T: FromStr> FromStr for Setting<T> {
    type Err = T::Err;

    fn from_str(text: &str) -> Result<Self, T::Err> {
        match text {
            key::DEFAULT => Ok(Self::Default),
            text => text.parse().map(Self::Value),
        }
    }
}

impl<T: Copy> Setting<T> {
    fn variant<V: Into<Variant<'static>>>(self, value: impl Fn(T) -> V) -> Variant<'static> {
        match self {
            Self::Default => key::DEFAULT.into(),
            Self::Value(given) => value(given).into(),
        }
    }
}

impl Limits {
    fn given(&self) -> HashMap<&'static str, Variant<'static>> {
        let memory = self
            .memory
            .map(|it| it.variant(|amount| amount.to_string()));
        let small = |it: Option<Setting<u8>>| it.map(|it| it.variant(|value| value));
        let count = |it: Option<Setting<u32>>| it.map(|it| it.variant(|value| value));
        let all = [
            (key::MEMORY, memory),
            (key::PERCENTAGE, small(self.active_thread_percentage)),
            (key::WEIGHT, self.weight.map(|it| it.variant(|value| value))),
            (key::RESERVED, small(self.reserved_percentage)),
            (key::BUFFERS, count(self.buffers)),
            (key::PROGRAMS, count(self.programs)),
            (key::STREAMS, count(self.streams)),
            (key::SUBMITS, count(self.submits)),
        ];
        let given = all.into_iter();
        given
            .filter_map(|(name, value)| Some((name, value?)))
            .collect()
    }
}

/// `vkmpsctl set-limits`.
pub(crate) async fn set(service: &Service, options: &Options, format: Format) -> Result<(), Error> {
    let limits = options.limits.given();
    let exceeded: Vec<String> = match (options.client, options.user) {
        (Some(client), _) => {
            let done = service.guarded("SetLimits", &(client, limits)).await;
            done.map_err(|error| match error {
                Error::UnknownClient(_) => Error::NoSuchClient(client),
                error => error,
            })?
        }
        (None, Some(uid)) => service.guarded("SetUserLimits", &(uid, limits)).await?,
        (None, None) => {
            let () = service.guarded("SetDefaultLimits", &limits).await?;
            Vec::new()
        }
    };
    format.show(&json!({"exceeded": exceeded}), |paint| match exceeded.as_slice() {
        [] => String::new(),
        limits => {
            let limits = escape(&limits.join(", "));
            let text = format!("more is in use than there may be now: {limits}; nothing more is given until it is freed");
            paint.warning(&text) + "\n"
        }
    })
}

/// `vkmpsctl mode`.
pub(crate) async fn mode(
    service: &Service,
    mode: Option<&str>,
    quota: Option<u64>,
    format: Format,
) -> Result<(), Error> {
    if let Some(mode) = mode {
        let () = service.guarded("SetSchedulingMode", &mode).await?;
    }
    if let Some(quota) = quota {
        let () = service.guarded("SetLoopSliceQuota", &quota).await?;
    }
    if mode.is_some() || quota.is_some() {
        let set = json!({"mode": mode, "loop_slice_quota": quota});
        return format.show(&set, |_| String::new());
    }
    let mode = service.manager().scheduling_mode().await?;
    let quota = service.manager().loop_slice_quota().await?;
    format.show(&json!({"mode": mode, "loop_slice_quota": quota}), |_| {
        format!("{}\n", escape(&mode))
    })
}

/// A user by name or number.
fn user(text: &str) -> Result<u32, String> {
    if let Ok(uid) = text.parse() {
        return Ok(uid);
    }
    match User::from_name(text) {
        Ok(Some(user)) => Ok(user.uid.as_raw()),
        Ok(None) => Err("there is no such user".to_owned()),
        Err(errno) => Err(errno.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    #[derive(Debug, Parser)]
    struct Line {
        #[command(flatten)]
        options: Options,
    }

    fn parse(words: &str) -> Result<Options, clap::Error> {
        let words = ["x"].into_iter().chain(words.split_whitespace());
        Line::try_parse_from(words).map(|line| line.options)
    }

    #[test]
    fn limits_are_of_a_client_a_user_or_all() {
        let client = parse("7 --memory 2G --active-thread-percentage 30").unwrap();
        assert_eq!(
            (client.client, client.user, client.default),
            (Some(7), None, false)
        );
        assert_eq!(client.limits.given()["memory"], Variant::from("2G"));
        assert_eq!(
            client.limits.given()["active-thread-percentage"],
            Variant::from(30_u8)
        );
        let user = parse("--user root --reserved-percentage 0 --weight default").unwrap();
        assert_eq!(user.user, Some(0));
        assert_eq!(user.limits.given()["weight"], Variant::from("default"));
        assert!(parse("--default --streams 5").unwrap().default);
    }

    #[test]
    fn what_makes_no_sense_is_no_command() {
        for words in [
            "7",
            "--memory 2G",
            "--default",
            "7 --user root --memory 2G",
            "7 --default --memory 2G",
            "7 --reserved-percentage 5",
            "--user root --buffers 5",
            "--user nobody-has-this-name --memory 2G",
            "7 --memory 0",
            "7 --memory nan",
            "7 --memory 1e3",
            "7 --active-thread-percentage 256",
            "7 --active-thread-percentage -1",
        ] {
            assert!(parse(words).is_err(), "{words}");
        }
    }
}
