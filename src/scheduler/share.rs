//! Who is next: users and their clients in the lanes of their priorities.

use crate::account::{Accounts, bucket};
use crate::bucket::Bucket;
use crate::cost::Costs;
use crate::fair::Siblings;
use crate::policy::{Policy, Share};
use crate::{ClientKey, StreamKey};
use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};
use vkmps_protocol::message::Priority;

/// All clients, by user and priority.
#[derive(Debug, Default)]
pub(crate) struct Shares {
    clients: Vec<Client>,
    free: Vec<u32>,
    pub(crate) accounts: Accounts,
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
    /// Who has no further place in the level that is being filled.
    aside: Aside,
    pub(crate) policy: Policy,
    pub(crate) now_ns: u64,
    /// Counts levels, from 1.
    level: u64,
}

/// Something that ends; looked at again when it does, whether it still holds or not.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Wake {
    /// A client's cap holds it back.
    Client(u32),
    /// A user's does.
    Account(u32),
    /// A user's REALTIME clients are demoted, or may be forgotten.
    Period(u32),
}

#[derive(Debug, Default)]
struct Lane {
    users: Siblings,
    from: From,
    /// Streams of all its clients that are bound to no queue and have work.
    streams: usize,
    /// Queued or in flight.
    jobs: usize,
    /// When it last had any.
    last_ns: Option<u64>,
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
    pub(crate) pause_ns: u64,
}

/// One user's clients of one priority.
#[derive(Debug, Default)]
struct User {
    account: u32,
    lane: usize,
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

/// Who is served, and after how much it is no longer its turn.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Next {
    pub(crate) client: ClientKey,
    pub(crate) allowance_ns: u64,
}

/// A connection: what it has to do and what is known of its work.
#[derive(Debug, Default)]
pub(crate) struct Client {
    account: u32,
    priority: Priority,
    lane: usize,
    user: u32,
    seat: u32,
    share: Share,
    cap: Option<Bucket>,
    throttled: bool,
    /// It is REALTIME and runs as HIGH.
    demoted: bool,
    /// Streams that are bound to no queue and have work.
    pub(crate) ready: VecDeque<StreamKey>,
    /// Jobs that are queued or in flight.
    jobs: usize,
    /// Streams that are open, or closed with work in flight.
    streams: usize,
    left: bool,
    active: bool,
    idle_since_ns: u64,
    /// Moving average of how long it does nothing before it submits again.
    pause_ns: u64,
    pub(crate) costs: Costs,
    /// Its part of the level that is being filled.
    part: Part,
}

/// Jobs of one client that share a level: what that would take without the others.
#[derive(Debug, Default, Clone, Copy)]
struct Part {
    level: u64,
    longest_ns: u64,
    cost_ns: u64,
}

/// A client's part of a level, while that is filled.
#[derive(Debug)]
pub(crate) struct Serving<'a>(&'a mut Part);

