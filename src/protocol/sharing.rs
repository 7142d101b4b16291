//! Words of sharing: who may attach to a buffer of somebody else, and as what.

use crate::handle::{BufferId, SessionId};
use serde::{Deserialize, Serialize};

/// What the user of a shared buffer may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Grant {
    /// Read and write, by host and device.
    ReadWrite,
    /// Read: the descriptor cannot be written through, and work that might write is refused.
    ReadOnly,
}

/// For whom an offer is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Audience {
    /// Clients of a user, as often as they like.
    User(u32),
    /// Whoever shows the token first.
    Holder(Token),
}

/// A shareable buffer: its owner and the owner's handle. No secret; what opens it is an [`Audience`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct ShareName {
    /// Its owner.
    pub session: SessionId,
    /// The owner's handle.
    pub buffer: BufferId,
}

/// A secret that the owner of a buffer draws at random and hands to whom it likes.
#[derive(Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Token(pub [u8; 32]);

impl Token {
    /// Whether it is the same; takes as long for every other one.
    pub fn is(self, shown: Token) -> bool {
        let both = self.0.iter().zip(shown.0);
        let difference = both.fold(0, |sum, (mine, theirs)| {
            std::hint::black_box(sum | (mine ^ theirs))
        });
        difference == 0
    }
}

/// Secrets stay out of logs.
impl std::fmt::Debug for Token {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Token(..)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_itself_only_and_does_not_print() {
        let token = Token([7; 32]);
        assert!(token.is(Token([7; 32])));
        for byte in 0..32 {
            let mut other = token;
            other.0[byte] ^= 0x80;
            assert!(!token.is(other));
        }
        assert!(!format!("{token:?}").contains('7'));
    }
}
