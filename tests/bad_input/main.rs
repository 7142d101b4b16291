//! What clients may say wrong, by accident or on purpose, to the daemon and in their rings. Each case ends in a typed
//! error to that client or the end of that session only, with a line in the log, while a second client computes and
//! checks every result.
#![forbid(unsafe_code)]

mod commands;
mod descriptors;
mod modules;
mod noise;
mod objects;
mod packets;
mod races;
mod records;
mod rust_client;
