//! Fair shares among siblings: the users of a priority, or the clients of a user.
//!
//! Start-time fair queueing (P. Goyal, H. Vin, H. Cheng, SIGCOMM 1996), in the form for a device that serves several at
//! a time (W. Jin, J. Chase, J. Kaur, SIGMETRICS 2004): everybody has a virtual time, which grows by the length of what
//! is served over the weight. Who has the least is next. The virtual time of all is the least of those who are active;
//! who becomes active begins there, so that nobody claims a share of a time in which it wanted nothing.

use crate::ranking::Ranking;

/// Members of one parent, by seat.
#[derive(Debug, Default)]
pub(crate) struct Siblings {
    members: Vec<Member>,
    free: Vec<u32>,
    /// Those who have work, queued or in flight, or had some a moment ago.
    active: Ranking,
    /// Those who have work that could be launched.
    ready: Ranking,
    /// The virtual time of all; never falls.
    time: u64,
    /// The highest virtual time of one that was served.
    highest: u64,
}

#[derive(Debug, Clone, Copy)]
struct Member {
    time: u64,
    weight: u16,
    /// What it was charged last: whose work is long cannot be held to less.
    stride: u64,
    /// What the parent knows it by.
    name: u32,
}

impl Siblings {
    pub(crate) fn join(&mut self, name: u32, weight: u16) -> u32 {
        let member = Member {
            time: self.time,
            weight: weight.max(1),
            stride: 0,
            name,
        };
        if let Some(seat) = self.free.pop() {
            self.members[seat as usize] = member;
            return seat;
        }
        self.members.push(member);
        u32::try_from(self.members.len() - 1).expect("clients are far below 2^32")
    }

    pub(crate) fn leave(&mut self, seat: u32) {
        self.rest(seat);
        self.ready.remove(seat);
        self.free.push(seat);
    }

    pub(crate) fn set_weight(&mut self, seat: u32, weight: u16) {
        self.members[seat as usize].weight = weight.max(1);
    }

    /// The member has work from now on.
    pub(crate) fn wake(&mut self, seat: u32) {
        if !self.active.contains(seat) {
            let member = &mut self.members[seat as usize];
            member.time = member.time.max(self.time);
            self.active.set(seat, member.time);
        }
    }

    /// The member wants nothing from now on.
    pub(crate) fn rest(&mut self, seat: u32) {
        if self.active.contains(seat) {
            self.active.remove(seat);
            if self.active.len() == 0 {
                // A busy period is over: nobody is behind anybody any more.
                self.time = self.time.max(self.highest);
            }
            self.advance();
        }
    }

    pub(crate) fn set_ready(&mut self, seat: u32, ready: bool) {
        if ready == self.ready.contains(seat) {
            return;
        }
        if ready {
            self.ready.set(seat, self.members[seat as usize].time);
        } else {
            self.ready.remove(seat);
        }
    }

    /// The ready member that has had least: its seat and its virtual time.
    pub(crate) fn next(&self) -> Option<(u32, u64)> {
        self.ready.first().map(|(time, seat)| (seat, time))
    }

    pub(crate) fn any_ready(&self) -> bool {
        self.ready.len() > 0
    }

    /// Members that have work.
    pub(crate) fn active(&self) -> usize {
        self.active.len()
    }

    /// The active member that has had least.
    pub(crate) fn last(&self) -> Option<u32> {
        self.active.first().map(|(_, seat)| seat)
    }

    /// What a member was charged last.
    pub(crate) fn last_charge_ns(&self, seat: u32) -> u64 {
        let member = &self.members[seat as usize];
        member.stride.saturating_mul(u64::from(member.weight)) / WEIGHT
    }

    pub(crate) fn last_name(&self) -> Option<u32> {
        self.last().map(|seat| self.name(seat))
    }

    pub(crate) fn name(&self, seat: u32) -> u32 {
        self.members[seat as usize].name
    }

    /// The virtual time up to which a member may be served now. Who is further ahead waits for those behind, unless
    /// `from` says that these cannot use the place.
    pub(crate) fn limit(&self, seat: u32, from: u64) -> u64 {
        match self.active.len() {
            0 | 1 => u64::MAX,
            _ => self.time.max(from) + AHEAD_NS + self.members[seat as usize].stride,
        }
    }

    /// Nanoseconds of work that a member may have until it reaches the limit.
    pub(crate) fn allowance_ns(&self, seat: u32, limit: u64) -> u64 {
        let member = &self.members[seat as usize];
        let left = limit.saturating_sub(member.time);
        (left / WEIGHT).saturating_mul(u64::from(member.weight))
    }

    pub(crate) fn may_go(&self, seat: u32) -> bool {
        self.members[seat as usize].time <= self.limit(seat, 0)
    }

    /// The member is served work of this length.
    pub(crate) fn charge(&mut self, seat: u32, length_ns: u64) {
        let member = &mut self.members[seat as usize];
        self.highest = self.highest.max(member.time);
        let floor = self.highest.saturating_sub(BEHIND_NS);
        member.stride = scaled(length_ns, member.weight);
        member.time = member.time.max(floor) + member.stride;
        self.moved(seat);
    }

    /// The work was so much shorter than was charged, or longer. Its rank follows with the next charge.
    pub(crate) fn correct(&mut self, seat: u32, less_ns: i64) {
        let member = &mut self.members[seat as usize];
        let change = scaled(less_ns.unsigned_abs(), member.weight);
        member.time = match less_ns > 0 {
            true => member.time.saturating_sub(change),
            false => member.time.saturating_add(change),
        };
    }

    /// How far ahead of the others a member is; it takes that along when it moves.
    pub(crate) fn lead(&self, seat: u32) -> u64 {
        self.members[seat as usize].time.saturating_sub(self.time)
    }

    pub(crate) fn add_lead(&mut self, seat: u32, lead: u64) {
        self.members[seat as usize].time += lead;
        self.moved(seat);
    }

    fn moved(&mut self, seat: u32) {
        let time = self.members[seat as usize].time;
        if self.active.contains(seat) {
            self.active.set(seat, time);
        }
        if self.ready.contains(seat) {
            self.ready.set(seat, time);
        }
        self.advance();
    }

    fn advance(&mut self) {
        if let Some((least, _)) = self.active.first() {
            let floor = self.highest.saturating_sub(BEHIND_NS);
            self.time = self.time.max(least).max(floor);
        }
    }
}

fn scaled(time_ns: u64, weight: u16) -> u64 {
    time_ns.min(u64::MAX >> 16) * WEIGHT / u64::from(weight)
}

/// The weight of who has no other.
pub(crate) const WEIGHT: u64 = 100;
/// So much further than those behind may members go: short work shares levels and launches follow each other without
/// a gap.
const AHEAD_NS: u64 = 2_000_000;
/// Nobody is further behind than this, however long it was served little: two of the longest kernels that are usual.
const BEHIND_NS: u64 = 250_000_000;
