//! What a client and a user may have: who decided it, and what comes of it.
//!
//! Of a client, for each limit: what an administrator set for it while the daemon ran, else the first rule that covers its
//! user and says something of it, else the defaults. A client's own wish can only make that tighter. Of a user: what an
//! administrator set, else the first rule, else the defaults.

use crate::memory::MemoryBytes;
use std::collections::{BTreeMap, BTreeSet};
use vkmps_protocol::limits::{MAX_BUFFERS, MAX_PROGRAMS, MAX_STREAMS, MAX_SUBMITS};
use vkmps_protocol::message::Priority;
use vkmps_protocol::quota::{Amount, Wish};
use vkmps_protocol::share::{DEFAULT_WEIGHT, NO_CAP};

/// Limits of one client, as far as somebody decided them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ClientSettings {
    /// Memory: of the device, and of the host where the device has its own, each.
    pub memory: Option<Amount>,
    /// Most of the device's time, percent.
    pub cap_percent: Option<u8>,
    /// Its part of its user's device time, against the user's other clients.
    pub weight: Option<u16>,
    /// Most buffers.
    pub buffers: Option<u32>,
    /// Most programs.
    pub programs: Option<u32>,
    /// Most streams.
    pub streams: Option<u32>,
    /// Most submits that are not over.
    pub submits: Option<u32>,
    /// Highest priority.
    pub max_priority: Option<Priority>,
}

/// Limits of one user's clients together, as far as somebody decided them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct UserSettings {
    /// Memory: of the device, and of the host where the device has its own, each.
    pub memory: Option<Amount>,
    /// Most of the device's time, percent.
    pub cap_percent: Option<u8>,
    /// Its part of the device's time, against other users.
    pub weight: Option<u16>,
    /// Least of the device's time while it has work, percent.
    pub reserve_percent: Option<u8>,
}

/// What is different for some users.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Rule {
    /// Users it covers.
    pub users: BTreeSet<u32>,
    /// Groups whose members it covers.
    pub groups: BTreeSet<u32>,
    /// Of each of their clients.
    pub client: ClientSettings,
    /// Of each of them.
    pub user: UserSettings,
}

/// What the configuration says of limits.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Limits {
    /// Of every client.
    pub client: ClientSettings,
    /// Of every user.
    pub user: UserSettings,
    /// The first that says something of a limit decides it.
    pub rules: Vec<Rule>,
}

/// A setting that is to be changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Change<T> {
    /// It stays.
    #[default]
    Keep,
    /// It is left to the configuration again.
    Clear,
    /// It becomes this.
    Set(T),
}

/// What to change of a client's settings, or of those of all.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ClientChanges {
    /// See [`ClientSettings::memory`].
    pub memory: Change<Amount>,
    /// See [`ClientSettings::cap_percent`].
    pub cap_percent: Change<u8>,
    /// See [`ClientSettings::weight`].
    pub weight: Change<u16>,
    /// See [`ClientSettings::buffers`].
    pub buffers: Change<u32>,
    /// See [`ClientSettings::programs`].
    pub programs: Change<u32>,
    /// See [`ClientSettings::streams`].
    pub streams: Change<u32>,
    /// See [`ClientSettings::submits`].
    pub submits: Change<u32>,
}

/// What to change of a user's settings.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct UserChanges {
    /// See [`UserSettings::memory`].
    pub memory: Change<Amount>,
    /// See [`UserSettings::cap_percent`].
    pub cap_percent: Change<u8>,
    /// See [`UserSettings::weight`].
    pub weight: Change<u16>,
    /// See [`UserSettings::reserve_percent`].
    pub reserve_percent: Change<u8>,
}

/// What one client may have, all things considered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ClientLimits {
    /// Bytes, by class.
    pub memory: MemoryBytes,
    /// Percent; 100 is no cap.
    pub cap_percent: u8,
    /// Against the user's other clients.
    pub weight: u16,
    /// How many at most.
    pub buffers: u32,
    /// How many at most.
    pub programs: u32,
    /// How many at most.
    pub streams: u32,
    /// How many at most that are not over.
    pub submits: u32,
    /// That it may ask for, or be given by its own user.
    pub max_priority: Priority,
}

