//! How many may be inside at once.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::Notify;
use vkmps_bus::Error;

/// Lets in so many of one key and so many of all. Who is too many is told at once and costs nothing afterwards. Who has
/// none inside has places of its own, so that a few with many do not shut out the rest.
#[derive(Debug)]
pub(super) struct Turnstile<K> {
    inner: Arc<Inner<K>>,
    places: Places,
}

/// How many.
#[derive(Debug, Clone, Copy)]
pub(super) struct Places {
    /// Of one key.
    pub(super) per_key: usize,
    /// Of all.
    pub(super) total: usize,
    /// Beyond that, of those who have none.
    pub(super) firsts: usize,
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
    pub(super) fn new(places: Places) -> Self {
        let inside = Inside {
            by_key: HashMap::new(),
            total: 0,
        };
        Self {
            inner: Arc::new(Inner {
                inside: Mutex::new(inside),
                emptied: Notify::new(),
            }),
            places,
        }
    }

    /// Goes in until the ticket is dropped.
    ///
    /// # Errors
    /// `Busy` - too many are inside.
    pub(super) fn enter(&self, key: K) -> Result<Ticket<K>, Error> {
        let mut inside = self.inner.lock();
        let of_key = inside.by_key.get(&key).copied().unwrap_or_default();
        if of_key >= self.places.per_key {
            let text = "too many of your calls are unanswered";
            return Err(Error::Busy(text.to_owned()));
        }
        let firsts = if of_key == 0 { self.places.firsts } else { 0 };
        if inside.total >= self.places.total + firsts {
            return Err(Error::Busy("too many calls are unanswered".to_owned()));
        }
        inside.by_key.insert(key.clone(), of_key + 1);
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

    const PLACES: Places = Places {
        per_key: 2,
        total: 3,
        firsts: 1,
    };

    #[test]
    fn one_key_cannot_take_every_place() {
        let turnstile = Turnstile::new(PLACES);
        let _first = turnstile.enter("a").expect("a place is free");
        let second = turnstile.enter("a").expect("a place is free");
        assert!(matches!(turnstile.enter("a"), Err(Error::Busy(_))));
        let _other = turnstile.enter("b").expect("the last place is not for a");
        assert!(matches!(turnstile.enter("b"), Err(Error::Busy(_))));
        drop(second);
        turnstile.enter("b").expect("a place was freed");
    }

    #[test]
    fn many_with_many_leave_a_place_to_who_has_none() {
        let turnstile = Turnstile::new(PLACES);
        let inside = ["a", "a", "b"].map(|key| turnstile.enter(key));
        assert!(inside.iter().all(Result::is_ok));
        let _first = turnstile.enter("c").expect("it has none");
        assert!(matches!(turnstile.enter("c"), Err(Error::Busy(_))));
        let full = turnstile.enter("d");
        assert!(
            matches!(full, Err(Error::Busy(_))),
            "of these, too, there is an end"
        );
    }

    #[test]
    fn nothing_is_kept_of_who_left() {
        let turnstile = Turnstile::new(PLACES);
        drop(turnstile.enter("a"));
        assert!(turnstile.inner.lock().by_key.is_empty());
    }

    #[tokio::test]
    async fn who_waits_for_the_last_one_is_woken() {
        let turnstile = Turnstile::new(PLACES);
        let ticket = turnstile.enter("a");
        let ((), ()) = tokio::join!(turnstile.empty(), async { drop(ticket) });
    }
}
