//! The files of the configuration: found, read, checked one by one, merged.

use super::accounts::Accounts;
use super::rules::Complaint;
use super::{Config, Options};
use serde::Deserialize;
use std::ffi::{OsStr, OsString};
use std::fs;
use std::io::{ErrorKind, Read};
use std::ops::Range;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use toml::de::{DeTable, DeValue, Deserializer};
use toml::{Spanned, Table, Value};

/// The configuration is not usable.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ConfigError {
    /// A file or folder cannot be read.
    #[error("cannot read {}", path.display())]
    Unreadable {
        /// Which.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// What should be a file is something else.
    #[error("{} is not a regular file", path.display())]
    NotAFile {
        /// What.
        path: PathBuf,
    },
    /// A file is too long to be a configuration.
    #[error("{} has more than {MAX_FILE_BYTES} bytes", path.display())]
    TooLong {
        /// Which.
        path: PathBuf,
    },
    /// A token cannot be used.
    #[error(transparent)]
    Token(#[from] super::token::BadToken),
    /// A file says what makes no sense.
    #[error("{}:{line}: {}{text}", path.display(), key.as_ref().map(|key| format!("{key}: ")).unwrap_or_default())]
    Content {
        /// Which.
        path: PathBuf,
        /// Where, from 1.
        line: usize,
        /// At which key, if it is about one.
        key: Option<String>,
        /// What is wrong, and what is allowed.
        text: String,
    },
}

/// What is in force: the defaults, changed by the files, changed by the command line.
///
/// # Errors
/// The first thing that is wrong. A file that is named must exist, the default one need not.
pub(crate) fn load(options: &Options) -> Result<Config, ConfigError> {
    let main = options.config_path();
    let accounts = Accounts::of_system()?;
    let mut merged = Table::new();
    if options.config.is_some() || is_there(main)? {
        merge(&mut merged, read(main, &accounts)?);
    }
    for path in drop_ins(main)? {
        merge(&mut merged, read(&path, &accounts)?);
    }
    // Every file was checked alone and values replace each other whole, so that only what several files say together
    // can be wrong.
    let wrong = |key: Option<String>, text: &str| ConfigError::Content {
        path: main.to_owned(),
        line: 1,
        key,
        text: format!("{text} (with all files)"),
    };
    let config = merged.try_into();
    let mut config: Config =
        config.map_err(|error: toml::de::Error| wrong(None, error.message()))?;
    config
        .resolve(&accounts)
        .map_err(|complaint| wrong(Some(complaint.name()), &complaint.text))?;
    config.override_by(options);
    config.read_token(main)?;
    Ok(config)
}

/// A file's content, every table, key and value of it allowed.
fn read(path: &Path, accounts: &Accounts) -> Result<Table, ConfigError> {
    let text = text(path)?;
    let content = |document: Option<&DeTable<'_>>, error: &toml::de::Error| {
        let place = error.span().unwrap_or(0..0);
        ConfigError::Content {
            path: path.to_owned(),
            line: line(text.as_bytes(), place.start),
            key: document.and_then(|document| key_at(document, &place)),
            text: error.message().replacen("unknown field", "unknown key", 1),
        }
    };
    let document = DeTable::parse(&text).map_err(|error| content(None, &error))?;
    // Serde would take an array for a table, its values for the keys in their order.
    if let Some((key, value)) = document
        .get_ref()
        .iter()
        .find(|(key, value)| value.get_ref().is_array() && key.get_ref() != RULES)
    {
        return Err(ConfigError::Content {
            path: path.to_owned(),
            line: line(text.as_bytes(), value.span().start),
            key: Some(key.get_ref().escape_debug().to_string()),
            text: "an array, expected a table".to_owned(),
        });
    }
    let checked = Config::deserialize(Deserializer::from(document.clone()));
    let mut checked = checked.map_err(|error| content(Some(document.get_ref()), &error))?;
    checked.resolve(accounts).map_err(|complaint| {
        let place = complaint.place(document.get_ref());
        ConfigError::Content {
            path: path.to_owned(),
            line: line(text.as_bytes(), place.start),
            key: Some(complaint.name()),
            text: complaint.text,
        }
    })?;
    Table::deserialize(Deserializer::from(document)).map_err(|error| content(None, &error))
}

