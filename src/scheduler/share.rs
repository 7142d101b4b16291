//! Who is next: users and their clients in the lanes of their priorities.

use crate::cost::Costs;
use crate::fair::{Siblings, WEIGHT};
use crate::{ClientKey, StreamKey};
use std::collections::{HashMap, VecDeque};
use std::time::Duration;
use vkmps_protocol::message::Priority;

/// All clients, by user and priority.
#[derive(Debug, Default)]
pub(crate) struct Shares {
    clients: Vec<Client>,
    free: Vec<u32>,
    users: Vec<User>,
    free_users: Vec<u32>,
    names: HashMap<(u32, usize), u32>,
    lanes: [Lane; LANES],
    /// Clients that have nothing to do since a moment, and until when they are waited for.
    lingering: VecDeque<(Duration, ClientKey)>,
    /// Who has no further place in the level that is being filled.
    aside: Aside,
    /// Counts levels, from 1.
    level: u64,
}

#[derive(Debug, Default)]
struct Lane {
    users: Siblings,
    from: From,
    /// Streams of all its clients that are bound to no queue and have work.
    streams: usize,
}

#[derive(Debug, Default)]
struct Aside {
    clients: Vec<ClientKey>,
    users: Vec<u32>,
}

/// Whose work could be launched, and how long who is awaited instead usually does nothing.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Awaited {
    pub(crate) leader: ClientKey,
    pub(crate) pause: Duration,
}

/// One user's clients of one priority.
#[derive(Debug)]
struct User {
    name: (u32, usize),
    seat: u32,
    clients: Siblings,
    from: From,
    members: usize,
    active: usize,
    /// Of all its clients, queued or in flight.
    jobs: usize,
}

/// Where the virtual time of a level begins that must go to somebody, and which level that is.
#[derive(Debug, Clone, Copy, Default)]
struct From {
    level: u64,
    time: u64,
}

/// Who is served, and at what cost it is no longer its turn.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Next {
    pub(crate) client: ClientKey,
    pub(crate) allowance: Duration,
}

/// A connection: what it has to do and what is known of its work.
#[derive(Debug)]
pub(crate) struct Client {
    uid: u32,
    lane: usize,
    user: u32,
    seat: u32,
    /// Streams that are bound to no queue and have work.
    pub(crate) ready: VecDeque<StreamKey>,
    /// Jobs that are queued or in flight.
    jobs: usize,
    /// Streams that are open, or closed with work in flight.
    streams: usize,
    left: bool,
    active: bool,
    idle_since: Duration,
    /// Moving average of how long it does nothing before it submits again.
    pause: Duration,
    pub(crate) costs: Costs,
}

impl Shares {
    pub(crate) fn join(&mut self, uid: u32, priority: Priority) -> ClientKey {
        let lane = priority as usize;
        let slot = self.free.pop().unwrap_or_else(|| {
            self.clients.push(Client::nobody());
            u32::try_from(self.clients.len() - 1).expect("sessions are far below 2^32")
        });
        let (user, seat) = self.take_seat(uid, lane, slot);
        self.clients[slot as usize] = Client {
            uid,
            lane,
            user,
            seat,
            ..Client::nobody()
        };
        ClientKey(slot)
    }

    /// The client is gone as soon as its last stream is.
    pub(crate) fn leave(&mut self, key: ClientKey) {
        self.clients[key.0 as usize].left = true;
        self.remove_if_gone(key);
    }

    pub(crate) fn opened(&mut self, key: ClientKey) {
        self.clients[key.0 as usize].streams += 1;
    }

