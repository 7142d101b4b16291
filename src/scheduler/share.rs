//! Clients by user and priority, and how much each of them has to do.

mod client;
mod limits;
mod seats;
mod turn;

use crate::ClientKey;
use crate::account::Accounts;
use crate::cost::Costs;
use crate::fair::Siblings;
use crate::policy::{Policy, Share};
use crate::pool::Pools;
pub(crate) use client::{Client, Serving};
use limits::Wake;
use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};
pub(crate) use turn::Next;
use turn::{Aside, Origin};
use vkmps_protocol::message::Priority;

/// Everybody, and who of them has what coming to it.
#[derive(Debug, Default)]
pub(crate) struct Shares {
    clients: Vec<Client>,
    free: Vec<u32>,
    accounts: Accounts,
    pools: Pools,
    users: Vec<User>,
    free_users: Vec<u32>,
    lanes: [Lane; LANES],
    /// Clients that have nothing to do since a moment, and until when they are waited for.
    lingering: VecDeque<(u64, ClientKey)>,
    /// What happens by itself, and when.
    waking: BinaryHeap<Reverse<(u64, Wake)>>,
    /// Users whose REALTIME budget was used up just now.
    exhausted: Vec<u32>,
    /// Clients that run as HIGH since a moment ago although they are REALTIME, or no longer.
    pub(crate) news: Vec<(ClientKey, bool)>,
    aside: Aside,
    pub(crate) policy: Policy,
    pub(crate) now_ns: u64,
    /// Counts levels, from 1.
    level: u64,
}

/// Clients of one priority, by user.
#[derive(Debug, Default)]
struct Lane {
    users: Siblings,
    origin: Origin,
    /// Streams of all its clients that are bound to no queue and have work.
    streams: usize,
    /// Queued or in flight.
    jobs: usize,
    /// When it last had any.
    last_ns: Option<u64>,
}

/// One user's clients of one priority.
#[derive(Debug, Default)]
struct User {
    account: u32,
    lane: usize,
    seat: u32,
    clients: Siblings,
    origin: Origin,
    members: usize,
    active: usize,
    /// Of all its clients, queued or in flight.
    jobs: usize,
}

impl Shares {
    pub(crate) fn join(&mut self, uid: u32, priority: Priority) -> ClientKey {
        let slot = self.free.pop().unwrap_or_else(|| {
            self.clients.push(Client::default());
            u32::try_from(self.clients.len() - 1).expect("sessions are far below 2^32")
        });
        let account = self.accounts.of(uid);
        self.accounts.get_mut(account).members += 1;
        let lane = priority as usize;
        let (user, seat) = self.take_seat(account, lane, slot, Share::default());
        self.clients[slot as usize] = Client {
            account,
            priority,
            lane,
            user,
            seat,
            ..Client::default()
        };
        self.assign_lane(ClientKey(slot));
        ClientKey(slot)
    }

    /// The client is gone as soon as its last stream is.
    pub(crate) fn leave(&mut self, key: ClientKey) {
        self.clients[key.0 as usize].left = true;
        self.news.retain(|(client, _)| *client != key);
        self.remove_if_gone(key);
    }

    pub(crate) fn stream_opened(&mut self, key: ClientKey) {
        self.clients[key.0 as usize].streams += 1;
    }

    pub(crate) fn stream_closed(&mut self, key: ClientKey) {
        self.clients[key.0 as usize].streams -= 1;
        self.remove_if_gone(key);
    }

    pub(crate) fn client(&self, key: ClientKey) -> &Client {
        &self.clients[key.0 as usize]
    }

    pub(crate) fn client_mut(&mut self, key: ClientKey) -> &mut Client {
        &mut self.clients[key.0 as usize]
    }

    /// The lane that its work goes to.
    pub(crate) fn lane(&self, key: ClientKey) -> usize {
        self.clients[key.0 as usize].lane
    }

    /// Streams of a lane that wait for any queue.
    pub(crate) fn streams(&self, lane: usize) -> usize {
        self.lanes[lane].streams
    }

    /// Whether somebody of the lane could be served now.
    pub(crate) fn is_ready(&self, lane: usize) -> bool {
        self.lanes[lane].users.any_ready()
    }

    /// Whether a lane has work, or had some not long ago.
    pub(crate) fn is_present(&self, lane: usize) -> bool {
        let lane = &self.lanes[lane];
        let recent = |last_ns: u64| self.now_ns.saturating_sub(last_ns) < PRESENT_NS;
        lane.jobs > 0 || lane.last_ns.is_some_and(recent)
    }

    /// Whether anybody else than the client has work, or had some a moment ago.
    pub(crate) fn has_rivals(&self, key: ClientKey) -> bool {
        let client = &self.clients[key.0 as usize];
        let user = &self.users[client.user as usize];
        user.active > 1
            || self
                .lanes
                .iter()
                .map(|lane| lane.users.active())
                .sum::<usize>()
                > 1
    }

    /// Whether its work is to be cut however idle the device is.
    pub(crate) fn is_capped(&self, key: ClientKey) -> bool {
        let client = &self.clients[key.0 as usize];
        client.cap.is_some()
            || self.accounts.get(client.account).cap.is_some()
            || self.pools.is_capped(client.pool)
    }

    /// A job was queued.
    pub(crate) fn job_queued(&mut self, key: ClientKey) {
        let client = &mut self.clients[key.0 as usize];
        self.users[client.user as usize].jobs += 1;
        self.lanes[client.lane].jobs += 1;
        client.jobs += 1;
        if client.jobs == 1 {
            client.note_pause(self.now_ns);
        }
        if !client.active {
            self.set_active(key, true);
        }
    }

    /// A job is over, or was dropped.
    pub(crate) fn job_over(&mut self, key: ClientKey) {
        let now_ns = self.now_ns;
        let client = &mut self.clients[key.0 as usize];
        self.users[client.user as usize].jobs -= 1;
        let lane = &mut self.lanes[client.lane];
        lane.jobs -= 1;
        if lane.jobs == 0 {
            lane.last_ns = Some(now_ns);
        }
        client.jobs -= 1;
        if client.jobs == 0 {
            client.idle_since_ns = now_ns;
            self.lingering
                .push_back((now_ns + client.patience_ns(), key));
        }
    }

    /// What is known of a client's work, and its part of the level that is being filled.
    pub(crate) fn serving(&mut self, key: ClientKey) -> (&Costs, Serving<'_>) {
        self.clients[key.0 as usize].serving(self.level)
    }

    fn remove_if_gone(&mut self, key: ClientKey) {
        let client = &self.clients[key.0 as usize];
        if client.is_gone() {
            let (account, pool) = (client.account, client.pool);
            self.set_active(key, false);
            self.give_seat_back(key);
            self.pools.leave(pool, key);
            // Or a stale entry would end the patience with who gets this slot next.
            self.lingering.retain(|(_, other)| *other != key);
            self.clients[key.0 as usize] = Client {
                left: true,
                ..Client::default()
            };
            self.free.push(key.0);
            self.accounts.get_mut(account).members -= 1;
            self.accounts.forget(account);
        }
    }
}

/// One for every priority.
pub(crate) const LANES: usize = 4;
/// A priority whose work came so recently may have more of it at any time: lower ones are kept short.
const PRESENT_NS: u64 = 1_000_000_000;
