//! Caps that clients have together, whoever their users are.

use crate::ClientKey;
use crate::account::bucket;
use crate::bucket::Bucket;
use std::collections::HashMap;

/// All pools that have clients.
#[derive(Debug, Default)]
pub(crate) struct Pools(HashMap<u64, Pool>);

#[derive(Debug, Default)]
struct Pool {
    cap: Option<Bucket>,
    /// Its cap is used up for the moment.
    throttled: bool,
    members: Vec<ClientKey>,
}

impl Pools {
    pub(crate) fn join(&mut self, name: u64, key: ClientKey, cap: Option<u8>, now_ns: u64) {
        let pool = self.0.entry(name).or_default();
        pool.cap = bucket(pool.cap, cap, now_ns);
        pool.members.push(key);
    }

    /// Its last member takes the pool along.
    pub(crate) fn leave(&mut self, name: Option<u64>, key: ClientKey) {
        let Some(name) = name else { return };
        if let Some(pool) = self.0.get_mut(&name) {
            pool.members.retain(|other| *other != key);
            if pool.members.is_empty() {
                self.0.remove(&name);
            }
        }
    }

    pub(crate) fn is_capped(&self, name: Option<u64>) -> bool {
        self.of(name).is_some_and(|pool| pool.cap.is_some())
    }

    pub(crate) fn is_throttled(&self, name: Option<u64>) -> bool {
        self.of(name).is_some_and(|pool| pool.throttled)
    }

    /// A member is served work of this length. When the pool opens again, if that used its cap up.
    pub(crate) fn take(&mut self, name: Option<u64>, length_ns: u64, now_ns: u64) -> Option<u64> {
        let pool = self.0.get_mut(&name?)?;
        let cap = pool.cap.as_mut()?;
        cap.take(length_ns);
        if pool.throttled || cap.is_open(now_ns) {
            return None;
        }
        pool.throttled = true;
        Some(cap.opens_ns())
    }

    pub(crate) fn correct(&mut self, name: Option<u64>, less_ns: i64) {
        let pool = name.and_then(|name| self.0.get_mut(&name));
        if let Some(cap) = pool.and_then(|pool| pool.cap.as_mut()) {
            cap.correct(less_ns);
        }
    }

    /// Looks whether a pool is open again; else, when it will be.
    pub(crate) fn open(&mut self, name: u64, now_ns: u64) -> Result<(), u64> {
        if let Some(pool) = self.0.get_mut(&name).filter(|pool| pool.throttled) {
            if let Some(cap) = pool.cap.as_mut()
                && !cap.is_open(now_ns)
            {
                return Err(cap.opens_ns());
            }
            pool.throttled = false;
        }
        Ok(())
    }

    pub(crate) fn members(&self, name: u64) -> Vec<ClientKey> {
        self.of(Some(name))
            .map_or_else(Vec::new, |pool| pool.members.clone())
    }

    fn of(&self, name: Option<u64>) -> Option<&Pool> {
        self.0.get(&name?)
    }
}
