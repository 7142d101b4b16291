//! What the main loop has to say to the bus.
//!
//! The main loop puts changes in and never waits. A bus that is slow, or away, finds what is true when it comes to take:
//! at most one thing to say of each client that is there, and nothing of one that came and went unseen.

use crate::control::{Change, ClientView, DeviceView, Status};
use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::Notify;
use tokio::time::Instant;
use vkmps_protocol::handle::SessionId;

/// Both ends: the main loop's to put in, the bus's to take out.
#[derive(Debug, Clone, Default)]
pub(crate) struct Outbox {
    inner: Arc<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    /// Guards what is to be said. A plain lock: it is held to put in or to take out, never over an await.
    pending: Mutex<Pending>,
    changed: Notify,
    arrived: Notify,
}

#[derive(Debug, Default)]
struct Pending {
    clients: BTreeMap<SessionId, Known>,
    /// Clients of which there is something to say.
    news: BTreeSet<SessionId>,
    /// Clients that the bus knows and that are gone.
    gone: BTreeMap<SessionId, String>,
    status: Option<Status>,
    device: Option<DeviceView>,
    status_news: bool,
    device_news: bool,
    faults: VecDeque<(String, u32)>,
    limits: VecDeque<Limit>,
    /// When a limit was last told of, so that it is not again too soon.
    limited: HashMap<Limit, Instant>,
    /// Clients whose unit nobody looked up.
    unasked: VecDeque<SessionId>,
}

/// A client that is there.
#[derive(Debug)]
struct Known {
    view: ClientView,
    unit: String,
    told: bool,
    priority_news: bool,
    unit_news: bool,
    limits_news: bool,
}

/// Who was refused what.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Limit {
    pub(super) client: Option<SessionId>,
    pub(super) uid: u32,
    pub(super) limit: &'static str,
}

/// One thing to say.
#[derive(Debug, PartialEq)]
pub(super) enum News {
    /// The manager's properties may be others.
    Status(Status),
    /// Another device, or none.
    Device(Option<DeviceView>),
    /// A client that the bus does not know.
    Added(ClientView),
    /// A client that it knows has another priority, or its unit was found.
    Changed {
        client: SessionId,
        priority: Option<vkmps_protocol::message::Priority>,
        unit: Option<String>,
        limits: Option<Box<ClientView>>,
    },
    /// A client that it knows is gone.
    Removed { client: SessionId, reason: String },
    /// The device failed.
    Fault { reason: String, sessions: u32 },
    /// Somebody was refused something.
    Limit(Limit),
}

impl Outbox {
    pub(crate) fn new() -> Self {
        Self::default()
    }

    /// Puts a change in; never waits.
    pub(crate) fn push(&self, change: Change) {
        let arrived = matches!(change, Change::ClientAdded(_));
        self.inner.lock().push(change);
        if arrived {
            self.inner.arrived.notify_one();
        }
        self.inner.changed.notify_one();
    }

    /// Takes what is to be said next.
    pub(super) fn next(&self) -> Option<News> {
        self.inner.lock().next()
    }

    /// Returns when there may be something to say.
    pub(super) async fn changed(&self) {
        self.inner.changed.notified().await;
    }

    /// The bus is another one, or none: it knows no client, and what happened before is none of its business.
    pub(super) fn rewind(&self) {
        self.inner.lock().rewind();
        self.inner.arrived.notify_one();
    }

    /// How many clients are there.
    pub(super) fn clients(&self) -> u32 {
        let clients = self.inner.lock().clients.len();
        clients.try_into().unwrap_or(u32::MAX)
    }

    /// The systemd unit of a client; empty while unknown.
    pub(super) fn unit(&self, client: SessionId) -> String {
        let pending = self.inner.lock();
        let known = pending.clients.get(&client);
        known.map(|known| known.unit.clone()).unwrap_or_default()
    }

    /// A client whose unit nobody looked up, and its process.
    pub(super) fn next_unasked(&self) -> Option<(SessionId, i32)> {
        let mut pending = self.inner.lock();
        let client = pending.unasked.pop_front()?;
        let known = pending.clients.get(&client)?;
        Some((client, known.view.pid))
    }

    /// Returns when there may be such a client.
    pub(super) async fn unasked(&self) {
        self.inner.arrived.notified().await;
    }

    /// A client's unit was found.
    pub(super) fn found_unit(&self, client: SessionId, unit: String) {
        let mut pending = self.inner.lock();
        if let Some(known) = pending.clients.get_mut(&client) {
            known.unit = unit;
            known.unit_news = true;
            pending.news.insert(client);
            self.inner.changed.notify_one();
        }
    }
}

