//! Who sits where: clients among those of their users, users in lanes, and which of them the next launch finds.

use super::{Shares, User};
use crate::policy::Share;
use crate::{ClientKey, StreamKey};

impl Shares {
    /// A stream of the client waits for any queue.
    pub(crate) fn push_stream(&mut self, key: ClientKey, stream: StreamKey) {
        let client = &mut self.clients[key.0 as usize];
        client.ready.push_back(stream);
        self.lanes[client.lane].streams += 1;
        if client.ready.len() == 1 {
            self.list(key);
        }
    }

    /// The next stream of the client; the caller sees to it that the client is listed again.
    pub(crate) fn pop_stream(&mut self, key: ClientKey) -> Option<StreamKey> {
        let client = &mut self.clients[key.0 as usize];
        let stream = client.ready.pop_front()?;
        self.lanes[client.lane].streams -= 1;
        Some(stream)
    }

    pub(crate) fn push_stream_front(&mut self, key: ClientKey, stream: StreamKey) {
        let client = &mut self.clients[key.0 as usize];
        client.ready.push_front(stream);
        self.lanes[client.lane].streams += 1;
    }

    /// A closed stream waits no longer.
    pub(crate) fn forget_stream(&mut self, key: ClientKey, stream: StreamKey) {
        let client = &mut self.clients[key.0 as usize];
        let before = client.ready.len();
        client.ready.retain(|other| *other != stream);
        self.lanes[client.lane].streams -= before - client.ready.len();
        self.list(key);
    }

    /// Puts a client where its next launch finds it, or nowhere.
    pub(crate) fn list(&mut self, key: ClientKey) {
        let client = &self.clients[key.0 as usize];
        let throttled = client.throttled || self.pools.is_throttled(client.pool);
        self.set_ready(key, !client.ready.is_empty() && !throttled);
    }

    pub(super) fn set_ready(&mut self, key: ClientKey, ready: bool) {
        let client = &self.clients[key.0 as usize];
        let name = client.user;
        self.users[name as usize]
            .clients
            .set_ready(client.seat, ready);
        self.list_user(name);
    }

    pub(super) fn list_user(&mut self, name: u32) {
        let user = &self.users[name as usize];
        let ready = user.clients.any_ready() && !self.accounts.get(user.account).throttled;
        self.lanes[user.lane].users.set_ready(user.seat, ready);
    }

    pub(super) fn list_all_of(&mut self, index: u32) {
        for name in 0..u32::try_from(self.users.len()).unwrap_or(u32::MAX) {
            let user = &self.users[name as usize];
            if user.members > 0 && user.account == index {
                self.list_user(name);
            }
        }
    }

    pub(super) fn set_active(&mut self, key: ClientKey, active: bool) {
        let client = &mut self.clients[key.0 as usize];
        if std::mem::replace(&mut client.active, active) == active {
            return;
        }
        let user = &mut self.users[client.user as usize];
        let users = &mut self.lanes[client.lane].users;
        if active {
            user.active += 1;
            users.wake(user.seat);
            user.clients.wake(client.seat);
        } else {
            user.active -= 1;
            user.clients.rest(client.seat);
            if user.active == 0 {
                users.rest(user.seat);
            }
        }
    }

    /// Moves a client, what it has queued, and what it has had ahead of others.
    pub(super) fn move_to_lane(&mut self, key: ClientKey, lane: usize) {
        let slot = key.0;
        let client = &self.clients[slot as usize];
        if client.lane == lane {
            return;
        }
        let (account, active, jobs, share) =
            (client.account, client.active, client.jobs, client.share);
        let streams = client.ready.len();
        let lead = self.users[client.user as usize].clients.lead(client.seat);
        let before = &mut self.lanes[client.lane];
        before.streams -= streams;
        before.jobs -= jobs;
        if jobs > 0 {
            before.last_ns = Some(self.now_ns);
        }
        self.users[client.user as usize].jobs -= jobs;
        self.set_active(key, false);
        self.give_seat_back(key);
        let (user, seat) = self.take_seat(account, lane, slot, share);
        let client = &mut self.clients[slot as usize];
        (client.lane, client.user, client.seat) = (lane, user, seat);
        self.lanes[lane].streams += streams;
        self.lanes[lane].jobs += jobs;
        self.users[user as usize].jobs += jobs;
        self.set_active(key, active);
        self.users[user as usize].clients.add_lead(seat, lead);
        self.list(key);
    }

    pub(super) fn take_seat(
        &mut self,
        account: u32,
        lane: usize,
        client: u32,
        share: Share,
    ) -> (u32, u32) {
        // Users are few: those who have clients of this priority.
        let found = self
            .users
            .iter()
            .position(|user| user.members > 0 && user.account == account && user.lane == lane);
        let name = match found {
            Some(name) => u32::try_from(name).expect("users are fewer than clients"),
            None => {
                let name = self.free_users.pop().unwrap_or_else(|| {
                    self.users.push(User::default());
                    u32::try_from(self.users.len() - 1).expect("users are fewer than clients")
                });
                let weight = self.accounts.get(account).share.weight;
                let seat = self.lanes[lane].users.join(name, weight);
                self.users[name as usize] = User {
                    account,
                    lane,
                    seat,
                    ..User::default()
                };
                name
            }
        };
        let user = &mut self.users[name as usize];
        user.members += 1;
        (name, user.clients.join(client, share.weight))
    }

    pub(super) fn give_seat_back(&mut self, key: ClientKey) {
        self.set_ready(key, false);
        let client = &self.clients[key.0 as usize];
        let user = &mut self.users[client.user as usize];
        user.clients.leave(client.seat);
        user.members -= 1;
        if user.members == 0 {
            self.lanes[client.lane].users.leave(user.seat);
            self.free_users.push(client.user);
        }
    }
}
