//! Who may do what: polkit decides.
//!
//! The subject is the bus name that sent the message, never a pid: a pid can be another process by the time polkit looks.
//! A polkit that is absent, unreachable or late has not allowed anything.

use super::action::Action;
use super::port::Port;
use super::turnstile::{Places, Turnstile};
use crate::control::Request;
use std::collections::HashMap;
use std::future::{pending, poll_fn};
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::time::{sleep, timeout};
use vkmps_broker::Peer;
use vkmps_bus::Error;
use zbus::export::futures_core::Stream;
use zbus::fdo::{DBusProxy, NameOwnerChangedStream};
use zbus::message::{Flags, Header};
use zbus::names::{BusName, UniqueName};
use zbus::proxy::CacheProperties;
use zbus::{Connection, Variant};

/// Asks polkit about callers.
pub(super) struct Authority {
    polkit: PolkitProxy<'static>,
    bus: DBusProxy<'static>,
    port: Port,
    /// By user, so that one with many connections cannot use up what all may have in flight.
    questions: Turnstile<u32>,
    patience: Patience,
    next_question: AtomicU64,
}

/// Somebody who is on the bus.
pub(super) struct Departure(NameOwnerChangedStream);

impl Departure {
    /// Until that one is not, or the bus itself is gone.
    pub(super) async fn wait(mut self) {
        poll_fn(|context| Pin::new(&mut self.0).poll_next(context)).await;
    }
}

/// How long polkit may take.
#[derive(Debug, Clone, Copy)]
pub(super) struct Patience {
    /// When it asks nobody.
    pub(super) brief: Duration,
    /// When it may ask a person for a password.
    pub(super) interactive: Duration,
}

impl Default for Patience {
    fn default() -> Self {
        Self {
            brief: Duration::from_secs(25),
            interactive: Duration::from_secs(120),
        }
    }
}

/// Why a call is refused.
#[derive(Debug, thiserror::Error)]
enum Refusal {
    #[error("not allowed by polkit: {}", .0.id())]
    Denied(Action),
    #[error("polkit wants a password, and nobody can be asked for it: {}", .0.id())]
    Challenge(Action),
    #[error("polkit cannot be asked: {0}")]
    Unreachable(zbus::Error),
    #[error("polkit does not answer")]
    Late,
    #[error("the caller has left")]
    Gone,
}

impl Authority {
    pub(super) async fn new(
        connection: &Connection,
        port: Port,
        patience: Patience,
    ) -> zbus::Result<Self> {
        // What is cached is kept up to date by signals that nobody needs here.
        let polkit = PolkitProxy::builder(connection).cache_properties(CacheProperties::No);
        let bus = DBusProxy::builder(connection).cache_properties(CacheProperties::No);
        Ok(Self {
            polkit: polkit.build().await?,
            bus: bus.build().await?,
            port,
            questions: Turnstile::new(QUESTIONS),
            patience,
            next_question: AtomicU64::new(0),
        })
    }

    /// The caller's user, as the bus says.
    ///
    /// # Errors
    /// `NotAuthorized` - the caller has left.
    pub(super) async fn uid(&self, header: &Header<'_>) -> Result<u32, Error> {
        let sender = BusName::from(sender(header)?.to_owned());
        timeout(
            self.patience.brief,
            self.bus.get_connection_unix_user(sender),
        )
        .await
        .ok()
        .and_then(Result::ok)
        .ok_or_else(|| Error::NotAuthorized(Refusal::Gone.to_string()))
    }

    /// The caller's user and process, as the bus says; 0 where it does not know the process.
    pub(super) async fn peer(&self, header: &Header<'_>) -> Result<Peer, Error> {
        let uid = self.uid(header).await?;
        let sender = BusName::from(sender(header)?.to_owned());
        let asked = self.bus.get_connection_unix_process_id(sender);
        let pid = timeout(self.patience.brief, asked).await;
        let pid = pid.ok().and_then(Result::ok).unwrap_or(0);
        let pid = i32::try_from(pid).unwrap_or(0);
        Ok(Peer { uid, pid })
    }

    /// Begins to watch whether the caller leaves the bus.
    pub(super) async fn departure_of(&self, header: &Header<'_>) -> Result<Departure, Error> {
        let sender = sender(header)?.to_owned();
        let gone = || Error::NotAuthorized(Refusal::Gone.to_string());
        let only = [(0, sender.as_str())];
        let changes = self.bus.receive_name_owner_changed_with_args(&only);
        let changes = changes.await.map_err(|_| gone())?;
        // It may have left before the bus was asked to tell.
        let there = self.bus.name_has_owner(BusName::from(sender)).await;
        match there {
            Ok(true) => Ok(Departure(changes)),
            _ => Err(gone()),
        }
    }

