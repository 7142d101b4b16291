//! The way to the main loop.

use crate::control::{Reply, Request};
use crate::happening::{Happening, Happenings};
use tokio::sync::oneshot;
use vkmps_bus::Error;

/// Asks the main loop, and waits for what it says.
#[derive(Debug, Clone)]
pub(super) struct Port {
    happenings: Happenings,
}

impl Port {
    pub(super) fn new(happenings: Happenings) -> Self {
        Self { happenings }
    }

    /// What the main loop answers.
    ///
    /// # Errors
    /// `Draining` - it has ended, or drops the question because it is about to.
    pub(super) async fn ask<T>(
        &self,
        request: impl FnOnce(Reply<T>) -> Request,
    ) -> Result<T, Error> {
        let (reply, answer) = oneshot::channel();
        self.tell(request(reply)).await;
        answer
            .await
            .map_err(|_| Error::Draining("the daemon is stopping".to_owned()))
    }

    /// Tells it something that has no answer. One that has ended does not care.
    pub(super) async fn tell(&self, request: Request) {
        let _ = self.happenings.send(Happening::Request(request)).await;
    }
}