/// What one user's clients may have together, all things considered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct UserLimits {
    /// Bytes, by class.
    pub memory: MemoryBytes,
    /// Percent; 100 is no cap.
    pub cap_percent: u8,
    /// Against other users.
    pub weight: u16,
    /// Percent; 0 is none.
    pub reserve_percent: u8,
}

impl ClientSettings {
    /// What this leaves open, the other decides.
    pub fn or(self, other: Self) -> Self {
        Self {
            memory: self.memory.or(other.memory),
            cap_percent: self.cap_percent.or(other.cap_percent),
            weight: self.weight.or(other.weight),
            buffers: self.buffers.or(other.buffers),
            programs: self.programs.or(other.programs),
            streams: self.streams.or(other.streams),
            submits: self.submits.or(other.submits),
            max_priority: self.max_priority.or(other.max_priority),
        }
    }

    pub(crate) fn change(&mut self, changes: &ClientChanges) {
        changes.memory.apply(&mut self.memory);
        changes.cap_percent.apply(&mut self.cap_percent);
        changes.weight.apply(&mut self.weight);
        changes.buffers.apply(&mut self.buffers);
        changes.programs.apply(&mut self.programs);
        changes.streams.apply(&mut self.streams);
        changes.submits.apply(&mut self.submits);
    }

    /// What they come to where there is so much memory.
    pub(crate) fn limits(&self, total: MemoryBytes) -> ClientLimits {
        let most = |limit: Option<u32>, all: usize| {
            let all = u32::try_from(all).unwrap_or(u32::MAX);
            limit.map_or(all, |limit| limit.min(all))
        };
        ClientLimits {
            memory: total.part(self.memory.unwrap_or(Amount::ALL)),
            cap_percent: self.cap_percent.unwrap_or(NO_CAP),
            weight: self.weight.unwrap_or(DEFAULT_WEIGHT),
            buffers: most(self.buffers, MAX_BUFFERS),
            programs: most(self.programs, MAX_PROGRAMS),
            streams: most(self.streams, MAX_STREAMS),
            submits: most(self.submits, MAX_SUBMITS),
            max_priority: self.max_priority.unwrap_or(Priority::Realtime),
        }
    }
}

impl ClientChanges {
    /// What an administrator changes is no longer as the client's own user tightened it.
    pub(crate) fn overruled(&self) -> Self {
        Self {
            memory: self.memory.overruled(),
            cap_percent: self.cap_percent.overruled(),
            weight: self.weight.overruled(),
            buffers: self.buffers.overruled(),
            programs: self.programs.overruled(),
            streams: self.streams.overruled(),
            submits: self.submits.overruled(),
        }
    }
}

impl ClientSettings {
    /// What a client wishes for: an amount of memory may be bytes, or a part, or both.
    pub(crate) fn of_wish(wish: Wish) -> [Self; 2] {
        let memory = |amount| Self {
            memory: amount,
            cap_percent: wish.cap_percent,
            ..Self::default()
        };
        [
            memory(wish.memory_bytes.map(Amount::Bytes)),
            memory(wish.memory_percent.map(Amount::Percent)),
        ]
    }
}

impl UserSettings {
    /// What this leaves open, the other decides.
    pub fn or(self, other: Self) -> Self {
        Self {
            memory: self.memory.or(other.memory),
            cap_percent: self.cap_percent.or(other.cap_percent),
            weight: self.weight.or(other.weight),
            reserve_percent: self.reserve_percent.or(other.reserve_percent),
        }
    }

    pub(crate) fn change(&mut self, changes: &UserChanges) {
        changes.memory.apply(&mut self.memory);
        changes.cap_percent.apply(&mut self.cap_percent);
        changes.weight.apply(&mut self.weight);
        changes.reserve_percent.apply(&mut self.reserve_percent);
    }

