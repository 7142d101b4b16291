//! Secrets that open something to whoever shows them. They stay out of logs, and comparing them takes as long whatever was
//! shown.

use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;

/// A secret drawn at random by who opens something, and handed to whom it likes.
#[derive(Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Token(pub [u8; 32]);

impl Token {
    /// Whether it is the same; takes as long for every other one.
    pub fn is(self, shown: Token) -> bool {
        is_same(&self.0, &shown.0, self.0.len())
    }

    /// Its 64 hexadecimal digits, to be handed on.
    pub fn hex(self) -> String {
        self.0.iter().map(|byte| format!("{byte:02x}")).collect()
    }
}

impl FromStr for Token {
    type Err = NoToken;

    fn from_str(hex: &str) -> Result<Self, NoToken> {
        let (pairs, []) = hex.as_bytes().as_chunks::<2>() else {
            return Err(NoToken);
        };
        let pairs: &[[u8; 2]; 32] = pairs.try_into().map_err(|_| NoToken)?;
        let digit = |digit: u8| char::from(digit).to_digit(16).ok_or(NoToken);
        let mut token = Token([0; 32]);
        for (byte, pair) in token.0.iter_mut().zip(pairs) {
            *byte = u8::try_from(digit(pair[0])? << 4 | digit(pair[1])?).map_err(|_| NoToken)?;
        }
        Ok(token)
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token(..)")
    }
}

/// A text that is no [`Token`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a token has 64 hexadecimal digits")]
pub struct NoToken;

/// A secret that an administrator chose for all who may connect; [`MAX_PASS_BYTES`] at most.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pass(pub Vec<u8>);

impl Pass {
    /// Whether it is the same; takes as long for every other one, whatever its length.
    pub fn is(&self, shown: &Pass) -> bool {
        is_same(&self.0, &shown.0, MAX_PASS_BYTES)
    }

    /// Whether it is one at all: what comes over a wire may be none.
    pub fn is_valid(&self) -> bool {
        (1..=MAX_PASS_BYTES).contains(&self.0.len())
    }
}

impl fmt::Debug for Pass {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Pass(..)")
    }
}

/// Looks at `most` bytes of each in any case; what is longer is never the same.
fn is_same(secret: &[u8], shown: &[u8], most: usize) -> bool {
    let byte = |bytes: &[u8], at: usize| bytes.get(at).copied().unwrap_or(0);
    let difference = (0..most).fold(0, |sum, at| {
        std::hint::black_box(sum | (byte(secret, at) ^ byte(shown, at)))
    });
    let lengths = (secret.len() ^ shown.len()) | usize::from(secret.len() > most);
    (usize::from(difference) | lengths) == 0
}

/// Longest [`Pass`].
pub const MAX_PASS_BYTES: usize = 256;

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

    #[test]
    fn a_token_is_read_as_it_is_written_and_nothing_else_is() {
        let token = Token(std::array::from_fn(|at| u8::try_from(at * 7).unwrap_or(0)));
        assert_eq!(token.hex().parse(), Ok(token));
        let long = "a".repeat(66);
        for text in [
            "",
            "00",
            &long[..63],
            &long,
            &"g".repeat(64),
            &"\u{e4}".repeat(32),
        ] {
            assert_eq!(text.parse::<Token>(), Err(NoToken), "{text}");
        }
    }

    #[test]
    fn a_pass_is_the_same_bytes_and_as_many() {
        let pass = |text: &str| Pass(text.as_bytes().to_vec());
        assert!(pass("open sesame").is(&pass("open sesame")));
        for other in [
            "",
            "open sesam",
            "open sesame ",
            "open sesame\0",
            "Open sesame",
        ] {
            assert!(!pass("open sesame").is(&pass(other)), "{other}");
        }
        // A zero is not the absence of a byte.
        assert!(!pass("a").is(&pass("a\0")));
        let long = "x".repeat(MAX_PASS_BYTES);
        assert!(pass(&long).is(&pass(&long)) && pass(&long).is_valid());
        let longer = pass(&format!("{long}y"));
        assert!(!longer.is_valid() && !longer.is(&longer) && !pass("").is_valid());
        assert!(!format!("{:?}", pass("sesame")).contains("sesame"));
    }
}
