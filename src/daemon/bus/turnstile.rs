//! How many may be inside at once.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::Notify;
use vkmps_bus::Error;

/// Lets in so many of one key and so many of all. Who is too many is told at once and costs nothing afterwards.
#[derive(Debug)]
pub(super) struct Turnstile<K> {
    inner: Arc<Inner<K>>,
    per_key: usize,
    total: usize,
}

impl<K> Clone for Turnstile<K> {
    fn clone(&self) -> Self {
        Self {
            inner: self.inner.clone(),
            ..*self
        }
    }
}

#[derive(Debug)]
struct Inner<K> {
    /// Guards the counts. A plain lock: it is held for a look-up only, never over an await.
    inside: Mutex<Inside<K>>,
    emptied: Notify,
}

#[derive(Debug)]
struct Inside<K> {
    by_key: HashMap<K, usize>,
    total: usize,
}

impl<K: Hash + Eq + Clone> Turnstile<K> {
    /// For at most `per_key` of each and `total` of all.
    pub(super) fn new(per_key: usize, total: usize) -> Self {
        let inside = Inside {
            by_key: HashMap::new(),
            total: 0,
        };
        Self {
            inner: Arc::new(Inner {
                inside: Mutex::new(inside),
                emptied: Notify::new(),
            }),
            per_key,
            total,
        }
    }

    /// Goes in until the ticket is dropped.
    ///
    /// # Errors
    /// `Busy` - too many are inside.
    pub(super) fn enter(&self, key: K) -> Result<Ticket<K>, Error> {
        let mut inside = self.inner.lock();
        if inside.total >= self.total {
            return Err(Error::Busy("too many calls are unanswered".to_owned()));
        }
        let of_key = inside.by_key.entry(key.clone()).or_default();
        if *of_key >= self.per_key {
            return Err(Error::Busy(
                "too many of your calls are unanswered".to_owned(),
            ));
        }
        *of_key += 1;
        inside.total += 1;
        drop(inside);
        Ok(Ticket {
            inner: self.inner.clone(),
            key,
        })
    }

    /// Waits until nobody is inside.
    pub(super) async fn empty(&self) {
        loop {
            let emptied = self.inner.emptied.notified();
            if self.inner.lock().total == 0 {
                return;
            }
            emptied.await;
        }
    }
}

impl<K> Inner<K> {
    /// The counts are right after a panic too: nothing that can panic changes them.
    fn lock(&self) -> MutexGuard<'_, Inside<K>> {
        self.inside.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Somebody who is inside.
#[derive(Debug)]
pub(super) struct Ticket<K: Hash + Eq> {
    inner: Arc<Inner<K>>,
    key: K,
}

impl<K: Hash + Eq> Drop for Ticket<K> {
    fn drop(&mut self) {
        let mut inside = self.inner.lock();
        inside.total -= 1;
        if let Some(of_key) = inside.by_key.get_mut(&self.key) {
            *of_key -= 1;
            if *of_key == 0 {
                inside.by_key.remove(&self.key);
            }
        }
        if inside.total == 0 {
            self.inner.emptied.notify_waiters();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_key_cannot_take_every_place() {
        let turnstile = Turnstile::new(2, 3);
        let _first = turnstile.enter("a").expect("a place is free");
        let second = turnstile.enter("a").expect("a place is free");
        assert!(matches!(turnstile.enter("a"), Err(Error::Busy(_))));
        let _other = turnstile.enter("b").expect("the last place is not for a");
        assert!(matches!(turnstile.enter("c"), Err(Error::Busy(_))));
        drop(second);
        turnstile.enter("c").expect("a place was freed");
    }

    #[test]
    fn nothing_is_kept_of_who_left() {
        let turnstile = Turnstile::new(2, 3);
        drop(turnstile.enter("a"));
        assert!(turnstile.inner.lock().by_key.is_empty());
    }

    #[tokio::test]
    async fn who_waits_for_the_last_one_is_woken() {
        let turnstile = Turnstile::new(2, 3);
        let ticket = turnstile.enter("a");
        let ((), ()) = tokio::join!(turnstile.empty(), async { drop(ticket) });
    }
}
