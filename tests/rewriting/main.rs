//! Rewritten modules on a device, against the untouched ones.
#![forbid(unsafe_code)]

mod corpus;
mod loops;
mod rig;
mod slices;
