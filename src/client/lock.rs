//! Taking a lock whose last owner may have panicked.

use std::sync::{Mutex, MutexGuard, PoisonError};

/// Takes the lock. What the client's locks guard is consistent after every statement, so a panic under one (an
/// allocation that failed in a caller's thread) is no reason to fail everyone else.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