/// Later keys win: tables are merged, rules come before those that are there, all else is replaced.
fn merge(into: &mut Table, from: Table) {
    for (key, value) in from {
        match (into.get_mut(&key), value) {
            (Some(Value::Table(old)), Value::Table(new)) => merge(old, new),
            // The first rule that says something decides it, and later files win.
            (Some(Value::Array(old)), Value::Array(new)) if key == RULES => {
                old.splice(..0, new);
            }
            (_, value) => _ = into.insert(key, value),
        }
    }
}

/// `PATH.d/*.toml` in the order of the bytes of their names.
fn drop_ins(main: &Path) -> Result<Vec<PathBuf>, ConfigError> {
    let mut folder = OsString::from(main);
    folder.push(".d");
    let folder = PathBuf::from(folder);
    let unreadable = |source| ConfigError::Unreadable {
        path: folder.clone(),
        source,
    };
    if !is_there(&folder)? {
        return Ok(Vec::new());
    }
    let mut names = Vec::new();
    for entry in fs::read_dir(&folder).map_err(unreadable)? {
        names.push(entry.map_err(unreadable)?.file_name());
    }
    names.retain(|name| is_drop_in(name));
    names.sort();
    Ok(names.into_iter().map(|name| folder.join(name)).collect())
}

/// Not what editors and packages leave beside: `.x.toml.swp`, `x.toml.dpkg-new`, `x.toml~`.
fn is_drop_in(name: &OsStr) -> bool {
    let name = name.as_bytes();
    name.ends_with(b".toml") && !name.starts_with(b".")
}

/// Whether something has this name; a link that leads nowhere has it too.
fn is_there(path: &Path) -> Result<bool, ConfigError> {
    match fs::symlink_metadata(path) {
        Ok(_) => Ok(true),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(false),
        Err(source) => Err(ConfigError::Unreadable {
            path: path.to_owned(),
            source,
        }),
    }
}

fn text(path: &Path) -> Result<String, ConfigError> {
    let unreadable = |source| ConfigError::Unreadable {
        path: path.to_owned(),
        source,
    };
    // A FIFO must not be waited for.
    let flags = nix::libc::O_NONBLOCK | nix::libc::O_NOCTTY;
    let file = fs::File::options()
        .read(true)
        .custom_flags(flags)
        .open(path)
        .map_err(unreadable)?;
    if !file.metadata().map_err(unreadable)?.is_file() {
        return Err(ConfigError::NotAFile {
            path: path.to_owned(),
        });
    }
    let mut bytes = Vec::new();
    file.take(MAX_FILE_BYTES + 1)
        .read_to_end(&mut bytes)
        .map_err(unreadable)?;
    if bytes.len() as u64 > MAX_FILE_BYTES {
        return Err(ConfigError::TooLong {
            path: path.to_owned(),
        });
    }
    String::from_utf8(bytes).map_err(|error| ConfigError::Content {
        path: path.to_owned(),
        line: line(error.as_bytes(), error.utf8_error().valid_up_to()),
        key: None,
        text: "not UTF-8".to_owned(),
    })
}

/// The line of a place in a text, from 1.
fn line(text: &[u8], place: usize) -> usize {
    1 + text
        .iter()
        .take(place)
        .filter(|byte| **byte == b'\n')
        .count()
}

/// The innermost key that the place is in, with the tables it is in.
fn key_at(table: &DeTable<'_>, place: &Range<usize>) -> Option<String> {
    let covers = |span: Range<usize>| span.start <= place.start && place.end <= span.end;
    table.iter().find_map(|(key, value)| {
        let name = || key.get_ref().escape_debug().to_string();
        let inner = match value.get_ref() {
            DeValue::Table(table) => key_at(table, place),
            DeValue::Array(all) => {
                let mut tables = all.iter().filter_map(|one| one.get_ref().as_table());
                tables.find_map(|table| key_at(table, place))
            }
            _ => None,
        };
        match inner {
            Some(inner) => Some(format!("{}.{inner}", name())),
            None => (covers(key.span()) || covers(Spanned::span(value))).then(name),
        }
    })
}

impl Complaint {
    /// The key, as a file's error names it.
    fn name(&self) -> String {
        let dot = if self.key.is_empty() { "" } else { "." };
        format!("{}{dot}{}", self.table, self.key)
    }

