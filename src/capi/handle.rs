//! Numbers that C has for objects of a client.

use crate::failure::Failure;
use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use vkmps::ErrorCode;

/// Objects by number. Numbers are unique in the process and never used again.
pub(crate) struct Handles<T> {
    kind: &'static str,
    /// Held for a look-up; a mutex because C threads may share a client.
    objects: Mutex<HashMap<u64, T>>,
}

impl<T: Clone> Handles<T> {
    pub(crate) fn new(kind: &'static str) -> Self {
        Self {
            kind,
            objects: Mutex::default(),
        }
    }

    pub(crate) fn insert(&self, object: T) -> u64 {
        static NEXT: AtomicU64 = AtomicU64::new(1);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        self.objects().insert(number, object);
        number
    }

    pub(crate) fn find(&self, number: u64) -> Result<T, Failure> {
        self.objects()
            .get(&number)
            .cloned()
            .ok_or_else(|| self.unknown(number))
    }

    /// Takes it out; the caller drops it without the lock.
    pub(crate) fn remove(&self, number: u64) -> Result<T, Failure> {
        self.objects()
            .remove(&number)
            .ok_or_else(|| self.unknown(number))
    }

    fn objects(&self) -> MutexGuard<'_, HashMap<u64, T>> {
        self.objects.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn unknown(&self, number: u64) -> Failure {
        Failure::new(
            ErrorCode::InvalidHandle,
            &format!("{} {number} is not one of this client's", self.kind),
        )
    }
}
