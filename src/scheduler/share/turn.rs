//! Whose turn it is: the next client of a lane, who may go on, and who is worth waiting for.

use super::{LANES, Shares};
use crate::ClientKey;

/// Who is served, and after how much it is no longer its turn.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Next {
    pub(crate) client: ClientKey,
    pub(crate) allowance_ns: u64,
}

/// Whose work could be launched, and how long who is awaited instead usually does nothing.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Awaited {
    pub(crate) leader: ClientKey,
    pub(crate) pause_ns: u64,
}

/// Where the virtual time of a level begins that must go to somebody, and which level that is.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Origin {
    level: u64,
    time: u64,
}

/// Who has no further place in the level that is being filled.
#[derive(Debug, Default)]
pub(super) struct Aside {
    clients: Vec<ClientKey>,
    users: Vec<u32>,
}

impl Shares {
    /// Who is next in a lane. `idle`: the queue has nothing to do, so that the level must go to somebody, and those behind
    /// who have nothing ready hold nobody up.
    pub(crate) fn next(&mut self, lane: usize, idle: bool) -> Option<Next> {
        let level = self.level;
        loop {
            let state = &mut self.lanes[lane];
            let (seat, time) = state.users.next()?;
            let limit = state.users.limit(seat, state.origin.of(level, time, idle));
            if time > limit {
                return None;
            }
            let name = state.users.name(seat);
            let allowance_ns = state.users.allowance_ns(seat, limit);
            if let Some(next) = self.next_of(name, idle) {
                let allowance_ns = allowance_ns.min(next.allowance_ns);
                return Some(Next {
                    allowance_ns,
                    ..next
                });
            }
            self.lanes[lane].users.set_ready(seat, false);
            self.aside.users.push(name);
        }
    }

    /// Who is next of a user's clients.
    fn next_of(&mut self, name: u32, idle: bool) -> Option<Next> {
        let user = &mut self.users[name as usize];
        let (seat, time) = user.clients.next()?;
        let limit = user
            .clients
            .limit(seat, user.origin.of(self.level, time, idle));
        (time <= limit).then(|| Next {
            client: ClientKey(user.clients.name(seat)),
            allowance_ns: user.clients.allowance_ns(seat, limit),
        })
    }

    /// Who is next of the clients of users that are owed a reserve, the highest lane first.
    pub(crate) fn next_owed(&mut self) -> Option<Next> {
        if !self.accounts.any_reserved() {
            return None;
        }
        let owed: Vec<u32> = self.accounts.owed(self.now_ns).collect();
        let ready = |name: &u32| {
            let user = &self.users[*name as usize];
            user.members > 0 && owed.contains(&user.account) && user.clients.any_ready()
        };
        let names = (0..u32::try_from(self.users.len()).unwrap_or(u32::MAX)).filter(ready);
        let name = names.max_by_key(|name| self.users[*name as usize].lane)?;
        self.next_of(name, true)
    }

    /// Whether a client has no cap in its way and is not further ahead of others than it may be: how much it may have.
    pub(crate) fn may_go(&self, key: ClientKey) -> Option<u64> {
        let client = &self.clients[key.0 as usize];
        let throttled = client.throttled || self.pools.is_throttled(client.pool);
        if throttled || self.accounts.get(client.account).throttled {
            return None;
        }
        let users = &self.lanes[client.lane].users;
        let user = &self.users[client.user as usize];
        if !users.may_go(user.seat) || !user.clients.may_go(client.seat) {
            return None;
        }
        let limit = user.clients.limit(client.seat, 0);
        let mine_ns = user.clients.allowance_ns(client.seat, limit);
        Some(mine_ns.min(users.allowance_ns(user.seat, users.limit(user.seat, 0))))
    }

    /// Passes a client over until [`Self::restore`].
    pub(crate) fn set_aside(&mut self, key: ClientKey) {
        self.set_ready(key, false);
        self.aside.clients.push(key);
    }

    pub(crate) fn are_many_aside(&self) -> bool {
        self.aside.clients.len() >= MOST_ASIDE
    }

    /// The level is full: everybody has a place in the next one.
    pub(crate) fn restore(&mut self) {
        self.level += 1;
        while let Some(key) = self.aside.clients.pop() {
            self.list(key);
        }
        while let Some(name) = self.aside.users.pop() {
            self.list_user(name);
        }
    }

    /// The highest lane of which somebody could be served now.
    pub(crate) fn highest_ready(&self) -> Option<usize> {
        (0..LANES).rev().find(|lane| self.is_ready(*lane))
    }

    /// The highest lane whose clients have work, queued or in flight, or had some a moment ago.
    pub(crate) fn highest_active(&self) -> Option<usize> {
        (0..LANES)
            .rev()
            .find(|lane| self.lanes[*lane].users.last().is_some())
    }

    /// Somebody of a lower priority or ahead of others is next, while those whose turn it is do nothing since a moment
    /// only.
    pub(crate) fn awaited(&self) -> Option<Awaited> {
        let highest = self.highest_active()?;
        let lane = self.highest_ready()?;
        let users = &self.lanes[lane].users;
        let (seat, _) = users.next()?;
        let user = &self.users[users.name(seat) as usize];
        let (client_seat, _) = user.clients.next()?;
        let leader = ClientKey(user.clients.name(client_seat));
        let behind = if lane < highest {
            &self.users[self.lanes[highest].users.last_name()? as usize]
        } else if !users.may_go(seat) {
            &self.users[users.last_name()? as usize]
        } else if !user.clients.may_go(client_seat) {
            user
        } else {
            return None;
        };
        let last = &self.clients[behind.clients.last_name()? as usize];
        let rests = last.jobs == 0 && (behind.jobs == 0 || std::ptr::eq(behind, user));
        // While it is waited for, the device must be busy with its work most of the time.
        let part = if lane < highest { 8 } else { 2 };
        let worth = last.pause_ns * part <= behind.clients.last_charge_ns(last.seat);
        (rests && worth).then_some(Awaited {
            leader,
            pause_ns: last.pause_ns,
        })
    }
}

impl Origin {
    fn of(&mut self, level: u64, time: u64, idle: bool) -> u64 {
        if !idle {
            return 0;
        }
        if self.level != level {
            *self = Self { level, time };
        }
        self.time
    }
}

/// Clients that a level passes over before it is closed: looking further costs more than a fuller level gains.
const MOST_ASIDE: usize = 64;
