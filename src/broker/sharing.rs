//! Buffers that several clients use, by their owner's consent.
//!
//! Such a buffer is decided on when it is allocated: it has a file and a chunk of its own, so that nothing else of its
//! owner can be reached through it, and its pages serve nobody else afterwards. It is its owner's in every account. What
//! an offer says is checked here, once, when somebody attaches; whoever may only read gets a descriptor that cannot be
//! written through, and the engine refuses work that might write. All of it ends when the owner frees the buffer or goes:
//! then the handles of the others resolve to nothing any more, and the pages are emptied under their mappings.

use crate::memory::{Home, rounded};
use crate::session::Phase;
use crate::{Action, Broker, beyond, failed};
use std::collections::BTreeSet;
use vkmps_protocol::ErrorCode;
use vkmps_protocol::engine::ToEngine;
use vkmps_protocol::handle::{BufferId, ChunkId, SessionId};
use vkmps_protocol::limits::{MAX_ATTACHMENTS, MAX_OFFERS, MAX_SHARES, MAX_SHARES_PER_UID};
use vkmps_protocol::message::{DaemonMessage, MemoryClass};
use vkmps_protocol::quota::Limit;
use vkmps_protocol::sharing::{Audience, Grant, ShareName, Token};

/// A buffer that its owner may offer.
#[derive(Debug)]
pub(crate) struct Share {
    pub(crate) chunk: ChunkId,
    pub(crate) bytes: u64,
    offers: Vec<Offer>,
    /// Handles of others to it.
    pub(crate) attached: BTreeSet<(SessionId, BufferId)>,
}

#[derive(Debug)]
struct Offer {
    audience: Audience,
    grant: Grant,
}

impl Broker {
    pub(crate) fn allocate_shareable(&mut self, id: SessionId, bytes: u64) {
        let Some(session) = self.sessions.get(&id) else {
            return;
        };
        let uid = session.peer.uid;
        let of_user = |name: &&ShareName| {
            let owner = self.sessions.get(&name.session);
            owner.is_some_and(|owner| owner.peer.uid == uid)
        };
        let most_of_user = match uid {
            crate::room::ROOT => MAX_SHARES,
            _ => MAX_SHARES_PER_UID,
        };
        if self.shares.len() >= MAX_SHARES
            || self.shares.keys().filter(of_user).count() >= most_of_user
        {
            let text = "as many shareable buffers as there can be".to_owned();
            let code = ErrorCode::LimitReached;
            return self.refuse_allocation(id, bytes, MemoryClass::Shared, code, text);
        }
        self.allocate(id, bytes, Home::Own);
    }

    /// The engine has the chunk of a shareable buffer: the owner gets its handle.
    pub(crate) fn share_ready(&mut self, id: SessionId, chunk: ChunkId, bytes: u64) -> bool {
        let Some(session) = self.sessions.get_mut(&id) else {
            return false;
        };
        let placed = rounded(bytes).and_then(|rounded| session.memory.place_in(chunk, rounded));
        let Some(buffer) = placed else { return false };
        session.charge = None;
        let name = ShareName {
            session: id,
            buffer,
        };
        self.shares.insert(
            name,
            Share {
                chunk,
                bytes,
                offers: Vec::new(),
                attached: BTreeSet::new(),
            },
        );
        self.hand_over(id, buffer, chunk, bytes, Grant::ReadWrite);
        true
    }

    pub(crate) fn offer_buffer(
        &mut self,
        id: SessionId,
        buffer: BufferId,
        audience: Audience,
        grant: Grant,
    ) {
        let name = ShareName {
            session: id,
            buffer,
        };
        let own = self.sessions.get(&id).is_some_and(|s| s.memory.has(buffer));
        let Some(share) = self.shares.get_mut(&name) else {
            let (code, text) = match own {
                true => (ErrorCode::Unsupported, "the buffer is not shareable"),
                false => (ErrorCode::InvalidHandle, "no such buffer"),
            };
            return self.answer(id, failed(code, text.to_owned()));
        };
        // The same audience again: the newer word counts.
        share.offers.retain(|offer| offer.audience != audience);
        if share.offers.len() >= MAX_OFFERS {
            let text = format!("the buffer has {MAX_OFFERS} offers");
            return self.answer(id, failed(ErrorCode::LimitReached, text));
        }
        share.offers.push(Offer { audience, grant });
        self.answer(id, DaemonMessage::Done);
    }

