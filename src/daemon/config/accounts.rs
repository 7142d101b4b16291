//! Names of users and groups, read once from `/etc/passwd` and `/etc/group`: inside the sandbox there is no NSS, so users
//! that come from elsewhere are configured by their numbers.

use super::files::ConfigError;
use serde::de::{Deserialize, Deserializer};
use std::collections::HashMap;
use std::fs;
use std::path::Path;

/// A user or a group, as a file names it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Account {
    /// By its name.
    Name(String),
    /// By its number.
    Number(u32),
}

impl<'de> Deserialize<'de> for Account {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        super::value::checked(from, "a name or a number".to_owned(), |given| match given {
            super::value::Scalar::Text("") => None,
            super::value::Scalar::Text(name) => Some(Self::Name(name.to_owned())),
            super::value::Scalar::Number(number) => number.try_into().ok().map(Self::Number),
        })
    }
}

/// The names that this machine knows.
#[derive(Debug, Default)]
pub(crate) struct Accounts {
    users: HashMap<String, u32>,
    groups: HashMap<String, u32>,
}

impl Accounts {
    /// Those of the system.
    ///
    /// # Errors
    /// When a file cannot be read.
    pub(crate) fn of_system() -> Result<Self, ConfigError> {
        let text = |path: &'static str| {
            let unreadable = |source| ConfigError::Unreadable {
                path: Path::new(path).to_owned(),
                source,
            };
            fs::read(path).map_err(unreadable)
        };
        Ok(Self::parse(&text("/etc/passwd")?, &text("/etc/group")?))
    }

    /// Those of two files. In both, the third field is the number.
    fn parse(passwd: &[u8], group: &[u8]) -> Self {
        let names = |bytes: &[u8]| {
            let text = String::from_utf8_lossy(bytes);
            let entry = |line: &str| {
                let mut fields = line.split(':');
                let name = fields.next()?.to_owned();
                Some((name, fields.nth(1)?.parse().ok()?))
            };
            // As everybody reads these files: the first of two lines counts.
            text.lines().rev().filter_map(entry).collect()
        };
        Self {
            users: names(passwd),
            groups: names(group),
        }
    }

    /// A user's number.
    pub(crate) fn user(&self, account: &Account) -> Result<u32, String> {
        find(account, &self.users, "user")
    }

    /// A group's number.
    pub(crate) fn group(&self, account: &Account) -> Result<u32, String> {
        find(account, &self.groups, "group")
    }
}

fn find(account: &Account, names: &HashMap<String, u32>, what: &str) -> Result<u32, String> {
    match account {
        Account::Number(number) => Ok(*number),
        Account::Name(name) => names.get(name).copied().ok_or_else(|| {
            format!("there is no {what} {name:?} in /etc/passwd and /etc/group; one from elsewhere is given by its number")
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_found_and_numbers_are_taken_as_they_are() {
        let accounts = Accounts::parse(
            b"root:x:0:0:root:/root:/bin/sh\nada:x:1000:1001::/home/ada:\nada:x:7:7::/:\nbroken\n",
            b"root:x:0:\nrender:x:105:ada,bob\n",
        );
        let name = |name: &str| Account::Name(name.to_owned());
        assert_eq!(accounts.user(&name("ada")), Ok(1000));
        assert_eq!(accounts.group(&name("render")), Ok(105));
        assert_eq!(accounts.user(&Account::Number(4242)), Ok(4242));
        let error = accounts.user(&name("render")).unwrap_err();
        assert!(error.starts_with("there is no user \"render\""), "{error}");
        assert!(accounts.user(&name("broken")).is_err());
    }
}
