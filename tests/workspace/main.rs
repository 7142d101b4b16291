//! Rules of the code base that no compiler checks: who may use whom, what is safe, what is up to date.
#![forbid(unsafe_code)]

mod artifacts;
mod crates;
mod manuals;
mod sources;
mod units;
mod vectors;
