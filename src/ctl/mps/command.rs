//! The language: what a line asks for.

use std::time::Duration;

/// A command of NVIDIA's control program. A `server` is the pid that get_server_list prints.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Command {
    GetServerList,
    GetServerStatus {
        server: Option<u32>,
    },
    GetClientList {
        server: u32,
    },
    GetDeviceClientList {
        server: Option<u32>,
    },
    Ps {
        server: Option<u32>,
    },
    StartServer {
        uid: Option<u32>,
    },
    TerminateClient {
        server: u32,
        client: u32,
    },
    DeviceQuery {
        server: Option<u32>,
        csv: bool,
    },
    Quit {
        timeout: Option<Duration>,
    },
    /// A limit of a server's clients, or of those of all; there is one server, so that this is the same.
    Limit {
        server: Option<u32>,
        limit: Limit,
        /// Sets it; else it is printed.
        value: Option<String>,
    },
    /// One that vkmpsd cannot obey yet.
    Later(&'static str),
    Unknown(String),
}

/// A limit that MPS knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Limit {
    ActiveThreadPercentage,
    /// Of a device, by its ordinal.
    PinnedMemory {
        device: u32,
    },
}

impl Command {
    /// Nothing for an empty line. As in the original, a number that is none is 0 and words too many are ignored.
    pub(super) fn parse(line: &str) -> Option<Self> {
        let mut words = line.split_whitespace();
        let name = words.next()?;
        let words: Vec<&str> = words.collect();
        let number_at = |index: usize| words.get(index).map(|word| number(word));
        let after = |option: &str| {
            let position = words.iter().position(|word| *word == option)?;
            number_at(position + 1)
        };
        Some(match name {
            "get_server_list" => Self::GetServerList,
            "get_server_status" => Self::GetServerStatus {
                server: number_at(0),
            },
            "get_client_list" => Self::GetClientList {
                server: number_at(0).unwrap_or(0),
            },
            "get_device_client_list" => Self::GetDeviceClientList {
                server: number_at(0),
            },
            "ps" => Self::Ps {
                server: after("-p"),
            },
            "start_server" => Self::StartServer { uid: after("-uid") },
            "terminate_client" => Self::TerminateClient {
                server: number_at(0).unwrap_or(0),
                client: number_at(1).unwrap_or(0),
            },
            "device_query" => Self::DeviceQuery {
                server: words
                    .iter()
                    .find(|word| !word.starts_with('-'))
                    .map(|word| number(word)),
                csv: words.contains(&"--csv"),
            },
            name if name.ends_with("active_thread_percentage")
                || name.ends_with("pinned_mem_limit") =>
            {
                return Some(Self::limit(name, &words));
            }
            "quit" => Self::Quit {
                timeout: after("-t").map(|seconds| Duration::from_secs(seconds.into())),
            },
            name => match LATER.iter().find(|later| **later == name) {
                Some(later) => Self::Later(later),
                None => Self::Unknown(name.to_owned()),
            },
        })
    }
}

impl Command {
    /// `{get,set}[_default]_{active_thread_percentage,device_pinned_mem_limit} [PID] [DEVICE] [VALUE]`.
    fn limit(name: &str, words: &[&str]) -> Self {
        let mut words = words.iter();
        let mut word = || words.next().copied().unwrap_or_default();
        let unknown = || Self::Unknown(name.to_owned());
        let (sets, rest) = match name.split_once('_') {
            Some(("set", rest)) => (true, rest),
            Some(("get", rest)) => (false, rest),
            _ => return unknown(),
        };
        let (server, rest) = match rest.strip_prefix("default_") {
            Some(rest) => (None, rest),
            None => (Some(number(word())), rest),
        };
        let limit = match rest {
            "active_thread_percentage" => Limit::ActiveThreadPercentage,
            "device_pinned_mem_limit" => Limit::PinnedMemory {
                device: number(word()),
            },
            _ => return unknown(),
        };
        let value = sets.then(|| word().to_owned());
        Self::Limit {
            server,
            limit,
            value,
        }
    }
}

