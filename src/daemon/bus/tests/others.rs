//! Those whom the D-Bus side asks: polkit and systemd.

use super::rig::{LONG, PrivateBus};
use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use tokio::sync::mpsc;
use tokio::time::timeout;
use zbus::connection::Builder;
use zbus::{Connection, OwnedObjectPath, OwnedVariant, interface};

/// What polkit says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    Yes,
    No,
    Challenge,
    Never,
}

/// What polkit was asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Asked {
    Check {
        subject: (String, String),
        action: String,
        details: usize,
        flags: u32,
    },
    Cancelled,
}

/// polkit.
pub(super) struct Polkit {
    verdicts: Arc<Mutex<HashMap<&'static str, Verdict>>>,
    pub(super) asked: mpsc::UnboundedReceiver<Asked>,
    _connection: Connection,
}

impl Polkit {
    pub(super) async fn start(bus: &PrivateBus) -> Self {
        let verdicts = Arc::new(Mutex::new(HashMap::new()));
        let (sender, asked) = mpsc::unbounded_channel();
        let authority = PolkitAuthority {
            verdicts: verdicts.clone(),
            asked: sender,
        };
        let connection = Builder::address(bus.address().as_str())
            .serve_at("/org/freedesktop/PolicyKit1/Authority", authority)
            .name("org.freedesktop.PolicyKit1")
            .build();
        Self {
            verdicts,
            asked,
            _connection: connection.await.expect("the name is free"),
        }
    }

    /// From now on, about this action. About others it says yes.
    pub(super) fn says(&self, action: &'static str, verdict: Verdict) {
        let mut verdicts = self.verdicts.lock().expect("no test panics with it");
        verdicts.insert(action, verdict);
    }

    /// The next thing it is asked.
    pub(super) async fn next(&mut self) -> Asked {
        let asked = timeout(LONG, self.asked.recv()).await;
        asked.expect("it is asked").expect("the object lives")
    }

    /// What it was asked about until now.
    pub(super) fn actions(&mut self) -> Vec<String> {
        let mut actions = vec![];
        while let Ok(asked) = self.asked.try_recv() {
            if let Asked::Check { action, .. } = asked {
                actions.push(action);
            }
        }
        actions
    }
}

struct PolkitAuthority {
    verdicts: Arc<Mutex<HashMap<&'static str, Verdict>>>,
    asked: mpsc::UnboundedSender<Asked>,
}

#[interface(name = "org.freedesktop.PolicyKit1.Authority")]
impl PolkitAuthority {
    async fn check_authorization(
        &self,
        subject: (String, HashMap<String, OwnedVariant>),
        action_id: String,
        details: HashMap<String, String>,
        flags: u32,
        _cancellation_id: String,
    ) -> (bool, bool, HashMap<String, String>) {
        let name = subject.1.get("name").cloned();
        let name = name.and_then(|name| String::try_from(name).ok());
        let verdict = {
            let verdicts = self.verdicts.lock().expect("no test panics with it");
            verdicts.get(action_id.as_str()).copied()
        };
        let _ = self.asked.send(Asked::Check {
            subject: (subject.0, name.unwrap_or_default()),
            action: action_id,
            details: details.len(),
            flags,
        });
        let (allowed, challenge) = match verdict.unwrap_or(Verdict::Yes) {
            Verdict::Yes => (true, false),
            Verdict::No => (false, false),
            Verdict::Challenge => (false, true),
            Verdict::Never => std::future::pending().await,
        };
        (allowed, challenge, HashMap::new())
    }

    async fn cancel_check_authorization(&self, _cancellation_id: String) {
        let _ = self.asked.send(Asked::Cancelled);
    }
}

/// systemd: a pid below 1 000 is in no unit.
pub(super) struct Systemd;

impl Systemd {
    pub(super) async fn start(bus: &PrivateBus) -> Connection {
        let unit = "/org/freedesktop/systemd1/unit/a_2eservice";
        let connection = Builder::address(bus.address().as_str())
            .serve_at("/org/freedesktop/systemd1", Self)
            .serve_at(unit, SystemdUnit)
            .name("org.freedesktop.systemd1")
            .build();
        connection.await.expect("the name is free")
    }
}

#[interface(name = "org.freedesktop.systemd1.Manager")]
impl Systemd {
    #[zbus(name = "GetUnitByPID")]
    fn get_unit_by_pid(&self, pid: u32) -> Result<OwnedObjectPath, NoUnit> {
        match pid {
            0..1000 => Err(NoUnit::NoUnitForPID(pid.to_string())),
            _ => Ok(
                OwnedObjectPath::try_from("/org/freedesktop/systemd1/unit/a_2eservice")
                    .expect("it is a path"),
            ),
        }
    }
}

#[derive(Debug, zbus::DBusError)]
#[zbus(prefix = "org.freedesktop.systemd1")]
enum NoUnit {
    NoUnitForPID(String),
}

struct SystemdUnit;

#[interface(name = "org.freedesktop.systemd1.Unit")]
impl SystemdUnit {
    #[zbus(property)]
    fn id(&self) -> &str {
        "a.service"
    }
}