    pub(crate) fn attach_buffer(&mut self, id: SessionId, name: ShareName, token: Option<Token>) {
        let Some(session) = self.sessions.get_mut(&id) else {
            return;
        };
        if let Some(excess) = session.beyond_count(Limit::Buffers) {
            return self.answer(id, beyond(excess));
        }
        let uid = session.peer.uid;
        let share = self.shares.get_mut(&name);
        let found = share.and_then(|share| {
            let at = share.offers.iter().position(|o| o.is_for(uid, token))?;
            Some((share, at))
        });
        let Some((share, at)) = found else {
            // Whether there is such a buffer, and for whom, is not said.
            let text = "no such offer".to_owned();
            return self.answer(id, failed(ErrorCode::PermissionDenied, text));
        };
        if share.attached.len() >= MAX_ATTACHMENTS {
            let text = format!("the buffer is attached {MAX_ATTACHMENTS} times");
            return self.answer(id, failed(ErrorCode::LimitReached, text));
        }
        let grant = match share.offers[at].audience {
            Audience::User(_) => share.offers[at].grant,
            Audience::Holder(_) => share.offers.swap_remove(at).grant,
        };
        let buffer = session.memory.attach(name);
        share.attached.insert((id, buffer));
        let (chunk, bytes) = (share.chunk, share.bytes);
        self.hand_over(id, buffer, chunk, bytes, grant);
    }

    /// Nobody uses a share any more, for its owner gives it up or goes.
    pub(crate) fn revoke(&mut self, name: ShareName) {
        let Some(share) = self.shares.remove(&name) else {
            return;
        };
        for (session, buffer) in share.attached {
            if let Some(user) = self.sessions.get_mut(&session) {
                user.memory.detach(buffer);
            }
            if self.engine.is_ready() {
                self.push(Action::ToEngine(ToEngine::RemoveBuffer { session, buffer }));
            }
        }
        self.push(Action::DropShare { chunk: share.chunk });
    }

    /// A user of a share gives its handle back.
    pub(crate) fn detach(&mut self, id: SessionId, buffer: BufferId, name: ShareName) {
        if let Some(share) = self.shares.get_mut(&name) {
            share.attached.remove(&(id, buffer));
        }
    }

    /// What a session can offer.
    pub(crate) fn shares_of(&self, session: SessionId) -> impl Iterator<Item = ShareName> {
        let first = ShareName {
            session,
            buffer: BufferId(0),
        };
        let names = self.shares.range(first..).map(|(name, _)| *name);
        names.take_while(move |name| name.session == session)
    }

    /// A session closes: what it offered ends, and it uses nothing of others any more.
    pub(crate) fn leave_shares(&mut self, id: SessionId) {
        for name in self.shares_of(id).collect::<Vec<_>>() {
            self.revoke(name);
        }
        let Some(session) = self.sessions.get_mut(&id) else {
            return;
        };
        let attached: Vec<_> = session.memory.all_attached().collect();
        for (buffer, name) in attached {
            session.memory.detach(buffer);
            if let Some(share) = self.shares.get_mut(&name) {
                share.attached.remove(&(id, buffer));
            }
        }
    }

    fn hand_over(
        &mut self,
        id: SessionId,
        buffer: BufferId,
        chunk: ChunkId,
        bytes: u64,
        grant: Grant,
    ) {
        self.push(Action::ToEngine(ToEngine::AddBuffer {
            session: id,
            buffer,
            chunk,
            offset: 0,
            bytes,
            grant,
        }));
        let Some(session) = self.sessions.get_mut(&id) else {
            return;
        };
        session.pending = None;
        if let Some(conn) = session.conn() {
            let message = DaemonMessage::ShareReady {
                buffer,
                bytes,
                grant,
            };
            self.push(Action::SendShare {
                conn,
                message,
                chunk,
                grant,
            });
        }
    }

    /// # Panics
    /// If the bookkeeping contradicts itself.
    pub(crate) fn verify_shares(&self) {
        for (name, share) in &self.shares {
            let owner = &self.sessions[&name.session];
            assert!(matches!(owner.phase, Phase::Open { .. }));
            assert!(owner.memory.has(name.buffer));
            assert!(owner.memory.chunk(share.chunk).is_some());
            assert!(share.attached.len() <= MAX_ATTACHMENTS && share.offers.len() <= MAX_OFFERS);
            for (session, buffer) in &share.attached {
                let user = &self.sessions[session].memory;
                assert!(user.all_attached().any(|one| one == (*buffer, *name)));
            }
        }
        for (id, session) in &self.sessions {
            for (buffer, name) in session.memory.all_attached() {
                assert!(self.shares[&name].attached.contains(&(*id, buffer)));
            }
        }
    }
}

impl Offer {
    /// Whether it is meant for a user who shows a token, or none.
    fn is_for(&self, uid: u32, token: Option<Token>) -> bool {
        match (self.audience, token) {
            (Audience::User(user), None) => user == uid,
            (Audience::Holder(kept), Some(shown)) => kept.is(shown),
            _ => false,
        }
    }
}
