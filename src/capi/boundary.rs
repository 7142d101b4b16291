//! The line between C and Rust, crossed by every export that can fail.

use crate::failure::Failure;
use std::ffi::{CStr, c_char, c_int};
use std::panic::{AssertUnwindSafe, catch_unwind};
use vkmps::ErrorCode;

/// Declares exports whose body returns a `Result`; a failure or a panic becomes what the return type says for it.
macro_rules! export {
    ($($(#[$attribute:meta])* fn $name:ident($($argument:ident: $type:ty),* $(,)?) -> $output:ty $body:block)*) => {$(
        $(#[$attribute])*
        ///
        /// # Safety
        /// Pointers are NULL or as `client.h` asks for them: valid for the call, of the size that is given.
        #[unsafe(no_mangle)]
        pub(crate) unsafe extern "C" fn $name($($argument: $type),*) -> $output {
            $crate::boundary::cross(|| -> Result<$output, $crate::failure::Failure> { $body })
        }
    )*};
}
pub(crate) use export;

/// What an export returns, with its value for failures.
pub(crate) trait Output {
    fn failed(code: c_int) -> Self;
}

impl Output for c_int {
    fn failed(code: c_int) -> Self {
        code
    }
}

/// Numbers of objects: 0 is none.
impl Output for u64 {
    fn failed(_: c_int) -> Self {
        0
    }
}

impl<T> Output for *mut T {
    fn failed(_: c_int) -> Self {
        std::ptr::null_mut()
    }
}

impl Output for () {
    fn failed(_: c_int) -> Self {}
}

pub(crate) fn cross<T: Output>(body: impl FnOnce() -> Result<T, Failure>) -> T {
    let failure = match catch_unwind(AssertUnwindSafe(body)) {
        Ok(Ok(output)) => return output,
        Ok(Err(failure)) => failure,
        Err(_) => Failure::new(ErrorCode::System, "the client library panicked"),
    };
    T::failed(failure.keep())
}

/// What a pointer of the caller points to.
///
/// # Safety
/// Not NULL means valid for `'a`.
pub(crate) unsafe fn borrow<'a, T>(pointer: *const T, name: &str) -> Result<&'a T, Failure> {
    // SAFETY: the caller's promise.
    unsafe { pointer.as_ref() }.ok_or_else(|| null(name))
}

/// An array of the caller's; of no elements where `count` is 0, whatever the pointer.
///
/// # Safety
/// Not NULL means valid for `count` elements and `'a`.
pub(crate) unsafe fn array<'a, T>(
    pointer: *const T,
    count: usize,
    name: &str,
) -> Result<&'a [T], Failure> {
    check_array(pointer, count, name)?;
    if count == 0 {
        return Ok(&[]);
    }
    // SAFETY: not NULL and aligned by the check, so valid by the caller's promise.
    Ok(unsafe { std::slice::from_raw_parts(pointer, count) })
}

/// As [`array`], to write to.
///
/// # Safety
/// As [`array`], and nobody else uses the memory during `'a`.
pub(crate) unsafe fn array_mut<'a, T>(
    pointer: *mut T,
    count: usize,
    name: &str,
) -> Result<&'a mut [T], Failure> {
    check_array(pointer, count, name)?;
    if count == 0 {
        return Ok(&mut []);
    }
    // SAFETY: as in `array`.
    Ok(unsafe { std::slice::from_raw_parts_mut(pointer, count) })
}

/// A string of the caller's; `None` for NULL.
///
/// # Safety
/// Not NULL means NUL-terminated and valid for `'a`.
pub(crate) unsafe fn string<'a>(pointer: *const c_char) -> Option<&'a CStr> {
    // SAFETY: the caller's promise.
    (!pointer.is_null()).then(|| unsafe { CStr::from_ptr(pointer) })
}

fn check_array<T>(pointer: *const T, count: usize, name: &str) -> Result<(), Failure> {
    if count == 0 {
        return Ok(());
    }
    if pointer.is_null() {
        return Err(null(name));
    }
    if !pointer.is_aligned() || count > isize::MAX.unsigned_abs() / size_of::<T>() {
        return Err(Failure::new(
            ErrorCode::InvalidArgument,
            &format!("{name} is no array of {count} elements"),
        ));
    }
    Ok(())
}

fn null(name: &str) -> Failure {
    Failure::new(ErrorCode::InvalidArgument, &format!("{name} is NULL"))
}
