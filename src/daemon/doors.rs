//! Where clients come in, and how to close it without turning away anyone who is just coming.
//!
//! A daemon that systemd started for its socket leaves when it is idle. A client that connects in that moment must find
//! either this daemon or the next one: so nothing is accepted any more first, then what was accepted is looked at, and
//! only if that is nothing the daemon leaves. Who comes later waits in the listening socket, which systemd keeps.

use crate::client_link;
use crate::happening::Happenings;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use vkmps_ipc::socket::Seqpacket;

/// The listening sockets and the tasks that accept on them.
#[derive(Debug)]
pub(crate) struct Doors {
    happenings: Happenings,
    closed: watch::Sender<bool>,
    keepers: Vec<JoinHandle<Option<Seqpacket>>>,
}

impl Doors {
    /// Starts to accept.
    pub(crate) fn open(sockets: Vec<Seqpacket>, happenings: Happenings) -> Self {
        let mut doors = Self {
            happenings,
            closed: watch::Sender::new(false),
            keepers: Vec::new(),
        };
        doors.admit(sockets);
        doors
    }

    /// Accepts nobody any more. All who were accepted have been announced when this returns.
    pub(crate) async fn close(&mut self) -> Vec<Seqpacket> {
        self.closed.send_replace(true);
        let mut sockets = Vec::new();
        for keeper in self.keepers.drain(..) {
            sockets.extend(keeper.await.ok().flatten());
        }
        sockets
    }

    /// Accepts again, on what [`Self::close`] returned.
    pub(crate) fn admit(&mut self, sockets: Vec<Seqpacket>) {
        self.closed.send_replace(false);
        for socket in sockets {
            let accepting =
                client_link::accept(socket, self.happenings.clone(), self.closed.subscribe());
            self.keepers.push(tokio::spawn(accepting));
        }
    }
}
