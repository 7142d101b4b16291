//! The limits that MPS knows, of all clients: here they are defaults of the service.

use super::answer::Answer;
use super::command::Limit;
use crate::error::Error;
use crate::service::Service;
use crate::text::escape;
use std::collections::HashMap;
use vkmps_bus::limits as key;
use vkmps_protocol::quota::Amount;
use vkmps_protocol::share::percentage;
use zbus::Variant;

/// Prints a limit.
pub(super) async fn show(service: &Service, limit: Limit) -> Result<Answer, Error> {
    let manager = service.manager();
    let text = match limit {
        Limit::ActiveThreadPercentage => {
            format!("{}.0\n", manager.default_active_thread_percentage().await?)
        }
        Limit::PinnedMemory { device: 0 } => {
            format!("{}\n", Amount::Bytes(manager.default_memory_limit().await?))
        }
        Limit::PinnedMemory { device } => return Ok(no_device(device)),
    };
    Ok(Answer::success(text))
}

/// Sets a limit.
pub(super) async fn set(service: &Service, limit: Limit, value: &str) -> Result<Answer, Error> {
    let invalid = |what| Answer::failure(format!("Invalid {what} \"{}\"\n", escape(value)));
    let (name, given, text): (_, Variant<'_>, _) = match limit {
        Limit::ActiveThreadPercentage => match percentage(value) {
            Some(percent) => (key::PERCENTAGE, percent.into(), format!("{percent}.0\n")),
            None => return Ok(invalid("active thread percentage")),
        },
        Limit::PinnedMemory { device: 0 } => match value.parse::<Amount>() {
            Ok(amount) => (key::MEMORY, amount.to_string().into(), String::new()),
            Err(_) => return Ok(invalid("memory limit")),
        },
        Limit::PinnedMemory { device } => return Ok(no_device(device)),
    };
    let limits = HashMap::from([(name, given)]);
    let () = service.guarded("SetDefaultLimits", &limits).await?;
    Ok(Answer::success(text))
}

/// There is one.
fn no_device(device: u32) -> Answer {
    Answer::failure(format!("Device {device} not found\n"))
}
