//! spirv-val through the C API of Debian's libSPIRV-Tools, of which the few functions needed are declared by hand
//! after `spirv-tools/libspirv.h`.
#![expect(
    unsafe_code,
    reason = "the validator is a C++ library behind a C interface"
)]

use crate::limits::MAX_DIAGNOSTIC_BYTES;
use crate::refusal::Refusal;
use crate::target::Target;
use std::ffi::{CStr, c_char, c_int, c_void};
use std::ptr::{self, NonNull};

/// Checks `words` against the rules of SPIR-V and of the target's Vulkan version.
pub(crate) fn validate(words: &[u32], target: &Target) -> Result<(), Refusal> {
    let context = Context::new(target).ok_or(Refusal::ValidatorUnavailable)?;
    let options = Options::new(target).ok_or(Refusal::ValidatorUnavailable)?;
    let binary = ConstBinary {
        code: words.as_ptr(),
        word_count: words.len(),
    };
    let mut diagnostic = Diagnostic(ptr::null_mut());
    // SAFETY: context and options are live (their types own them), binary describes `words`, which outlives the
    // call, and the diagnostic slot is null as the library expects; the library keeps none of the pointers.
    let result = unsafe {
        spvValidateWithOptions(
            context.0.as_ptr(),
            options.0.as_ptr(),
            &raw const binary,
            &raw mut diagnostic.0,
        )
    };
    if result == SUCCESS {
        return Ok(());
    }
    Err(Refusal::Invalid {
        diagnostic: diagnostic.text(),
    })
}

/// Owns a `spv_context`.
struct Context(NonNull<c_void>);

impl Context {
    fn new(target: &Target) -> Option<Self> {
        let newest_first: &[&CStr] = match target.vulkan_minor {
            ..=2 => &[c"vulkan1.2"],
            3 => &[c"vulkan1.3"],
            // Libraries before 2024 do not know 1.4, whose SPIR-V is that of 1.3.
            _ => &[c"vulkan1.4", c"vulkan1.3"],
        };
        let mut environment: c_int = 0;
        let known = newest_first.iter().any(|name| {
            // SAFETY: name is a terminated string and environment a place for the enumerator, both outlive the call.
            unsafe { spvParseTargetEnv(name.as_ptr(), &raw mut environment) }
        });
        if !known {
            return None;
        }
        // SAFETY: environment was written by the library just above.
        let context = unsafe { spvContextCreate(environment) };
        NonNull::new(context).map(Context)
    }
}

impl Drop for Context {
    fn drop(&mut self) {
        // SAFETY: the pointer came from spvContextCreate and only this owner frees it.
        unsafe { spvContextDestroy(self.0.as_ptr()) };
    }
}

/// Owns a `spv_validator_options`.
struct Options(NonNull<c_void>);

impl Options {
    fn new(target: &Target) -> Option<Self> {
        // SAFETY: no arguments; the result is owned below.
        let options = Options(NonNull::new(unsafe { spvValidatorOptionsCreate() })?);
        let pointer = options.0.as_ptr();
        // SAFETY: pointer is live, owned by `options`.
        unsafe { spvValidatorOptionsSetScalarBlockLayout(pointer, target.scalar_block_layout) };
        let standard_layout = target.features.uniform_buffer_standard_layout;
        // SAFETY: as above.
        unsafe { spvValidatorOptionsSetUniformBufferStandardLayout(pointer, standard_layout) };
        // The size is worked out and frozen by `select`, so the maintenance4 feature is not needed.
        // SAFETY: as above.
        unsafe { spvValidatorOptionsSetAllowLocalSizeId(pointer, true) };
        // Ids as numbers: names are the client's text, and making them unique takes time.
        // SAFETY: as above.
        unsafe { spvValidatorOptionsSetFriendlyNames(pointer, false) };
        Some(options)
    }
}

impl Drop for Options {
    fn drop(&mut self) {
        // SAFETY: the pointer came from spvValidatorOptionsCreate and only this owner frees it.
        unsafe { spvValidatorOptionsDestroy(self.0.as_ptr()) };
    }
}

/// Owns a `spv_diagnostic`, or nothing.
struct Diagnostic(*mut RawDiagnostic);