    /// Whether who sent the message may do this.
    ///
    /// # Errors
    /// * `NotAuthorized` - polkit says no, or nothing.
    /// * `Busy` - polkit is asked about too many calls of this user already.
    pub(super) async fn authorise(&self, header: &Header<'_>, action: Action) -> Result<(), Error> {
        let sender = sender(header)?;
        let uid = self.uid(header).await?;
        let _question = self.questions.enter(uid)?;
        let interactive = header
            .primary()
            .flags()
            .contains(Flags::ALLOW_INTERACTIVE_AUTH);
        let Err(refusal) = self.question(sender, action, interactive).await else {
            return Ok(());
        };
        // Who left was not denied anything.
        if !matches!(refusal, Refusal::Gone) {
            let denied = Request::Denied {
                uid: Some(uid),
                sender: sender.to_string(),
                action: action.id(),
            };
            self.port.tell(denied).await;
        }
        Err(Error::NotAuthorized(refusal.to_string()))
    }

    async fn question(
        &self,
        sender: &UniqueName<'_>,
        action: Action,
        interactive: bool,
    ) -> Result<(), Refusal> {
        let number = self.next_question.fetch_add(1, Ordering::Relaxed);
        let name = format!("vkmps-{number}");
        let subject = HashMap::from([("name", Variant::from(sender.as_str()))]);
        // Details may only be given by who owns the action; ours need none.
        let check = self.polkit.check_authorization(
            ("system-bus-name", subject),
            action.id(),
            HashMap::new(),
            u32::from(interactive) * ALLOW_USER_INTERACTION,
            &name,
        );
        let limit = match interactive {
            true => self.patience.interactive,
            false => self.patience.brief,
        };
        let answer = timeout(limit, async {
            tokio::select! {
                answer = check => answer.map_err(Refusal::Unreachable),
                () = self.departure(sender) => Err(Refusal::Gone),
            }
        });
        let answer = answer.await.unwrap_or(Err(Refusal::Late));
        if let Err(Refusal::Late | Refusal::Gone) = answer {
            // Takes away the window that asks for a password, too.
            let _ = self.polkit.cancel_check_authorization(&name).await;
        }
        match answer? {
            (true, _, _) => Ok(()),
            (false, true, _) => Err(Refusal::Challenge(action)),
            (false, false, _) => Err(Refusal::Denied(action)),
        }
    }

    /// Returns when the caller has left the bus. Looks for that only once polkit is slow: it takes the bus two calls.
    async fn departure(&self, sender: &UniqueName<'_>) {
        sleep(SLOW).await;
        let only = [(0, sender.as_str())];
        let changes = self.bus.receive_name_owner_changed_with_args(&only);
        let Ok(mut changes) = changes.await else {
            return pending().await;
        };
        // It may have left before the bus was asked to tell.
        let there = self.bus.name_has_owner(BusName::from(sender.to_owned()));
        if let Ok(true) = there.await {
            poll_fn(|context| Pin::new(&mut changes).poll_next(context)).await;
        }
    }
}

fn sender<'h>(header: &'h Header<'_>) -> Result<&'h UniqueName<'h>, Error> {
    header
        .sender()
        .ok_or_else(|| Error::NotAuthorized("the message has no sender".to_owned()))
}

/// What is used of polkit's interface: the subject is its kind and details, the answer is whether it may, whether a
/// password would help, and details.
#[zbus::proxy(
    interface = "org.freedesktop.PolicyKit1.Authority",
    default_service = "org.freedesktop.PolicyKit1",
    default_path = "/org/freedesktop/PolicyKit1/Authority"
)]
trait Polkit {
    fn check_authorization(
        &self,
        subject: (&str, HashMap<&str, Variant<'_>>),
        action_id: &str,
        details: HashMap<&str, &str>,
        flags: u32,
        cancellation_id: &str,
    ) -> zbus::Result<(bool, bool, HashMap<String, String>)>;

    #[zbus(no_reply)]
    fn cancel_check_authorization(&self, cancellation_id: &str) -> zbus::Result<()>;
}

/// polkit's flag.
const ALLOW_USER_INTERACTION: u32 = 1;
/// Questions that polkit has not answered, by user: one has less than all may.
const QUESTIONS: Places = Places {
    per_key: 64,
    total: 128,
    firsts: 64,
};
/// polkit answers in less when it asks nobody.
const SLOW: Duration = Duration::from_millis(100);
