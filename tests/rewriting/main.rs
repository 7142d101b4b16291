//! Rewritten modules on a device, against the untouched ones.
#![forbid(unsafe_code)]

mod corpus;
mod rig;
mod slices;
