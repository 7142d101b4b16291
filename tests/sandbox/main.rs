//! What the processes confine themselves to, seen from outside and tried from inside.
#![forbid(unsafe_code)]

mod escape;
mod proof;
