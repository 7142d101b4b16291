//! The verbs that tell the service to do something.

use crate::complain;
use crate::error::Error;
use crate::output::Format;
use crate::service::Service;
use crate::text::escape;
use crate::watch::Watch;
use serde_json::json;
use vkmps_bus::{LogLevel, Priority};

/// `vkmpsctl set-priority`.
pub(crate) async fn set_priority(
    service: &Service,
    client: u64,
    priority: Priority,
    format: Format,
) -> Result<(), Error> {
    let arguments = (client, priority.name());
    let () = by_id(client, service.guarded("SetPriority", &arguments).await)?;
    format.show(
        &json!({"client": client, "priority": priority.name()}),
        |_| String::new(),
    )
}

/// `vkmpsctl terminate`: as many as can be; the first failure decides the exit status.
pub(crate) async fn terminate(
    service: &Service,
    clients: &[u64],
    format: Format,
) -> Result<(), Error> {
    let mut terminated = Vec::new();
    let mut exit = None;
    for &client in clients {
        let outcome: Result<(), _> = service.guarded("TerminateClient", &client).await;
        match by_id(client, outcome) {
            Ok(()) => terminated.push(client),
            Err(error) => {
                complain("vkmpsctl", &error);
                exit = exit.or(Some(error.exit()));
            }
        }
    }
    format.show(&json!({"terminated": terminated}), |_| String::new())?;
    exit.map_or(Ok(()), |exit| Err(Error::Reported(exit)))
}

/// `vkmpsctl drain`.
pub(crate) async fn drain(service: &Service, wait: bool, format: Format) -> Result<(), Error> {
    let mut watch = match wait {
        true => Some(Watch::new(service).await?),
        false => None,
    };
    let () = service.guarded("Drain", &()).await?;
    let state = match &mut watch {
        Some(watch) => {
            watch.drained(service).await?;
            "drained".to_owned()
        }
        None => service.manager().state().await?,
    };
    format.show(&json!({"state": state}), |_| match state.as_str() {
        "draining" => "draining; vkmpsctl resume ends it\n".to_owned(),
        state => format!("{}\n", escape(state)),
    })
}

/// `vkmpsctl resume`.
pub(crate) async fn resume(service: &Service, format: Format) -> Result<(), Error> {
    let () = service.guarded("Resume", &()).await?;
    let state = service.manager().state().await?;
    format.show(&json!({"state": state}), |_| {
        format!("{}\n", escape(&state))
    })
}

/// `vkmpsctl reload`.
pub(crate) async fn reload(service: &Service, format: Format) -> Result<(), Error> {
    let restart: Vec<String> = service.guarded("Reload", &()).await?;
    format.show(&json!({"restart": restart}), |paint| {
        match restart.as_slice() {
            [] => String::new(),
            keys => {
                let keys = escape(&keys.join(", "));
                let text = format!("takes effect when vkmpsd is restarted: {keys}");
                paint.warning(&text) + "\n"
            }
        }
    })
}

/// `vkmpsctl log-level`.
pub(crate) async fn log_level(
    service: &Service,
    level: Option<LogLevel>,
    format: Format,
) -> Result<(), Error> {
    match level {
        Some(level) => {
            let () = service.guarded("SetLogLevel", &level.name()).await?;
            format.show(&json!({"log_level": level.name()}), |_| String::new())
        }
        None => {
            let level = service.manager().log_level().await?;
            format.show(&json!({"log_level": level}), |_| {
                format!("{}\n", escape(&level))
            })
        }
    }
}

/// Names the client that does not exist.
fn by_id<T>(client: u64, outcome: Result<T, Error>) -> Result<T, Error> {
    outcome.map_err(|error| match error {
        Error::UnknownClient(_) => Error::NoSuchClient(client),
        error => error,
    })
}