    /// Where it stands.
    fn place(&self, document: &DeTable<'_>) -> Range<usize> {
        let Some(table) = document.get(self.table) else {
            return 0..0;
        };
        let (inner, place) = match table.get_ref() {
            DeValue::Array(all) => match all.get(self.index) {
                Some(one) => (one.get_ref().as_table(), one.span()),
                None => (None, table.span()),
            },
            other => (other.as_table(), table.span()),
        };
        let value = inner.and_then(|table| table.get(self.key));
        value.map_or(place, Spanned::span)
    }
}

/// The one table that there may be several of.
const RULES: &str = "rule";
/// Far more than all keys with all their comments have.
const MAX_FILE_BYTES: u64 = 1 << 20;

#[cfg(test)]
mod tests {
    use super::*;

    use vkmps_protocol::message::Priority;
    use vkmps_protocol::quota::Amount;

    fn checked(text: &str) -> Result<Config, String> {
        let folder = std::env::temp_dir().join(format!("vkmpsd-config-{}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        let path = folder.join(format!("{:?}.toml", std::thread::current().id()));
        fs::write(&path, text).unwrap();
        let accounts = Accounts::of_system().unwrap();
        let config = read(&path, &accounts).map(|table| {
            let mut config: Config = table.try_into().unwrap();
            config.resolve(&accounts).unwrap();
            config
        });
        let shown = path.display().to_string();
        fs::remove_file(&path).unwrap();
        config.map_err(|error| error.to_string().replace(&shown, "F"))
    }

    #[test]
    fn an_error_names_line_key_and_what_is_allowed() {
        for (text, error) in [
            (
                "[clients]\n\nmax-priority = \"urgent\"",
                "F:3: clients.max-priority: invalid value: string \"urgent\", expected one of low, medium, high, realtime",
            ),
            (
                "clients.max-sessions = 0",
                "F:1: clients.max-sessions: invalid value: integer `0`, expected a whole number from 1 to 1024",
            ),
            (
                "[clients]\nmax-sessions = \"many\"",
                "F:2: clients.max-sessions: invalid value: string \"many\", expected a whole number from 1 to 1024",
            ),
            (
                "[clients]\nmax-sessions = 1.5",
                "F:2: clients.max-sessions: invalid type: floating point `1.5`, expected a whole number from 1 to 1024",
            ),
            (
                "[log]\n[service]\nidle-exit = \"5m\"",
                "F:3: service.idle-exit: invalid value: string \"5m\", expected \"never\" or a time from 1s to 24h with its unit (ms, s, min, h), such as \"1500ms\"",
            ),
            (
                "[service]\nengine-timeout = \"never\"",
                "F:2: service.engine-timeout: invalid value: string \"never\", expected a time from 1s to 1h with its unit (ms, s, min, h), such as \"1500ms\"",
            ),
            (
                "[device]\nindex = -1",
                "F:2: device.index: invalid value: integer `-1`, expected \"auto\" or the index of a device, from 0",
            ),
            (
                "[scheduling]\nmode = \"fastest\"",
                "F:2: scheduling.mode: unknown variant `fastest`, expected `exclusive-throughput` or `cooperative-fairshare`",
            ),
            (
                "[scheduling]\ninstrument-submodular = \"yes\"",
                "F:2: scheduling.instrument-submodular: invalid type: string \"yes\", expected a boolean",
            ),
            (
                "[sandbox]\nwarn-only = [\n  \"seccomp\",\n  \"selinux\",\n]",
                "F:4: sandbox.warn-only: unknown variant `selinux`, expected one of `capabilities`, `no-new-privileges`, `seccomp`, `landlock`",
            ),
            (
                "[service]\nbus = \"sytem\"",
                "F:2: service.bus: invalid value: string \"sytem\", expected auto, system, none or a D-Bus address such as unix:path=/run/dbus/system_bus_socket",
            ),
            (
                "[log]\nlevle = \"info\"",
                "F:2: log.levle: unknown key `levle`, expected `level`",
            ),
            (
                "\n[logs]\nlevel = \"info\"",
                "F:2: logs: unknown key `logs`, expected one of `device`, `service`, `log`, `clients`, `limits`, `realtime`, `rule`, `scheduling`, `sandbox`",
            ),
            (
                "log = 5",
                "F:1: log: invalid type: integer `5`, expected a table",
            ),
            ("\n[[log]]", "F:2: log: an array, expected a table"),
            ("log = [\"info\"]", "F:1: log: an array, expected a table"),
        ] {
            assert_eq!(checked(text).unwrap_err(), error, "{text}");
        }
    }

    #[test]
    fn what_is_no_toml_is_an_error_with_its_line() {
        for text in [
            "[log]\nlevel = ",
            "[log]\nlevel = info",
            "[log]\n= 5",
            "[log]\nlevel",
            "[log]\n[log",
            "[log]\n\"\u{1b}\" = \u{7}",
        ] {
            let error = checked(text).unwrap_err();
            assert!(error.starts_with("F:2: "), "{text}: {error}");
            assert!(!error.contains(char::is_control), "{text}: {error:?}");
        }
        let twice = checked("[log]\nlevel = \"info\"\nlevel = \"warn\"").unwrap_err();
        assert!(
            twice.starts_with("F:3: ") && twice.contains("duplicate key"),
            "{twice}"
        );
    }

    #[test]
    fn limits_that_make_no_sense_are_errors_with_their_line_and_key() {
        let percent = "expected a whole number from 1 to 100";
        let amount =
            "expected an amount such as \"512M\" or \"2G\", or a part from \"1%\" to \"100%\"";
        for (text, place, expected) in [
            (
                "[limits]\nactive-thread-percentage = 0",
                "F:2: limits.active-thread-percentage",
                percent,
            ),
            (
                "[limits]\nactive-thread-percentage = 101",
                "F:2: limits.active-thread-percentage",
                percent,
            ),
            (
                "[limits]\nactive-thread-percentage = -1",
                "F:2: limits.active-thread-percentage",
                percent,
            ),
            (
                "[limits]\nactive-thread-percentage = \"50\"",
                "F:2: limits.active-thread-percentage",
                percent,
            ),
            (
                "[limits]\nactive-thread-percentage = nan",
                "F:2: limits.active-thread-percentage",
                percent,
            ),
            (
                "[limits]\nactive-thread-percentage = 1e3",
                "F:2: limits.active-thread-percentage",
                percent,
            ),
            ("[limits]\nmemory = \"0\"", "F:2: limits.memory", amount),
            ("[limits]\nmemory = \"-1\"", "F:2: limits.memory", amount),
            ("[limits]\nmemory = \"nan\"", "F:2: limits.memory", amount),
            ("[limits]\nmemory = \"101%\"", "F:2: limits.memory", amount),
            (
                "[limits]\nmemory = \"unlimited\"",
                "F:2: limits.memory",
                amount,
            ),
            ("[limits]\nmemory = 1024", "F:2: limits.memory", amount),
            (
                "[limits]\nstreams = 257",
                "F:2: limits.streams",
                "expected a whole number from 1 to 256",
            ),
            (
                "[realtime]\nperiod = \"10ms\"",
                "F:1: realtime.budget",
                "at most realtime.period",
            ),
            (
                "[realtime]\nbudget = \"200ms\"",
                "F:2: realtime.budget",
                "at most realtime.period",
            ),
            (
                "[[rule]]\nusers = [1]\nweight = 0",
                "F:3: rule.weight",
                "expected a whole number from 1 to 10000",
            ),
            (
                "[[rule]]\nusers = [1]\nmax-priority = 5",
                "F:3: rule.max-priority",
                "expected one of low",
            ),
            (
                "[[rule]]\nusers = [1]\n\n[[rule]]\nusers = [2]\nwait = 0",
                "F:6: rule.wait",
                "unknown key `wait`",
            ),
            (
                "[[rule]]\nweight = 5",
                "F:1: rule",
                "expected users or groups",
            ),
            (
                "[[rule]]\nusers = []\nweight = 5",
                "F:1: rule",
                "expected users or groups",
            ),
            (
                "[[rule]]\nusers = [\"root\", \"no such user\"]",
                "F:2: rule.users",
                "there is no user \"no such user\"",
            ),
            (
                "[[rule]]\ngroups = [-1]",
                "F:2: rule.groups",
                "expected a name or a number",
            ),
            (
                "[[rule]]\ngroups = [4294967296]",
                "F:2: rule.groups",
                "expected a name or a number",
            ),
            (
                "[[rule]]\ngroups = [1]\nreserved-percentage = 5",
                "F:3: rule.reserved-percentage",
                "with users only",
            ),
            (
                "[[rule]]\nusers = [1, 2]\nreserved-percentage = 30\n[[rule]]\nusers = [3]\nreserved-percentage = 41",
                "F:6: rule.reserved-percentage",
                "101 percent reserved in all, expected at most 100",
            ),
            ("[rule]\nusers = [1]", "F:1: rule", "expected a sequence"),
        ] {
            let error = checked(text).unwrap_err();
            assert!(error.starts_with(&format!("{place}: ")), "{text}: {error}");
            assert!(error.contains(expected), "{text}: {error}");
        }
    }

    #[test]
    fn a_configuration_of_limits_says_what_the_broker_is_told() {
        let config = checked(
            "[limits]\nmemory = \"25%\"\n[[rule]]\nusers = [\"root\", 1000]\nweight = 200\nreserved-percentage = 50\n\
             memory = \"2G\"\n[[rule]]\ngroups = [\"root\"]\nmax-priority = \"realtime\"",
        )
        .unwrap();
        let limits = config.broker().limits;
        assert_eq!(limits.client.memory, Some(Amount::Percent(25)));
        let [first, second] = &limits.rules[..] else {
            panic!("{limits:?}");
        };
        assert_eq!(first.users, [0, 1000].into());
        assert_eq!(first.client.memory, Some(Amount::Bytes(2 << 30)));
        assert_eq!(
            (first.user.weight, first.user.reserve_percent),
            (Some(200), Some(50))
        );
        assert_eq!(second.groups, [0].into());
        assert_eq!(second.client.max_priority, Some(Priority::Realtime));
    }

    #[test]
    fn nothing_is_a_configuration_too() {
        for text in ["", "\n", "# nothing", "[log]", "\u{feff}[log]"] {
            assert_eq!(checked(text).unwrap(), Config::default(), "{text:?}");
        }
    }

    #[test]
    fn later_tables_are_merged_and_later_values_replace() {
        let table = |text: &str| -> Table { toml::from_str(text).unwrap() };
        let mut merged = table("a = [1, 2]\n[t]\nx = 1\ny = 2");
        merge(&mut merged, table("a = [3]\n[t]\ny = 3\nz = 4"));
        assert_eq!(merged, table("a = [3]\n[t]\nx = 1\ny = 3\nz = 4"));

        let mut merged = table("[[rule]]\nweight = 1\n[[rule]]\nweight = 2");
        merge(&mut merged, table("[[rule]]\nweight = 3"));
        let first = table("[[rule]]\nweight = 3\n[[rule]]\nweight = 1\n[[rule]]\nweight = 2");
        assert_eq!(merged, first);
    }

    #[test]
    fn only_what_ends_in_toml_and_is_not_hidden_is_a_drop_in() {
        let taken = |name: &str| is_drop_in(OsStr::new(name));
        assert!(taken("10-local.toml"));
        for name in [
            ".10.toml",
            "10.toml~",
            "10.toml.dpkg-new",
            ".10.toml.swp",
            "README",
            "toml",
        ] {
            assert!(!taken(name), "{name}");
        }
    }

    #[test]
    fn engines_are_told_how_hardware_queues_are_to_rank() {
        let config = "[device]\nglobal-priority = \"on\"\nreserved-shader-cores = 2";
        let told = checked(config).unwrap().engine_arguments().join(" ");
        assert!(
            told.contains("--global-priority on --reserved-cores 2"),
            "{told}"
        );
        let told = Config::default().engine_arguments().join(" ");
        assert!(
            told.contains("--global-priority auto --reserved-cores 0"),
            "{told}"
        );
    }

    #[test]
    fn keys_that_need_a_restart_are_named() {
        let old = Config::default();
        let live = checked(
            "log.level = \"debug\"\n[clients]\nmax-sessions = 5\n[service]\nidle-exit = \"never\"",
        )
        .unwrap();
        assert_eq!(old.changes_needing_restart(&live), Vec::<&str>::new());
        let new = checked(
            "device.queues = 1\ndevice.global-priority = \"off\"\nservice.bus = \"none\"\n[sandbox]\nwarn-only = [\"seccomp\"]",
        )
        .unwrap();
        assert_eq!(
            old.changes_needing_restart(&new),
            [
                "device.queues",
                "device.global-priority",
                "service.bus",
                "sandbox.warn-only"
            ]
        );
        assert_eq!(new.changes_needing_restart(&new), Vec::<&str>::new());
    }
}