impl Diagnostic {
    /// The text, cut to [`MAX_DIAGNOSTIC_BYTES`]. Its position is of no use to the client, whose module lost its
    /// debug information before.
    fn text(&self) -> String {
        // SAFETY: the pointer is null or points at a diagnostic the library made and this value owns.
        let Some(raw) = (unsafe { self.0.as_ref() }) else {
            return "no diagnostic".to_owned();
        };
        if raw.error.is_null() {
            return "no diagnostic".to_owned();
        }
        // SAFETY: a diagnostic's text is a terminated string that lives as long as the diagnostic.
        let text = unsafe { CStr::from_ptr(raw.error) };
        let bytes = text.to_bytes();
        let shown = bytes.get(..MAX_DIAGNOSTIC_BYTES).unwrap_or(bytes);
        // One line: the disassembly after the first line break is for people with the file at hand.
        let line = shown.split(|&byte| byte == b'\n').next().unwrap_or(shown);
        String::from_utf8_lossy(line).into_owned()
    }
}

impl Drop for Diagnostic {
    fn drop(&mut self) {
        // SAFETY: null is allowed, anything else came from the library and only this owner frees it.
        unsafe { spvDiagnosticDestroy(self.0) };
    }
}

/// Assembles SPIR-V text, with the ids as written.
#[cfg(test)]
pub(crate) fn assemble(text: &str, target: &Target) -> Vec<u32> {
    let context = Context::new(target).expect("a known environment");
    let mut binary: *mut ConstBinary = ptr::null_mut();
    let mut diagnostic = Diagnostic(ptr::null_mut());
    // SAFETY: context is live, text is given with its length, both result slots are null and outlive the call.
    unsafe {
        spvTextToBinary(
            context.0.as_ptr(),
            text.as_ptr().cast(),
            text.len(),
            &raw mut binary,
            &raw mut diagnostic.0,
        )
    };
    assert!(!binary.is_null(), "{:?}\n{text}", diagnostic.text());
    // SAFETY: the library made the binary just above; it is freed below, after the last use.
    let made = unsafe { &*binary };
    // SAFETY: code and word_count are the library's description of one allocation.
    let words = unsafe { std::slice::from_raw_parts(made.code, made.word_count) }.to_vec();
    // SAFETY: made by spvTextToBinary, freed once, not used afterwards.
    unsafe { spvBinaryDestroy(binary) };
    words
}

/// `spv_const_binary_t`, and `spv_binary_t`, which differs in constness only.
#[repr(C)]
struct ConstBinary {
    code: *const u32,
    word_count: usize,
}

/// `spv_position_t`.
#[repr(C)]
struct Position {
    line: usize,
    column: usize,
    index: usize,
}

/// `spv_diagnostic_t`.
#[repr(C)]
struct RawDiagnostic {
    position: Position,
    error: *mut c_char,
    is_text_source: bool,
}

/// `SPV_SUCCESS` of `spv_result_t`.
const SUCCESS: c_int = 0;

unsafe extern "C" {
    fn spvParseTargetEnv(name: *const c_char, environment: *mut c_int) -> bool;
    fn spvContextCreate(environment: c_int) -> *mut c_void;
    fn spvContextDestroy(context: *mut c_void);
    fn spvValidatorOptionsCreate() -> *mut c_void;
    fn spvValidatorOptionsDestroy(options: *mut c_void);
    fn spvValidatorOptionsSetScalarBlockLayout(options: *mut c_void, value: bool);
    fn spvValidatorOptionsSetUniformBufferStandardLayout(options: *mut c_void, value: bool);
    fn spvValidatorOptionsSetAllowLocalSizeId(options: *mut c_void, value: bool);
    fn spvValidatorOptionsSetFriendlyNames(options: *mut c_void, value: bool);
    fn spvValidateWithOptions(
        context: *const c_void,
        options: *const c_void,
        binary: *const ConstBinary,
        diagnostic: *mut *mut RawDiagnostic,
    ) -> c_int;
    fn spvDiagnosticDestroy(diagnostic: *mut RawDiagnostic);
    #[cfg(test)]
    fn spvTextToBinary(
        context: *const c_void,
        text: *const c_char,
        length: usize,
        binary: *mut *mut ConstBinary,
        diagnostic: *mut *mut RawDiagnostic,
    ) -> c_int;
    #[cfg(test)]
    fn spvBinaryDestroy(binary: *mut ConstBinary);
}