impl Inner {
    /// A panic leaves nothing half done that matters: what is said is only news.
    fn lock(&self) -> MutexGuard<'_, Pending> {
        self.pending.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Pending {
    fn push(&mut self, change: Change) {
        match change {
            Change::ClientAdded(view) => {
                let id = view.id;
                let known = Known {
                    view,
                    unit: String::new(),
                    told: false,
                    priority_news: false,
                    unit_news: false,
                    limits_news: false,
                };
                self.clients.insert(id, known);
                self.news.insert(id);
                self.unasked.push_back(id);
            }
            Change::ClientRemoved { client, reason } => {
                self.news.remove(&client);
                self.unasked.retain(|unasked| *unasked != client);
                if let Some(Known { told: true, .. }) = self.clients.remove(&client) {
                    self.gone.insert(client, reason);
                }
            }
            Change::Priority { client, priority } => {
                if let Some(known) = self.clients.get_mut(&client) {
                    known.view.priority = priority;
                    known.priority_news = true;
                    self.news.insert(client);
                }
            }
            Change::Limits(view) => {
                if let Some(known) = self.clients.get_mut(&view.id) {
                    self.news.insert(view.id);
                    known.limits_news = true;
                    known.view = view;
                }
            }
            Change::Device(device) => {
                self.device = device;
                self.device_news = true;
            }
            Change::Status(status) => {
                self.status = Some(status);
                self.status_news = true;
            }
            Change::DeviceFault { reason, sessions } => {
                self.faults.truncate(MAX_FAULTS - 1);
                self.faults.push_back((reason, sessions));
            }
            Change::LimitReached { client, uid, limit } => {
                self.limit(Limit { client, uid, limit }, Instant::now());
            }
        }
    }

    fn limit(&mut self, limit: Limit, now: Instant) {
        if self.limited.len() >= MAX_LIMITS {
            self.limited.retain(|_, told| now < *told + LIMIT_PAUSE);
        }
        let lately = |told: &Instant| now < *told + LIMIT_PAUSE;
        let full = self.limited.len() >= MAX_LIMITS || self.limits.len() >= MAX_LIMITS;
        if !full && !self.limited.get(&limit).is_some_and(lately) {
            self.limited.insert(limit.clone(), now);
            self.limits.push_back(limit);
        }
    }

    fn next(&mut self) -> Option<News> {
        if std::mem::take(&mut self.device_news) {
            return Some(News::Device(self.device.clone()));
        }
        if std::mem::take(&mut self.status_news)
            && let Some(status) = &self.status
        {
            return Some(News::Status(status.clone()));
        }
        if let Some((client, reason)) = self.gone.pop_first() {
            return Some(News::Removed { client, reason });
        }
        if let Some(client) = self.news.pop_first()
            && let Some(known) = self.clients.get_mut(&client)
        {
            return Some(known.news());
        }
        if let Some((reason, sessions)) = self.faults.pop_front() {
            return Some(News::Fault { reason, sessions });
        }
        self.limits.pop_front().map(News::Limit)
    }

    fn rewind(&mut self) {
        for known in self.clients.values_mut() {
            known.told = false;
        }
        self.news = self.clients.keys().copied().collect();
        self.gone.clear();
        self.faults.clear();
        self.limits.clear();
        self.status_news = self.status.is_some();
        self.device_news = self.device.is_some();
        let unknown = |known: &(&SessionId, &Known)| known.1.unit.is_empty();
        self.unasked = self
            .clients
            .iter()
            .filter(unknown)
            .map(|(id, _)| *id)
            .collect();
    }
}

impl Known {
    fn news(&mut self) -> News {
        let priority = std::mem::take(&mut self.priority_news).then_some(self.view.priority);
        let unit = std::mem::take(&mut self.unit_news).then(|| self.unit.clone());
        let limits = std::mem::take(&mut self.limits_news).then(|| Box::new(self.view.clone()));
        if !self.told {
            self.told = true;
            return News::Added(self.view.clone());
        }
        News::Changed {
            client: self.view.id,
            priority,
            unit,
            limits,
        }
    }
}

/// One client hears of one limit once in this time.
const LIMIT_PAUSE: Duration = Duration::from_secs(10);
/// Limits in one pause: more are not told of.
const MAX_LIMITS: usize = 1024;
/// Faults that are not told of yet: the latest replaces the last.
const MAX_FAULTS: usize = 16;

#[cfg(test)]
mod tests;
