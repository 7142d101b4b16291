//! Names of users.

use crate::text::escape;
use nix::unistd::{Uid, User};
use std::collections::HashMap;

/// Looks each user up once.
#[derive(Debug, Default)]
pub(crate) struct Users {
    names: HashMap<u32, String>,
}

impl Users {
    /// The user's name; the number where there is none.
    pub(crate) fn name(&mut self, uid: u32) -> String {
        let name =
            self.names
                .entry(uid)
                .or_insert_with(|| match User::from_uid(Uid::from_raw(uid)) {
                    Ok(Some(user)) => escape(&user.name),
                    _ => uid.to_string(),
                });
        name.clone()
    }

    /// Name and number.
    pub(crate) fn name_and_uid(&mut self, uid: u32) -> String {
        let name = self.name(uid);
        match name == uid.to_string() {
            true => name,
            false => format!("{name} ({uid})"),
        }
    }

    #[cfg(test)]
    pub(crate) fn of<const N: usize>(names: [(u32, &str); N]) -> Self {
        let names = names.map(|(uid, name)| (uid, name.to_owned()));
        Self {
            names: names.into(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn root_has_a_name_and_a_stranger_its_number() {
        let mut users = Users::default();
        assert_eq!(users.name_and_uid(0), "root (0)");
        assert_eq!(users.name_and_uid(4_294_967_294), "4294967294");
    }
}
