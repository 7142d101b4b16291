//! The client against a daemon and an engine that are threads of the test: what happens on the wire is the test's
//! choice.

#[cfg(test)]
mod awaiting;
#[cfg(test)]
mod connecting;
#[cfg(test)]
mod engine;
#[cfg(test)]
mod failing;
#[cfg(test)]
mod fake;
#[cfg(test)]
mod memory;
#[cfg(test)]
mod submitting;
