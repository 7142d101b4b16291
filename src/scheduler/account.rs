//! What one user may have: its clients of all priorities together.

use crate::bucket::Bucket;
use crate::policy::{Realtime, Share};
use std::collections::HashMap;

/// All users that have clients, or a share of their own.
#[derive(Debug, Default)]
pub(crate) struct Accounts {
    slots: Vec<Account>,
    free: Vec<u32>,
    names: HashMap<u32, u32>,
    /// Those with a reserve; administrators name few.
    reserved: Vec<u32>,
}

#[derive(Debug)]
pub(crate) struct Account {
    uid: u32,
    pub(crate) share: Share,
    pub(crate) members: usize,
    pub(crate) cap: Option<Bucket>,
    reserve: Option<Bucket>,
    /// Its cap is used up for the moment.
    pub(crate) throttled: bool,
    /// REALTIME work of this period, and when that began.
    realtime_ns: u64,
    period_ns: u64,
    /// Its REALTIME clients run as HIGH until the period ends.
    pub(crate) demoted: bool,
}

impl Accounts {
    pub(crate) fn of(&mut self, uid: u32) -> u32 {
        if let Some(index) = self.names.get(&uid) {
            return *index;
        }
        let account = Account {
            uid,
            share: Share::default(),
            members: 0,
            cap: None,
            reserve: None,
            throttled: false,
            realtime_ns: 0,
            period_ns: 0,
            demoted: false,
        };
        let index = match self.free.pop() {
            Some(index) => {
                self.slots[index as usize] = account;
                index
            }
            None => {
                self.slots.push(account);
                u32::try_from(self.slots.len() - 1).expect("UIDs have 32 bits")
            }
        };
        self.names.insert(uid, index);
        index
    }

    pub(crate) fn get(&self, index: u32) -> &Account {
        &self.slots[index as usize]
    }

    pub(crate) fn get_mut(&mut self, index: u32) -> &mut Account {
        &mut self.slots[index as usize]
    }

    pub(crate) fn set_share(&mut self, index: u32, share: Share, now_ns: u64) {
        let account = &mut self.slots[index as usize];
        account.share = share;
        account.cap = bucket(account.cap, share.cap, now_ns);
        let reserve = Some(share.reserve).filter(|percent| *percent > 0);
        account.reserve = bucket(account.reserve, reserve, now_ns);
        self.reserved.retain(|other| *other != index);
        if reserve.is_some() {
            self.reserved.push(index);
        }
    }

    /// Forgets a user of whom nothing is left to remember.
    pub(crate) fn forget(&mut self, index: u32) {
        let account = &self.slots[index as usize];
        let known = account.members > 0
            || account.share != Share::default()
            || account.realtime_ns > 0
            || account.demoted;
        if !known && self.names.remove(&account.uid).is_some() {
            self.free.push(index);
        }
    }

    /// Users that are to have more than they had, whatever others want.
    pub(crate) fn owed(&mut self, now_ns: u64) -> impl Iterator<Item = u32> {
        let slots = &mut self.slots;
        self.reserved.iter().copied().filter(move |index| {
            let account = &mut slots[*index as usize];
            !account.throttled
                && account
                    .reserve
                    .as_mut()
                    .is_some_and(|reserve| reserve.is_open(now_ns))
        })
    }

    pub(crate) fn any_reserved(&self) -> bool {
        !self.reserved.is_empty()
    }

    pub(crate) fn all(&self) -> impl Iterator<Item = u32> {
        self.names.values().copied()
    }
}

impl Account {
    /// Its clients are served work of this length. True if that used its cap up.
    pub(crate) fn take(&mut self, length_ns: u64, now_ns: u64) -> bool {
        if let Some(reserve) = &mut self.reserve {
            reserve.take(length_ns);
            reserve.forgive();
        }
        let Some(cap) = &mut self.cap else {
            return false;
        };
        cap.take(length_ns);
        !self.throttled && !cap.is_open(now_ns)
    }

    pub(crate) fn correct(&mut self, less_ns: i64) {
        for bucket in [&mut self.cap, &mut self.reserve].into_iter().flatten() {
            bucket.correct(less_ns);
        }
    }

    /// REALTIME work of this length. True if that was the last of the budget.
    pub(crate) fn take_realtime(&mut self, length_ns: u64, now_ns: u64, limit: Realtime) -> bool {
        if self.realtime_ns == 0 || now_ns >= self.period_ends_ns(limit) {
            (self.period_ns, self.realtime_ns) = (now_ns, 0);
        }
        self.realtime_ns = self.realtime_ns.saturating_add(length_ns.max(1));
        !self.demoted && u128::from(self.realtime_ns) > limit.budget.as_nanos()
    }

    pub(crate) fn period_ends_ns(&self, limit: Realtime) -> u64 {
        let period_ns = u64::try_from(limit.period.as_nanos()).unwrap_or(u64::MAX);
        self.period_ns.saturating_add(period_ns)
    }

    /// A new period begins.
    pub(crate) fn renew(&mut self) {
        (self.realtime_ns, self.demoted) = (0, false);
    }
}

/// The bucket for a percentage; one that stays as it is keeps what it has.
pub(crate) fn bucket(before: Option<Bucket>, percent: Option<u8>, now_ns: u64) -> Option<Bucket> {
    let percent = percent.filter(|percent| (1..=100).contains(percent))?;
    Some(match before {
        Some(bucket) if bucket.percent() == percent => bucket,
        _ => Bucket::new(percent, now_ns),
    })
}
