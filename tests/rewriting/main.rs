//! Rewritten modules on a device, against the untouched ones.
#![forbid(unsafe_code)]

mod bounds;
mod corpus;
mod generated;
mod loops;
mod rig;
mod slices;