impl Serving<'_> {
    /// The client is given a job: what it is charged for that. Its jobs of one level run at the same time, as they would
    /// without the others.
    pub(crate) fn serve(&mut self, length_ns: u64, cost_ns: u64) -> u64 {
        let part = &mut *self.0;
        let before_ns = part.longest_ns.max(part.cost_ns);
        part.longest_ns = part.longest_ns.max(length_ns);
        part.cost_ns = part.cost_ns.saturating_add(cost_ns);
        part.longest_ns.max(part.cost_ns) - before_ns
    }
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
        self.settle(ClientKey(slot));
        ClientKey(slot)
    }

    /// The client is gone as soon as its last stream is.
    pub(crate) fn leave(&mut self, key: ClientKey) {
        self.clients[key.0 as usize].left = true;
        self.news.retain(|(client, _)| *client != key);
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
        client.cap.is_some() || self.accounts.get(client.account).cap.is_some()
    }

    pub(crate) fn set_share(&mut self, key: ClientKey, share: Share) {
        let now_ns = self.now_ns;
        let client = &mut self.clients[key.0 as usize];
        client.share = share;
        client.cap = bucket(client.cap, share.cap, now_ns);
        let user = &mut self.users[client.user as usize];
        user.clients.set_weight(client.seat, share.weight);
        self.free_client(key);
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
        self.free_account(index);
        self.accounts.forget(index);
    }

    /// What holds from now on. Who was demoted gets a new period.
    pub(crate) fn set_policy(&mut self, policy: Policy) {
        self.policy = policy;
        let all: Vec<u32> = self.accounts.all().collect();
        all.into_iter().for_each(|index| self.renew(index));
    }

    pub(crate) fn set_priority(&mut self, key: ClientKey, priority: Priority) {
        self.clients[key.0 as usize].priority = priority;
        self.settle(key);
    }

    /// Puts a client into the lane of its priority, or, where its user has no budget left, of the one below.
    fn settle(&mut self, key: ClientKey) {
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
        self.move_to(key, lane as usize);
    }

    /// Moves a client, what it has queued, and what it has had ahead of others.
    fn move_to(&mut self, key: ClientKey, lane: usize) {
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

    /// A job was queued.
    pub(crate) fn queued(&mut self, key: ClientKey) {
        let client = &mut self.clients[key.0 as usize];
        self.users[client.user as usize].jobs += 1;
        self.lanes[client.lane].jobs += 1;
        client.jobs += 1;
        if client.jobs == 1 {
            let pause_ns = self
                .now_ns
                .saturating_sub(client.idle_since_ns)
                .min(LONG_PAUSE_NS * 4);
            client.pause_ns = (client.pause_ns * 3 + pause_ns) / 4;
        }
        if !client.active {
            self.set_active(key, true);
        }
    }

    /// A job is over, or was dropped.
    pub(crate) fn over(&mut self, key: ClientKey) {
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
                Wake::Client(slot) => self.free_client(ClientKey(slot)),
                Wake::Account(index) => self.free_account(index),
                Wake::Period(index) => self.renew(index),
            }
        }
    }

    /// When [`Self::expire`] has something to do that lets work go.
    pub(crate) fn wakes_ns(&self) -> Option<u64> {
        self.waking.peek().map(|Reverse((at_ns, _))| *at_ns)
    }

    /// Lets a client go on whose cap allows it, or looks again when it will.
    fn free_client(&mut self, key: ClientKey) {
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

    fn free_account(&mut self, index: u32) {
        let now_ns = self.now_ns;
        let account = self.accounts.get_mut(index);
        if let Some(cap) = account.cap.as_mut().filter(|_| account.throttled)
            && !cap.is_open(now_ns)
        {
            self.waking
                .push(Reverse((cap.opens_ns(), Wake::Account(index))));
            return;
        }
        if std::mem::take(&mut account.throttled) {
            self.list_account(index);
        }
    }

    /// A user's REALTIME clients begin a new period.
    fn renew(&mut self, index: u32) {
        self.accounts.get_mut(index).renew();
        self.settle_all(index);
        self.accounts.forget(index);
    }

    /// Lets those run as HIGH whose REALTIME budget is used up.
    pub(crate) fn demote(&mut self) {
        while let Some(index) = self.exhausted.pop() {
            self.settle_all(index);
        }
    }

    fn settle_all(&mut self, account: u32) {
        for slot in 0..u32::try_from(self.clients.len()).unwrap_or(u32::MAX) {
            let client = &self.clients[slot as usize];
            if client.account == account && !client.is_gone() {
                self.settle(ClientKey(slot));
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
            .limit(seat, user.from.of(self.level, time, idle));
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
        if client.throttled || self.accounts.get(client.account).throttled {
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

    /// What is known of a client's work, and its part of the level that is being filled.
    pub(crate) fn serving(&mut self, key: ClientKey) -> (&Costs, Serving<'_>) {
        let client = &mut self.clients[key.0 as usize];
        if client.part.level != self.level {
            client.part = Part {
                level: self.level,
                ..Part::default()
            };
        }
        (&client.costs, Serving(&mut client.part))
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
            self.waking.push(Reverse((opens_ns, Wake::Account(index))));
            self.list_account(index);
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
        let lane = (0..LANES).rev().find(|lane| self.is_ready(*lane))?;
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

    /// Puts a client where its next launch finds it, or nowhere.
    pub(crate) fn list(&mut self, key: ClientKey) {
        let client = &self.clients[key.0 as usize];
        self.set_ready(key, !client.ready.is_empty() && !client.throttled);
    }

    fn set_ready(&mut self, key: ClientKey, ready: bool) {
        let client = &self.clients[key.0 as usize];
        let name = client.user;
        self.users[name as usize]
            .clients
            .set_ready(client.seat, ready);
        self.list_user(name);
    }

    fn list_user(&mut self, name: u32) {
        let user = &self.users[name as usize];
        let ready = user.clients.any_ready() && !self.accounts.get(user.account).throttled;
        self.lanes[user.lane].users.set_ready(user.seat, ready);
    }

    fn list_account(&mut self, index: u32) {
        for name in 0..u32::try_from(self.users.len()).unwrap_or(u32::MAX) {
            let user = &self.users[name as usize];
            if user.members > 0 && user.account == index {
                self.list_user(name);
            }
        }
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

    fn take_seat(&mut self, account: u32, lane: usize, client: u32, share: Share) -> (u32, u32) {
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

    fn give_seat_back(&mut self, key: ClientKey) {
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

    fn remove_if_gone(&mut self, key: ClientKey) {
        let client = &self.clients[key.0 as usize];
        if client.is_gone() {
            let account = client.account;
            self.set_active(key, false);
            self.give_seat_back(key);
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

impl Client {
    fn is_gone(&self) -> bool {
        self.left && self.streams == 0
    }

    /// How long others go on counting it as one who has work.
    fn patience_ns(&self) -> u64 {
        match self.pause_ns > LONG_PAUSE_NS {
            true => 0,
            false => self.pause_ns * 2 + PATIENCE_NS,
        }
    }
}

pub(crate) const LANES: usize = 4;
/// Clients that a level passes over before it is closed: looking further costs more than a fuller level gains.
const MOST_ASIDE: usize = 64;
/// Who usually waits longer between its submits is not one who keeps the device busy.
const LONG_PAUSE_NS: u64 = 5_000_000;
/// What it takes a client to wake up and submit again, at least.
const PATIENCE_NS: u64 = 1_000_000;
/// A priority whose work came so recently may have more of it at any time: lower ones are kept short.
const PRESENT_NS: u64 = 1_000_000_000;