fn number(word: &str) -> u32 {
    word.parse().unwrap_or(0)
}

/// What needs a part of vkmpsd that does not exist.
const LATER: [&str; 5] = [
    "set_default_client_priority",
    "get_default_client_priority",
    "sm_partition",
    "lspart",
    "shutdown_server",
];

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &str) -> Command {
        Command::parse(line).expect("it is not empty")
    }

    #[test]
    fn arguments_are_found_where_mps_has_them() {
        assert_eq!(parse(" get_server_list \r"), Command::GetServerList);
        assert_eq!(
            parse("get_server_status 12"),
            Command::GetServerStatus { server: Some(12) }
        );
        assert_eq!(parse("ps"), Command::Ps { server: None });
        assert_eq!(parse("ps -p 7"), Command::Ps { server: Some(7) });
        assert_eq!(
            parse("start_server -uid 1000"),
            Command::StartServer { uid: Some(1000) }
        );
        assert_eq!(
            parse("terminate_client 12 34"),
            Command::TerminateClient {
                server: 12,
                client: 34
            }
        );
        let queried = Command::DeviceQuery {
            server: Some(12),
            csv: true,
        };
        assert_eq!(parse("device_query --csv 12"), queried);
        assert_eq!(parse("device_query 12 --csv"), queried);
        let timeout = Some(Duration::from_secs(5));
        assert_eq!(parse("quit -t 5"), Command::Quit { timeout });
        assert_eq!(parse("quit"), Command::Quit { timeout: None });
    }

    #[test]
    fn what_is_missing_or_no_number_is_zero() {
        assert_eq!(
            parse("get_client_list"),
            Command::GetClientList { server: 0 }
        );
        assert_eq!(
            parse("get_client_list x"),
            Command::GetClientList { server: 0 }
        );
        assert_eq!(parse("start_server"), Command::StartServer { uid: None });
        assert_eq!(
            parse("start_server -uid"),
            Command::StartServer { uid: None }
        );
        assert_eq!(
            parse("get_server_status 99999999999"),
            Command::GetServerStatus { server: Some(0) }
        );
    }

    #[test]
    fn what_is_yet_to_come_is_documented() {
        let page = include_str!("../../../debian/man/vkmps-control.1");
        for name in LATER {
            assert!(page.contains(name), "{name}");
        }
    }

    #[test]
    fn other_words_are_unknown_or_yet_to_come() {
        assert_eq!(Command::parse(" \t"), None);
        assert_eq!(parse("PS"), Command::Unknown("PS".into()));
        assert_eq!(parse("sm_partition 5"), Command::Later("sm_partition"));
    }

    #[test]
    fn limits_have_their_arguments_in_the_order_of_mps() {
        let percentage = Limit::ActiveThreadPercentage;
        let memory = Limit::PinnedMemory { device: 0 };
        for (line, server, limit, value) in [
            (
                "set_default_active_thread_percentage 50",
                None,
                percentage,
                Some("50"),
            ),
            (
                "get_default_active_thread_percentage",
                None,
                percentage,
                None,
            ),
            (
                "set_active_thread_percentage 12 50.5",
                Some(12),
                percentage,
                Some("50.5"),
            ),
            (
                "get_active_thread_percentage 12",
                Some(12),
                percentage,
                None,
            ),
            (
                "set_default_device_pinned_mem_limit 0 2G",
                None,
                memory,
                Some("2G"),
            ),
            ("get_default_device_pinned_mem_limit 0", None, memory, None),
            (
                "set_device_pinned_mem_limit 12 0 512M",
                Some(12),
                memory,
                Some("512M"),
            ),
            ("get_device_pinned_mem_limit 12 0", Some(12), memory, None),
            (
                "set_default_active_thread_percentage",
                None,
                percentage,
                Some(""),
            ),
        ] {
            let value = value.map(str::to_owned);
            let expected = Command::Limit {
                server,
                limit,
                value,
            };
            assert_eq!(parse(line), expected, "{line}");
        }
        let other = "xset_active_thread_percentage";
        assert_eq!(parse(other), Command::Unknown(other.to_owned()));
    }
}
