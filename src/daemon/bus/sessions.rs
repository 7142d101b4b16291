//! Sessions that callers hold: they end when their holder leaves the bus.

use super::authority::Departure;
use super::limits;
use super::manager::Manager;
use super::port::Port;
use super::words;
use crate::control::{Held, NewSession, NoSuchSession, Request};
use tokio::sync::oneshot;
use vkmps_broker::Peer;
use vkmps_bus::{Error, SessionEntry};
use vkmps_ipc::memory::random;
use vkmps_protocol::ErrorCode;
use vkmps_protocol::group::{GroupId, MAX_TTL_MS, NewGroup};
use vkmps_protocol::limits::MAX_NAME_BYTES;
use vkmps_protocol::message::Priority;
use vkmps_protocol::share::NO_CAP;
use vkmps_protocol::token::Token;

/// What a caller asks for, looked at.
pub(super) fn new_group(name: &str, given: &limits::Given, ttl_us: u64) -> Result<NewGroup, Error> {
    let bad = |text: &str| Err(Error::InvalidArgument(text.to_owned()));
    if name.len() > MAX_NAME_BYTES {
        return bad("a name has at most 64 bytes");
    }
    let ttl_ms = ttl_us.div_ceil(1000);
    if ttl_ms > MAX_TTL_MS {
        return bad("a session lasts 366 days at most");
    }
    let limits = limits::of_session(given)?;
    let token = random().map_err(|error| Error::Internal(error.to_string()))?;
    Ok(NewGroup {
        name: name.to_owned(),
        token: Token(token),
        limits,
        ttl_ms,
    })
}

impl Manager {
    /// Opens a session and has it released when who asked is gone. `departure` began before: nobody leaves unseen.
    pub(super) async fn open_session(
        &self,
        peer: Peer,
        group: NewGroup,
        departure: Departure,
    ) -> Result<(u64, String), Error> {
        let token = group.token;
        let open = |reply| Request::CreateSession(NewSession { peer, group }, reply);
        let held = self.port().ask(open).await?;
        let Held { id, over } = held.map_err(|(code, text)| match code {
            ErrorCode::Draining => Error::Draining(text),
            ErrorCode::LimitReached => Error::LimitExceeded(text),
            _ => Error::InvalidArgument(text),
        })?;
        tokio::spawn(hold(self.port().clone(), id, over, departure));
        Ok((id.0, token.hex()))
    }

    /// Whose session this is.
    pub(super) async fn session_owner(&self, session: u64) -> Result<u32, Error> {
        let sessions = self.port().ask(Request::Sessions).await?;
        let found = sessions.iter().find(|view| view.id.0 == session);
        found
            .map(|view| view.uid)
            .ok_or_else(|| words::no_such_session(session))
    }

    pub(super) async fn end_session(&self, session: u64) -> Result<(), Error> {
        let end = |reply| Request::ReleaseSession(GroupId(session), Some(reply));
        let done = self.port().ask(end).await?;
        done.map_err(|NoSuchSession| words::no_such_session(session))
    }

    pub(super) async fn sessions(&self) -> Result<Vec<SessionEntry>, Error> {
        let sessions = self.port().ask(Request::Sessions).await?;
        let entries = sessions.into_iter().map(|view| SessionEntry {
            id: view.id.0,
            uid: view.uid,
            pid: view.pid.try_into().unwrap_or_default(),
            name: words::plain(&view.name),
            clients: view.clients.iter().map(|client| client.0).collect(),
            memory_used_bytes: view.memory_bytes.0,
            memory_limit_bytes: view.memory_bytes.1,
            active_thread_percentage: view.limits.cap_percent.unwrap_or(NO_CAP),
            priority: words::priority(view.limits.max_priority.unwrap_or(Priority::Realtime))
                .name()
                .to_owned(),
            created_us: view.created_us,
            ends_us: view.ends_us,
        });
        Ok(entries.collect())
    }
}

/// Until the session is over, or its holder gone and the session with it.
async fn hold(port: Port, id: GroupId, over: oneshot::Receiver<()>, departure: Departure) {
    tokio::select! {
        // Nothing is ever sent: the other end goes with the session.
        _ = over => {}
        () = departure.wait() => port.tell(Request::ReleaseSession(id, None)).await,
    }
}
