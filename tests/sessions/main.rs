//! Sessions: clients that have limits together and end together.

mod members;
