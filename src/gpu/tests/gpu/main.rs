//! The public API on a real driver (lavapipe where there is no GPU), used as the engine uses it: without unsafe code.
#![forbid(unsafe_code)]

mod completion;
mod misuse;
mod rig;
mod selection;
mod work;