    /// What they come to where there is so much memory.
    pub(crate) fn limits(&self, total: MemoryBytes) -> UserLimits {
        UserLimits {
            memory: total.part(self.memory.unwrap_or(Amount::ALL)),
            cap_percent: self.cap_percent.unwrap_or(NO_CAP),
            weight: self.weight.unwrap_or(DEFAULT_WEIGHT),
            reserve_percent: self.reserve_percent.unwrap_or(0),
        }
    }
}

impl ClientLimits {
    /// As tight as these settings ask for, where they do.
    pub(crate) fn tightened(self, wish: &ClientSettings, total: MemoryBytes) -> Self {
        let tighter = |most: u32, wish: Option<u32>| wish.map_or(most, |wish| wish.min(most));
        let memory = wish.memory.map(|amount| total.part(amount));
        Self {
            memory: memory.map_or(self.memory, |memory| memory.least(self.memory)),
            cap_percent: self.cap_percent.min(wish.cap_percent.unwrap_or(NO_CAP)),
            weight: self.weight.min(wish.weight.unwrap_or(u16::MAX)),
            buffers: tighter(self.buffers, wish.buffers),
            programs: tighter(self.programs, wish.programs),
            streams: tighter(self.streams, wish.streams),
            submits: tighter(self.submits, wish.submits),
            max_priority: self.max_priority,
        }
    }

    /// Whether none of the limits that changes name would become wider.
    pub(crate) fn bounds(&self, changes: &ClientChanges, total: MemoryBytes) -> bool {
        let within = |amount| {
            let part = total.part(amount);
            part == part.least(self.memory)
        };
        changes.memory.all(within)
            && changes.cap_percent.all(|cap| cap <= self.cap_percent)
            && changes.weight.all(|weight| weight <= self.weight)
            && changes.buffers.all(|most| most <= self.buffers)
            && changes.programs.all(|most| most <= self.programs)
            && changes.streams.all(|most| most <= self.streams)
            && changes.submits.all(|most| most <= self.submits)
    }
}

impl<T: Copy> Change<T> {
    fn overruled(self) -> Self {
        match self {
            Self::Keep => Self::Keep,
            Self::Clear | Self::Set(_) => Self::Clear,
        }
    }

    fn apply(self, setting: &mut Option<T>) {
        match self {
            Self::Keep => {}
            Self::Clear => *setting = None,
            Self::Set(value) => *setting = Some(value),
        }
    }

    /// Whether a value holds if there is one; what is left to the configuration again never does.
    fn all(self, holds: impl Fn(T) -> bool) -> bool {
        match self {
            Self::Keep => true,
            Self::Clear => false,
            Self::Set(value) => holds(value),
        }
    }
}

impl Rule {
    fn covers(&self, uid: u32, groups: &BTreeSet<u32>) -> bool {
        self.users.contains(&uid) || !self.groups.is_disjoint(groups)
    }
}

impl Limits {
    /// What the configuration says of a user's clients.
    pub(crate) fn of_client(&self, uid: u32, groups: &BTreeSet<u32>) -> ClientSettings {
        let settings = self.covering(uid, groups).map(|rule| rule.client);
        settings.fold(ClientSettings::default(), ClientSettings::or)
    }

    /// What the configuration says of a user.
    pub(crate) fn of_user(&self, uid: u32, groups: &BTreeSet<u32>) -> UserSettings {
        let settings = self.covering(uid, groups).map(|rule| rule.user);
        settings
            .fold(UserSettings::default(), UserSettings::or)
            .or(self.user)
    }

    /// What is reserved for all users together, percent, where some have other settings than the rules say. Reserves
    /// are given to users, not to groups: who is in a group is not known before it comes.
    pub fn reserved_percent(&self, set: &BTreeMap<u32, UserSettings>) -> u32 {
        let named = self.rules.iter().flat_map(|rule| &rule.users);
        let users: BTreeSet<u32> = named.chain(set.keys()).copied().collect();
        let reserve = |uid| {
            let own = set.get(&uid).copied().unwrap_or_default();
            let settings = own.or(self.of_user(uid, &BTreeSet::new()));
            u32::from(settings.reserve_percent.unwrap_or(0))
        };
        users.into_iter().map(reserve).sum()
    }

