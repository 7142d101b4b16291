//! What limits clients and users over time: caps, REALTIME budgets, and how long who does nothing is waited for.

use super::Shares;
use crate::ClientKey;
use crate::account::bucket;
use crate::policy::{Policy, Share};
use std::cmp::Reverse;
use vkmps_protocol::message::Priority;

/// Something that ends; looked at again when it does, whether it still holds or not.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Wake {
    /// A client's cap holds it back.
    Client(u32),
    /// A user's does.
    User(u32),
    /// A pool's does.
    Pool(u64),
    /// A user's REALTIME clients are demoted, or may be forgotten.
    Period(u32),
}

impl Shares {
    pub(crate) fn set_share(&mut self, key: ClientKey, share: Share) {
        let now_ns = self.now_ns;
        let client = &mut self.clients[key.0 as usize];
        client.share = share;
        client.cap = bucket(client.cap, share.cap, now_ns);
        let user = &mut self.users[client.user as usize];
        user.clients.set_weight(client.seat, share.weight);
        self.unthrottle_client(key);
    }

    pub(crate) fn set_user_share(&mut self, uid: u32, share: Share) {
        let index = self.accounts.of(uid);
        self.accounts.set_share(index, share, self.now_ns);
        for user in self
            .users
            .iter()
            .filter(|user| user.members > 0 && user.account == index)
        {
            self.lanes[user.lane]
                .users
                .set_weight(user.seat, share.weight);
        }
        self.unthrottle_user(index);
        self.accounts.forget(index);
    }

    /// A client has its cap together with the others of a pool, from now on and besides its own.
    pub(crate) fn set_pool(&mut self, key: ClientKey, name: u64, cap: Option<u8>) {
        let before = self.clients[key.0 as usize].pool.replace(name);
        self.pools.leave(before, key);
        self.pools.join(name, key, cap, self.now_ns);
        self.list(key);
    }

    /// What holds from now on. Who was demoted gets a new period.
    pub(crate) fn set_policy(&mut self, policy: Policy) {
        self.policy = policy;
        let all: Vec<u32> = self.accounts.all().collect();
        all.into_iter().for_each(|index| self.renew(index));
    }

    pub(crate) fn set_priority(&mut self, key: ClientKey, priority: Priority) {
        self.clients[key.0 as usize].priority = priority;
        self.assign_lane(key);
    }

    /// Puts a client into the lane of its priority, or, where its user has no budget left, of the one below.
    pub(super) fn assign_lane(&mut self, key: ClientKey) {
        let client = &mut self.clients[key.0 as usize];
        let demoted =
            client.priority == Priority::Realtime && self.accounts.get(client.account).demoted;
        if std::mem::replace(&mut client.demoted, demoted) != demoted && !client.left {
            self.news.push((key, demoted));
        }
        let lane = match demoted {
            true => Priority::High,
            false => client.priority,
        };
        self.move_to_lane(key, lane as usize);
    }

    fn assign_lanes(&mut self, account: u32) {
        for slot in 0..u32::try_from(self.clients.len()).unwrap_or(u32::MAX) {
            let client = &self.clients[slot as usize];
            if client.account == account && !client.is_gone() {
                self.assign_lane(ClientKey(slot));
            }
        }
    }

    /// The client is served work of this length.
    pub(crate) fn charge(&mut self, key: ClientKey, length_ns: u64) {
        let now_ns = self.now_ns;
        let client = &mut self.clients[key.0 as usize];
        let user = &mut self.users[client.user as usize];
        user.clients.charge(client.seat, length_ns);
        self.lanes[client.lane].users.charge(user.seat, length_ns);
        let account = self.accounts.get_mut(client.account);
        let index = client.account;
        if let Some(cap) = &mut client.cap {
            cap.take(length_ns);
            if !client.throttled && !cap.is_open(now_ns) {
                client.throttled = true;
                self.waking
                    .push(Reverse((cap.opens_ns(), Wake::Client(key.0))));
            }
        }
        let pool = client.pool;
        let realtime = self.policy.realtime;
        if client.lane == Priority::Realtime as usize
            && let Some(limit) = realtime
        {
            let fresh = account.take_realtime(length_ns, now_ns, limit);
            if fresh {
                account.demoted = true;
                let ends_ns = account.period_ends_ns(limit);
                self.waking.push(Reverse((ends_ns, Wake::Period(index))));
                self.exhausted.push(index);
            }
        }
        if account.take(length_ns, now_ns) {
            account.throttled = true;
            let opens_ns = account.cap.map_or(now_ns, |cap| cap.opens_ns());
            self.waking.push(Reverse((opens_ns, Wake::User(index))));
            self.list_all_of(index);
        }
        if let Some(name) = pool
            && let Some(opens_ns) = self.pools.take(pool, length_ns, now_ns)
        {
            self.waking.push(Reverse((opens_ns, Wake::Pool(name))));
            self.list_pool(name);
        }
    }

