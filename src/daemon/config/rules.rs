//! What clients and users may have: the tables `limits`, `realtime` and `rule`.

use super::accounts::{Account, Accounts};
use super::value::{self, Count, Memory, Time};
use serde::Deserialize;
use std::collections::{BTreeMap, BTreeSet};
use vkmps_broker::{ClientSettings, UserSettings};
use vkmps_protocol::limits::{MAX_BUFFERS, MAX_PROGRAMS, MAX_STREAMS, MAX_SUBMITS};
use vkmps_protocol::message::Priority;
use vkmps_protocol::share::{CAPS, WEIGHTS};

/// Of every client and every user, unless a rule says otherwise.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(
    default,
    deny_unknown_fields,
    rename_all = "kebab-case",
    expecting = "a table"
)]
pub(crate) struct Limits {
    memory: Memory,
    active_thread_percentage: Percentage,
    buffers: Buffers,
    programs: Programs,
    streams: Streams,
    submits: Submits,
    user_memory: Memory,
    user_active_thread_percentage: Percentage,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            memory: Memory::ALL,
            active_thread_percentage: Count::known(100),
            buffers: Count::known(MAX_BUFFERS as u64),
            programs: Count::known(MAX_PROGRAMS as u64),
            streams: Count::known(MAX_STREAMS as u64),
            submits: Count::known(MAX_SUBMITS as u64),
            user_memory: Memory::ALL,
            user_active_thread_percentage: Count::known(100),
        }
    }
}

/// How long clients of priority realtime run as such.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(
    default,
    deny_unknown_fields,
    rename_all = "kebab-case",
    expecting = "a table"
)]
pub(crate) struct Realtime {
    /// Device time that each has in a period.
    pub(crate) budget: Time<1, 10_000>,
    /// The period.
    pub(crate) period: Time<1, 10_000>,
}

impl Default for Realtime {
    fn default() -> Self {
        Self {
            budget: Time::known(20),
            period: Time::known(100),
        }
    }
}

/// What is different for some users.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize)]
#[serde(
    default,
    deny_unknown_fields,
    rename_all = "kebab-case",
    expecting = "a table"
)]
pub(crate) struct Rule {
    users: Vec<Account>,
    groups: Vec<Account>,
    weight: Option<Weight>,
    reserved_percentage: Option<Percentage>,
    user_active_thread_percentage: Option<Percentage>,
    user_memory: Option<Memory>,
    active_thread_percentage: Option<Percentage>,
    memory: Option<Memory>,
    buffers: Option<Buffers>,
    programs: Option<Programs>,
    streams: Option<Streams>,
    submits: Option<Submits>,
    #[serde(deserialize_with = "value::some_priority")]
    max_priority: Option<Priority>,
}

/// What no single value is to blame for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Complaint {
    /// The table.
    pub(super) table: &'static str,
    /// Which of several of the name.
    pub(super) index: usize,
    /// In it.
    pub(super) key: &'static str,
    /// What is wrong, and what is allowed.
    pub(super) text: String,
}

impl Limits {
    fn of_client(&self) -> ClientSettings {
        ClientSettings {
            memory: Some(self.memory.amount()),
            cap_percent: Some(small(self.active_thread_percentage)),
            buffers: Some(number(self.buffers)),
            programs: Some(number(self.programs)),
            streams: Some(number(self.streams)),
            submits: Some(number(self.submits)),
            weight: None,
            max_priority: None,
        }
    }

    fn of_user(&self) -> UserSettings {
        UserSettings {
            memory: Some(self.user_memory.amount()),
            cap_percent: Some(small(self.user_active_thread_percentage)),
            weight: None,
            reserve_percent: None,
        }
    }
}

impl Realtime {
    pub(super) fn check(&self) -> Result<(), Complaint> {
        match self.budget.duration() <= self.period.duration() {
            true => Ok(()),
            false => Err(Complaint {
                table: "realtime",
                index: 0,
                key: "budget",
                text: "a budget longer than its period, expected at most realtime.period"
                    .to_owned(),
            }),
        }
    }
}