    fn covering(&self, uid: u32, groups: &BTreeSet<u32>) -> impl Iterator<Item = &Rule> {
        self.rules
            .iter()
            .filter(move |rule| rule.covers(uid, groups))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TOTAL: MemoryBytes = MemoryBytes {
        device: 1000,
        shared: 4000,
    };

    fn rule(users: &[u32], groups: &[u32], cap: u8) -> Rule {
        Rule {
            users: users.iter().copied().collect(),
            groups: groups.iter().copied().collect(),
            client: ClientSettings {
                cap_percent: Some(cap),
                ..ClientSettings::default()
            },
            user: UserSettings::default(),
        }
    }

    fn groups(ids: &[u32]) -> BTreeSet<u32> {
        ids.iter().copied().collect()
    }

    #[test]
    fn the_first_rule_that_says_something_of_a_limit_decides_it() {
        let mut memory_only = rule(&[1000], &[], 50);
        memory_only.client = ClientSettings {
            memory: Some(Amount::Percent(10)),
            ..ClientSettings::default()
        };
        let limits = Limits {
            rules: vec![memory_only, rule(&[], &[7], 30), rule(&[1000], &[], 20)],
            ..Limits::default()
        };
        let of = |uid, of: &[u32]| limits.of_client(uid, &groups(of));
        assert_eq!(of(1000, &[]).cap_percent, Some(20));
        assert_eq!(of(1000, &[7, 8]).cap_percent, Some(30));
        assert_eq!(of(1000, &[7]).memory, Some(Amount::Percent(10)));
        assert_eq!(of(1001, &[7]).memory, None);
        assert_eq!(of(1001, &[8]), ClientSettings::default());
    }

    #[test]
    fn a_part_of_the_memory_is_one_of_each_class() {
        let settings = ClientSettings {
            memory: Some(Amount::Percent(25)),
            ..ClientSettings::default()
        };
        let limits = settings.limits(TOTAL);
        assert_eq!((limits.memory.device, limits.memory.shared), (250, 1000));
        assert_eq!(limits.buffers, 65_536);
        assert_eq!(limits.submits, 32_768);
    }

    #[test]
    fn only_changes_that_widen_nothing_are_within_bounds() {
        let settings = ClientSettings {
            memory: Some(Amount::Bytes(500)),
            cap_percent: Some(30),
            ..ClientSettings::default()
        };
        let limits = settings.limits(TOTAL);
        let memory = |change| ClientChanges {
            memory: change,
            ..ClientChanges::default()
        };
        let cap = |change| ClientChanges {
            cap_percent: change,
            ..ClientChanges::default()
        };
        assert!(limits.bounds(&ClientChanges::default(), TOTAL));
        assert!(limits.bounds(&memory(Change::Set(Amount::Bytes(500))), TOTAL));
        assert!(!limits.bounds(&memory(Change::Set(Amount::Bytes(501))), TOTAL));
        assert!(!limits.bounds(&memory(Change::Clear), TOTAL));
        assert!(limits.bounds(&cap(Change::Set(30)), TOTAL));
        assert!(!limits.bounds(&cap(Change::Set(31)), TOTAL));
    }

    #[test]
    fn reserves_are_added_up_by_user_and_what_was_set_counts_instead_of_the_rule() {
        let reserve = |percent| UserSettings {
            reserve_percent: Some(percent),
            ..UserSettings::default()
        };
        let mut both = rule(&[1, 2], &[], 100);
        both.user = reserve(30);
        let mut again = rule(&[2, 3], &[], 100);
        again.user = reserve(20);
        let limits = Limits {
            rules: vec![both, again],
            ..Limits::default()
        };
        assert_eq!(limits.reserved_percent(&BTreeMap::new()), 80);
        let set = BTreeMap::from([(1, reserve(5)), (9, reserve(50))]);
        assert_eq!(limits.reserved_percent(&set), 105);
    }
}
