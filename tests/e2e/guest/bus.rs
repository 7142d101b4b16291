//! Calls over the machine's system bus, by the tool that administrators use.

use super::{User, as_user, text};
use crate::boot::Machine;
use serde_json::Value;
use std::process::{Child, Stdio};

/// Why a call failed, in the words of busctl.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Refusal(pub(crate) String);

impl Machine {
    /// Calls a method of the manager; arguments are a signature and values. What it returns.
    pub(crate) fn call(
        &self,
        user: User,
        method: &str,
        arguments: &[&str],
    ) -> Result<Value, Refusal> {
        let call = ["call", NAME, MANAGER, NAME, method];
        self.busctl(user, &[&call, arguments].concat())
    }

    /// A property of an object.
    ///
    /// # Panics
    /// When it has none.
    pub(crate) fn bus_property(
        &self,
        user: User,
        object: &str,
        interface: &str,
        name: &str,
    ) -> Value {
        let answer = self.busctl(user, &["get-property", NAME, object, interface, name]);
        answer.unwrap_or_else(|refusal| panic!("{object} {name}: {}", refusal.0))
    }

    /// Clients, as ListClients has them: one array a client.
    ///
    /// # Panics
    /// When there is no answer.
    pub(crate) fn clients(&self) -> Vec<Value> {
        let answer = self.call(User::Root, "ListClients", &[]);
        let answer = answer.unwrap_or_else(|refusal| panic!("ListClients: {}", refusal.0));
        answer[0].as_array().cloned().unwrap_or_default()
    }

    /// The daemon's state, the engine's, what failed, the engine's process, engines replaced, warnings.
    ///
    /// # Panics
    /// When there is no answer.
    pub(crate) fn status(&self) -> Vec<Value> {
        let answer = self.call(User::Root, "GetStatus", &[]);
        let answer = answer.unwrap_or_else(|refusal| panic!("GetStatus: {}", refusal.0));
        answer.as_array().cloned().unwrap_or_default()
    }

    /// Calls a method and does not wait for the answer.
    ///
    /// # Panics
    /// When busctl cannot be started.
    pub(crate) fn background(&self, user: User, method: &str, arguments: &[&str]) -> Child {
        let call = ["busctl", "call", NAME, MANAGER, NAME, method];
        let mut command = self.command(&[&as_user(user), &call[..], arguments].concat());
        command.stdout(Stdio::null()).stderr(Stdio::null());
        command
            .spawn()
            .unwrap_or_else(|error| panic!("busctl: {error}"))
    }

    /// Runs busctl for its data.
    pub(crate) fn busctl(&self, user: User, arguments: &[&str]) -> Result<Value, Refusal> {
        let output = self.run_as(user, &[&["busctl", "--json=short"], arguments].concat());
        if !output.status.success() {
            return Err(Refusal(text(&output.stderr)));
        }
        // A call that returns nothing prints nothing.
        let value: Value = serde_json::from_slice(&output.stdout).unwrap_or_default();
        Ok(value["data"].clone())
    }
}

/// Name and interface of the daemon.
pub(crate) const NAME: &str = "org.vkmps.Manager";
/// Its object.
pub(crate) const MANAGER: &str = "/org/vkmps/Manager";
