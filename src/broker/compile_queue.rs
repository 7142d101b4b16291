//! Who may compile next: as many jobs at once as there are compilers, users in turn, first come first served within one.

use std::collections::{BTreeMap, HashSet, VecDeque};
use std::ops::Bound;
use vkmps_protocol::handle::ProgramHash;

/// Compiler processes at work at one time.
pub const MAX_COMPILERS: usize = 2;

/// Jobs waiting by UID and jobs running. A session has one request at a time, so no session waits twice.
#[derive(Debug, Default)]
pub(crate) struct CompileQueue {
    waiting: BTreeMap<u32, VecDeque<ProgramHash>>,
    running: HashSet<ProgramHash>,
    last_uid: u32,
}

impl CompileQueue {
    pub(crate) fn push(&mut self, uid: u32, hash: ProgramHash) {
        self.waiting.entry(uid).or_default().push_back(hash);
    }

    /// The job to start now, if a compiler is free.
    pub(crate) fn start(&mut self) -> Option<ProgramHash> {
        if self.running.len() >= MAX_COMPILERS {
            return None;
        }
        let after = (Bound::Excluded(self.last_uid), Bound::Unbounded);
        let uid = *self
            .waiting
            .range(after)
            .next()
            .or_else(|| self.waiting.iter().next())?
            .0;
        let jobs = self.waiting.get_mut(&uid)?;
        let hash = jobs.pop_front()?;
        if jobs.is_empty() {
            self.waiting.remove(&uid);
        }
        self.last_uid = uid;
        self.running.insert(hash);
        Some(hash)
    }

    /// A job is over. Whether it was running at all.
    pub(crate) fn finish(&mut self, hash: ProgramHash) -> bool {
        self.running.remove(&hash)
    }

    /// Takes a job out that waits. False when it runs.
    pub(crate) fn cancel(&mut self, hash: ProgramHash) -> bool {
        let before = self.len();
        self.waiting.retain(|_, jobs| {
            jobs.retain(|job| *job != hash);
            !jobs.is_empty()
        });
        self.len() < before
    }

    pub(crate) fn is_running(&self, hash: ProgramHash) -> bool {
        self.running.contains(&hash)
    }

    pub(crate) fn contains(&self, hash: ProgramHash) -> bool {
        self.running.contains(&hash) || self.waiting.values().flatten().any(|job| *job == hash)
    }

    /// # Panics
    /// If the bookkeeping contradicts itself.
    pub(crate) fn verify_invariants(&self) {
        assert!(self.running.len() <= MAX_COMPILERS);
        assert!(self.waiting.values().all(|jobs| !jobs.is_empty()));
        assert!(self.waiting.is_empty() || self.running.len() == MAX_COMPILERS);
        assert!(
            self.waiting
                .values()
                .flatten()
                .all(|job| !self.running.contains(job))
        );
    }

    fn len(&self) -> usize {
        self.waiting.values().map(VecDeque::len).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_user_with_many_jobs_does_not_delay_another() {
        let mut queue = CompileQueue::default();
        let hash = |n| ProgramHash([n; 32]);
        for n in 0..8 {
            queue.push(1000, hash(n));
        }
        queue.push(1001, hash(100));
        assert_eq!(queue.start(), Some(hash(0)));
        assert_eq!(queue.start(), Some(hash(100)));
        assert_eq!(queue.start(), None);
        assert!(queue.finish(hash(0)));
        assert_eq!(queue.start(), Some(hash(1)));
        assert!(queue.cancel(hash(2)));
        assert!(!queue.cancel(hash(1)));
        queue.verify_invariants();
    }
}