    /// The work was so much shorter than was charged, or longer.
    pub(crate) fn correct(&mut self, key: ClientKey, less_ns: i64) {
        let client = &mut self.clients[key.0 as usize];
        let user = &mut self.users[client.user as usize];
        user.clients.correct(client.seat, less_ns);
        self.lanes[client.lane].users.correct(user.seat, less_ns);
        if let Some(cap) = &mut client.cap {
            cap.correct(less_ns);
        }
        self.accounts.get_mut(client.account).correct(less_ns);
        self.pools.correct(client.pool, less_ns);
    }

    /// Lets those run as HIGH whose REALTIME budget is used up.
    pub(crate) fn demote(&mut self) {
        while let Some(index) = self.exhausted.pop() {
            self.assign_lanes(index);
        }
    }

    /// Ends what time ends: patience, throttling, periods.
    pub(crate) fn expire(&mut self) {
        while let Some((until_ns, key)) = self.lingering.front().copied()
            && until_ns <= self.now_ns
        {
            self.lingering.pop_front();
            let client = &self.clients[key.0 as usize];
            // It came back and went again, maybe: then there is another entry of it.
            if client.jobs == 0 && client.idle_since_ns + client.patience_ns() <= self.now_ns {
                self.set_active(key, false);
            }
        }
        while let Some(Reverse((at_ns, wake))) = self.waking.peek().copied()
            && at_ns <= self.now_ns
        {
            self.waking.pop();
            match wake {
                Wake::Client(slot) => self.unthrottle_client(ClientKey(slot)),
                Wake::User(index) => self.unthrottle_user(index),
                Wake::Pool(name) => self.unthrottle_pool(name),
                Wake::Period(index) => self.renew(index),
            }
        }
    }

    /// When [`Self::expire`] has something to do that lets work go.
    pub(crate) fn wakes_ns(&self) -> Option<u64> {
        self.waking.peek().map(|Reverse((at_ns, _))| *at_ns)
    }

    /// Lets a client go on whose cap allows it, or looks again when it will.
    fn unthrottle_client(&mut self, key: ClientKey) {
        let now_ns = self.now_ns;
        let client = &mut self.clients[key.0 as usize];
        if let Some(cap) = client.cap.as_mut().filter(|_| client.throttled)
            && !cap.is_open(now_ns)
        {
            self.waking
                .push(Reverse((cap.opens_ns(), Wake::Client(key.0))));
            return;
        }
        if std::mem::take(&mut client.throttled) {
            self.list(key);
        }
    }

    /// Lets the members of a pool go on if its cap allows it, or looks again when it will.
    fn unthrottle_pool(&mut self, name: u64) {
        match self.pools.open(name, self.now_ns) {
            Ok(()) => self.list_pool(name),
            Err(opens_ns) => self.waking.push(Reverse((opens_ns, Wake::Pool(name)))),
        }
    }

    fn list_pool(&mut self, name: u64) {
        for key in self.pools.members(name) {
            self.list(key);
        }
    }

    fn unthrottle_user(&mut self, index: u32) {
        let now_ns = self.now_ns;
        let account = self.accounts.get_mut(index);
        if let Some(cap) = account.cap.as_mut().filter(|_| account.throttled)
            && !cap.is_open(now_ns)
        {
            self.waking
                .push(Reverse((cap.opens_ns(), Wake::User(index))));
            return;
        }
        if std::mem::take(&mut account.throttled) {
            self.list_all_of(index);
        }
    }

    /// A user's REALTIME clients begin a new period.
    fn renew(&mut self, index: u32) {
        self.accounts.get_mut(index).renew();
        self.assign_lanes(index);
        self.accounts.forget(index);
    }
}
