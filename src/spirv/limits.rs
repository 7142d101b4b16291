//! What the gate accepts at most, whatever the device could do.

/// Bytes of a module. Large real kernels stay below 1 MiB; the validator's time grows with this.
pub const MAX_MODULE_BYTES: usize = 16 << 20;

/// Bound of the ids of a module: tables by id are allocated from it.
pub const MAX_ID_BOUND: u32 = 1_000_000;

/// Levels of types within types. Readers of SPIR-V, the validator and drivers among them, recurse over types;
/// the language's own limit covers structures (255) but not arrays.
pub const MAX_NESTING: u8 = 64;

/// Functions of a module, which bounds the depth of its calls. The validator's time grows with the square of a
/// chain of calls: 1.7 s for 4 000.
pub const MAX_FUNCTIONS: usize = 1024;

/// Descriptor variables that an entry point uses.
pub const MAX_BINDINGS: usize = 1024;

/// Bytes of private and function variables of an invocation. What does not fit registers is reserved for as many
/// invocations as the device can hold at once, in memory that all clients share: 64 KiB are already 17 GiB for the
/// 270 336 invocations of a large GPU.
pub const MAX_INVOCATION_BYTES: u64 = 64 << 10;

/// Instructions of an entry point with all calls expanded, as drivers expand them: a chain of functions that call the
/// next one twice doubles with each.
pub const MAX_EXPANDED_INSTRUCTIONS: u64 = 4 << 20;

/// Specialization values of one request.
pub const MAX_SPEC_CONSTANTS: usize = 4096;

/// Bytes of the validator's text that a refusal carries; names in it are the client's.
pub(crate) const MAX_DIAGNOSTIC_BYTES: usize = 1024;
