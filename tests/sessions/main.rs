//! Sessions: clients that have limits together and end together.

mod command;
mod members;
mod token;
