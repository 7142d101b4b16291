//! Failures as C sees them: a number, and a text kept for the thread.

use std::cell::RefCell;
use std::ffi::{CStr, CString, c_char, c_int};
use std::sync::OnceLock;
use vkmps::ErrorCode;

/// Why an export failed.
#[derive(Debug)]
pub(crate) struct Failure {
    code: ErrorCode,
    text: String,
}

impl Failure {
    pub(crate) fn new(code: ErrorCode, what: &str) -> Self {
        Self {
            code,
            text: format!("{code}: {what}"),
        }
    }

    /// Keeps it for `vkmps_last_error` and returns its number.
    pub(crate) fn keep(self) -> c_int {
        let number = -c_int::from(self.code.number());
        // A text with a NUL in it came from elsewhere; the code alone still says something.
        let text = CString::new(self.text).unwrap_or_default();
        // A thread that is ending keeps nothing.
        let _ = LAST.try_with(|last| *last.borrow_mut() = Some((number, text)));
        number
    }
}

impl From<vkmps::Error> for Failure {
    fn from(error: vkmps::Error) -> Self {
        Self {
            code: error.code(),
            text: error.to_string(),
        }
    }
}

thread_local! {
    static LAST: RefCell<Option<(c_int, CString)>> = const { RefCell::new(None) };
}

/// What a result code means; never NULL, valid for ever.
#[unsafe(no_mangle)]
pub(crate) extern "C" fn vkmps_strerror(result: c_int) -> *const c_char {
    static TEXTS: OnceLock<Vec<CString>> = OnceLock::new();
    let text = match result {
        0 => c"success",
        1 => c"not over yet",
        _ => {
            let texts = TEXTS.get_or_init(|| {
                ErrorCode::ALL
                    .iter()
                    .map(|code| CString::new(code.to_string()).unwrap_or_default())
                    .collect()
            });
            let index = usize::try_from(result.unsigned_abs())
                .ok()
                .filter(|_| result < 0)
                .and_then(|n| n.checked_sub(1));
            index
                .and_then(|index| texts.get(index))
                .map_or(c"unknown result", CString::as_c_str)
        }
    };
    text.as_ptr()
}

/// Text of this thread's last failure, empty before the first; valid until the thread's next failure.
#[unsafe(no_mangle)]
pub(crate) extern "C" fn vkmps_last_error() -> *const c_char {
    let text = LAST.try_with(|last| last.borrow().as_ref().map(|(_, text)| text.as_ptr()));
    text.ok().flatten().unwrap_or(<&CStr>::default().as_ptr())
}

/// Code of this thread's last failure, 0 before the first.
#[unsafe(no_mangle)]
pub(crate) extern "C" fn vkmps_last_error_code() -> c_int {
    LAST.try_with(|last| last.borrow().as_ref().map_or(0, |(number, _)| *number))
        .unwrap_or(0)
}