    pub(crate) fn closed(&mut self, key: ClientKey) {
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

    /// Moves a client, what it has queued, and what it has had ahead of others.
    pub(crate) fn set_priority(&mut self, key: ClientKey, priority: Priority) {
        let (lane, slot) = (priority as usize, key.0);
        let client = &self.clients[slot as usize];
        if client.lane == lane {
            return;
        }
        let (uid, active, jobs) = (client.uid, client.active, client.jobs);
        let streams = client.ready.len();
        let lead = self.users[client.user as usize].clients.lead(client.seat);
        self.lanes[client.lane].streams -= streams;
        self.users[client.user as usize].jobs -= jobs;
        self.set_active(key, false);
        self.give_seat_back(key);
        let (user, seat) = self.take_seat(uid, lane, slot);
        let client = &mut self.clients[slot as usize];
        (client.lane, client.user, client.seat) = (lane, user, seat);
        self.lanes[lane].streams += streams;
        self.users[user as usize].jobs += jobs;
        self.set_active(key, active);
        self.users[user as usize].clients.add_lead(seat, lead);
        self.list(key);
    }

    /// A job was queued.
    pub(crate) fn queued(&mut self, key: ClientKey, now: Duration) {
        let client = &mut self.clients[key.0 as usize];
        self.users[client.user as usize].jobs += 1;
        client.jobs += 1;
        if client.jobs == 1 {
            let pause = now.saturating_sub(client.idle_since).min(LONG_PAUSE * 4);
            client.pause = (client.pause * 3 + pause) / 4;
        }
        self.set_active(key, true);
    }

    /// A job is over, or was dropped.
    pub(crate) fn over(&mut self, key: ClientKey, now: Duration) {
        let client = &mut self.clients[key.0 as usize];
        self.users[client.user as usize].jobs -= 1;
        client.jobs -= 1;
        if client.jobs == 0 {
            client.idle_since = now;
            self.lingering.push_back((now + client.patience(), key));
        }
    }

    /// Those who did not come back are not waited for any more.
    pub(crate) fn expire(&mut self, now: Duration) {
        while let Some((until, key)) = self.lingering.front().copied()
            && until <= now
        {
            self.lingering.pop_front();
            let client = &self.clients[key.0 as usize];
            // It came back and went again, maybe: then there is another entry of it.
            if client.jobs == 0 && client.idle_since + client.patience() <= now {
                self.set_active(key, false);
            }
        }
    }

    /// A stream of the client waits for any queue.
    pub(crate) fn push(&mut self, key: ClientKey, stream: StreamKey) {
        let client = &mut self.clients[key.0 as usize];
        client.ready.push_back(stream);
        self.lanes[client.lane].streams += 1;
        if client.ready.len() == 1 {
            self.list(key);
        }
    }

    /// The next stream of the client; the caller sees to it that the client is listed again.
    pub(crate) fn pop(&mut self, key: ClientKey) -> Option<StreamKey> {
        let client = &mut self.clients[key.0 as usize];
        let stream = client.ready.pop_front()?;
        self.lanes[client.lane].streams -= 1;
        Some(stream)
    }

    pub(crate) fn push_front(&mut self, key: ClientKey, stream: StreamKey) {
        let client = &mut self.clients[key.0 as usize];
        client.ready.push_front(stream);
        self.lanes[client.lane].streams += 1;
    }

    /// A closed stream waits no longer.
    pub(crate) fn forget(&mut self, key: ClientKey, stream: StreamKey) {
        let client = &mut self.clients[key.0 as usize];
        let before = client.ready.len();
        client.ready.retain(|other| *other != stream);
        self.lanes[client.lane].streams -= before - client.ready.len();
        self.list(key);
    }

    /// Who is next in a lane. `idle`: the queue has nothing to do, so that the level must go to somebody, and those behind
    /// who have nothing ready hold nobody up.
    pub(crate) fn next(&mut self, lane: usize, idle: bool) -> Option<Next> {
        let level = self.level;
        loop {
            let state = &mut self.lanes[lane];
            let (seat, time) = state.users.next()?;
            let limit = state.users.limit(seat, state.from.of(level, time, idle));
            if time > limit {
                return None;
            }
            let name = state.users.name(seat);
            let user = &mut self.users[name as usize];
            let (client, time) = user.clients.next()?;
            let client_limit = user.clients.limit(client, user.from.of(level, time, idle));
            if time > client_limit {
                state.users.set_ready(seat, false);
                self.aside.users.push(name);
                continue;
            }
            let mine = user.clients.allowance(client, client_limit);
            return Some(Next {
                client: ClientKey(user.clients.name(client)),
                allowance: mine.min(state.users.allowance(seat, limit)),
            });
        }
    }

    /// Whether a client is not further ahead of others than it may be.
    pub(crate) fn may_go(&self, key: ClientKey) -> Option<Duration> {
        let client = &self.clients[key.0 as usize];
        let (users, user) = (
            &self.lanes[client.lane].users,
            &self.users[client.user as usize],
        );
        if !users.may_go(user.seat) || !user.clients.may_go(client.seat) {
            return None;
        }
        let limit = user.clients.limit(client.seat, 0);
        let mine = user.clients.allowance(client.seat, limit);
        Some(mine.min(users.allowance(user.seat, users.limit(user.seat, 0))))
    }

    /// The client is served work of this cost.
    pub(crate) fn charge(&mut self, key: ClientKey, cost: Duration) {
        let client = &self.clients[key.0 as usize];
        let user = &mut self.users[client.user as usize];
        user.clients.charge(client.seat, cost);
        self.lanes[client.lane].users.charge(user.seat, cost);
    }

    /// The work cost something else.
    pub(crate) fn correct(&mut self, key: ClientKey, charged: Duration, cost: Duration) {
        let client = &self.clients[key.0 as usize];
        let user = &mut self.users[client.user as usize];
        user.clients.correct(client.seat, charged, cost);
        let users = &mut self.lanes[client.lane].users;
        users.correct(user.seat, charged, cost);
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
        while let Some(user) = self.aside.users.pop() {
            let user = &self.users[user as usize];
            let ready = user.clients.next().is_some();
            self.lanes[user.name.1].users.set_ready(user.seat, ready);
        }
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
        let lane = (0..LANES)
            .rev()
            .find(|lane| self.lanes[*lane].streams > 0)?;
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
        let worth = last.pause * part <= behind.clients.last_charge(last.seat);
        (rests && worth).then_some(Awaited {
            leader,
            pause: last.pause,
        })
    }

    /// Puts a client where its next launch finds it, or nowhere.
    pub(crate) fn list(&mut self, key: ClientKey) {
        self.set_ready(key, !self.clients[key.0 as usize].ready.is_empty());
    }

    fn set_ready(&mut self, key: ClientKey, ready: bool) {
        let client = &self.clients[key.0 as usize];
        let user = &mut self.users[client.user as usize];
        user.clients.set_ready(client.seat, ready);
        let ready = user.clients.next().is_some();
        self.lanes[client.lane].users.set_ready(user.seat, ready);
    }

    fn set_active(&mut self, key: ClientKey, active: bool) {
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

    fn take_seat(&mut self, uid: u32, lane: usize, client: u32) -> (u32, u32) {
        let name = (uid, lane);
        let index = match self.names.get(&name) {
            Some(index) => *index,
            None => {
                let index = self.free_users.pop().unwrap_or_else(|| {
                    self.users.push(User::new(name, 0));
                    u32::try_from(self.users.len() - 1).expect("users are fewer than clients")
                });
                let seat = self.lanes[lane].users.join(index, WEIGHT);
                self.users[index as usize] = User::new(name, seat);
                self.names.insert(name, index);
                index
            }
        };
        let user = &mut self.users[index as usize];
        user.members += 1;
        (index, user.clients.join(client, WEIGHT))
    }

    fn give_seat_back(&mut self, key: ClientKey) {
        self.set_ready(key, false);
        let client = &self.clients[key.0 as usize];
        let user = &mut self.users[client.user as usize];
        user.clients.leave(client.seat);
        user.members -= 1;
        if user.members == 0 {
            self.lanes[client.lane].users.leave(user.seat);
            self.names.remove(&user.name);
            self.free_users.push(client.user);
        }
    }

    fn remove_if_gone(&mut self, key: ClientKey) {
        let client = &self.clients[key.0 as usize];
        if client.left && client.streams == 0 {
            self.set_active(key, false);
            self.give_seat_back(key);
            // Or a stale entry would end the patience with who gets this slot next.
            self.lingering.retain(|(_, other)| *other != key);
            self.clients[key.0 as usize] = Client::nobody();
            self.free.push(key.0);
        }
    }
}

impl From {
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

impl User {
    fn new(name: (u32, usize), seat: u32) -> Self {
        Self {
            name,
            seat,
            clients: Siblings::default(),
            from: From::default(),
            members: 0,
            active: 0,
            jobs: 0,
        }
    }
}

impl Client {
    fn nobody() -> Self {
        Self {
            uid: 0,
            lane: 0,
            user: 0,
            seat: 0,
            ready: VecDeque::new(),
            jobs: 0,
            streams: 0,
            left: false,
            active: false,
            idle_since: Duration::ZERO,
            pause: Duration::ZERO,
            costs: Costs::default(),
        }
    }

    /// How long others go on counting it as one who has work.
    fn patience(&self) -> Duration {
        if self.pause > LONG_PAUSE {
            return Duration::ZERO;
        }
        self.pause * 2 + PATIENCE
    }
}

pub(crate) const LANES: usize = 4;
/// Clients that a level passes over before it is closed: looking further costs more than a fuller level gains.
const MOST_ASIDE: usize = 64;
/// Who usually waits longer between its submits is not one who keeps the device busy.
const LONG_PAUSE: Duration = Duration::from_millis(5);
/// What it takes a client to wake up and submit again, at least.
const PATIENCE: Duration = Duration::from_millis(1);