impl Rule {
    /// With names made numbers.
    fn resolve(&self, index: usize, accounts: &Accounts) -> Result<vkmps_broker::Rule, Complaint> {
        let complaint = |key| {
            move |text: String| Complaint {
                table: "rule",
                index,
                key,
                text,
            }
        };
        if self.users.is_empty() && self.groups.is_empty() {
            return Err(complaint("")(
                "a rule for nobody, expected users or groups".to_owned(),
            ));
        }
        if self.reserved_percentage.is_some() && !self.groups.is_empty() {
            let text = "a part reserved for the members of groups, expected a rule with users only";
            return Err(complaint("reserved-percentage")(text.to_owned()));
        }
        let users = self.users.iter().map(|user| accounts.user(user));
        let groups = self.groups.iter().map(|group| accounts.group(group));
        Ok(vkmps_broker::Rule {
            users: users
                .collect::<Result<BTreeSet<_>, _>>()
                .map_err(complaint("users"))?,
            groups: groups
                .collect::<Result<BTreeSet<_>, _>>()
                .map_err(complaint("groups"))?,
            client: ClientSettings {
                memory: self.memory.map(Memory::amount),
                cap_percent: self.active_thread_percentage.map(small),
                weight: None,
                buffers: self.buffers.map(number),
                programs: self.programs.map(number),
                streams: self.streams.map(number),
                submits: self.submits.map(number),
                max_priority: self.max_priority,
            },
            user: UserSettings {
                memory: self.user_memory.map(Memory::amount),
                cap_percent: self.user_active_thread_percentage.map(small),
                weight: self
                    .weight
                    .map(|weight| u16::try_from(weight.number()).unwrap_or(u16::MAX)),
                reserve_percent: self.reserved_percentage.map(small),
            },
        })
    }
}

/// Rules with names made numbers, which together make sense.
pub(super) fn resolve(
    rules: &[Rule],
    accounts: &Accounts,
) -> Result<Vec<vkmps_broker::Rule>, Complaint> {
    let resolved = rules.iter().enumerate();
    let resolved = resolved.map(|(index, rule)| rule.resolve(index, accounts));
    let limits = together(&Limits::default(), resolved.collect::<Result<_, _>>()?);
    let reserves = |rule: &vkmps_broker::Rule| rule.user.reserve_percent.is_some();
    match limits.reserved_percent(&BTreeMap::new()) {
        0..=100 => Ok(limits.rules),
        sum => Err(Complaint {
            table: "rule",
            // The last one that reserves something is the one too many.
            index: limits.rules.iter().rposition(reserves).unwrap_or(0),
            key: "reserved-percentage",
            text: format!("{sum} percent reserved in all, expected at most 100"),
        }),
    }
}

/// What the broker is told of all of them.
pub(super) fn together(limits: &Limits, rules: Vec<vkmps_broker::Rule>) -> vkmps_broker::Limits {
    vkmps_broker::Limits {
        client: limits.of_client(),
        user: limits.of_user(),
        rules,
    }
}

fn small<const MIN: u64, const MAX: u64>(count: Count<MIN, MAX>) -> u8 {
    u8::try_from(count.number()).unwrap_or(u8::MAX)
}

fn number<const MIN: u64, const MAX: u64>(count: Count<MIN, MAX>) -> u32 {
    u32::try_from(count.number()).unwrap_or(u32::MAX)
}

type Percentage = Count<{ *CAPS.start() as u64 }, { *CAPS.end() as u64 }>;
type Weight = Count<{ *WEIGHTS.start() as u64 }, { *WEIGHTS.end() as u64 }>;
type Buffers = Count<1, { MAX_BUFFERS as u64 }>;
type Programs = Count<1, { MAX_PROGRAMS as u64 }>;
type Streams = Count<1, { MAX_STREAMS as u64 }>;
type Submits = Count<1, { MAX_SUBMITS as u64 }>;
