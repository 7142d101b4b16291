//! Processes that die or hang at the worst moment: clients, the engine, a compiler, the spawner, the daemon.
#![forbid(unsafe_code)]

mod clients;
mod compiler;
mod daemon;
mod engine;
mod shaders;
mod strange_daemon;
