//! The files of the configuration: found, read, checked one by one, merged.

use super::{Config, Options};
use serde::Deserialize;
use std::ffi::{OsStr, OsString};
use std::fs;
use std::io::{ErrorKind, Read};
use std::ops::Range;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use toml::de::{DeTable, Deserializer};
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
    let mut merged = Table::new();
    if options.config.is_some() || is_there(main)? {
        merge(&mut merged, read(main)?);
    }
    for path in drop_ins(main)? {
        merge(&mut merged, read(&path)?);
    }
    // Every file was checked alone and values replace each other whole, so this should not fail.
    let config = merged
        .try_into()
        .map_err(|error: toml::de::Error| ConfigError::Content {
            path: main.to_owned(),
            line: 1,
            key: None,
            text: error.message().to_owned(),
        });
    let mut config: Config = config?;
    config.override_by(options);
    Ok(config)
}

/// A file's content, every table, key and value of it allowed.
fn read(path: &Path) -> Result<Table, ConfigError> {
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
        .find(|(_, value)| value.get_ref().is_array())
    {
        return Err(ConfigError::Content {
            path: path.to_owned(),
            line: line(text.as_bytes(), value.span().start),
            key: Some(key.get_ref().escape_debug().to_string()),
            text: "an array, expected a table".to_owned(),
        });
    }
    let checked = Config::deserialize(Deserializer::from(document.clone()));
    checked.map_err(|error| content(Some(document.get_ref()), &error))?;
    Table::deserialize(Deserializer::from(document)).map_err(|error| content(None, &error))
}

/// Later keys win: tables are merged, all else is replaced.
fn merge(into: &mut Table, from: Table) {
    for (key, value) in from {
        match (into.get_mut(&key), value) {
            (Some(Value::Table(old)), Value::Table(new)) => merge(old, new),
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
        let inner = value
            .get_ref()
            .as_table()
            .and_then(|inner| key_at(inner, place));
        match inner {
            Some(inner) => Some(format!("{}.{inner}", name())),
            None => (covers(key.span()) || covers(Spanned::span(value))).then(name),
        }
    })
}

/// Far more than all keys with all their comments have.
const MAX_FILE_BYTES: u64 = 1 << 20;

#[cfg(test)]
mod tests {
    use super::*;

    fn checked(text: &str) -> Result<Config, String> {
        let folder = std::env::temp_dir().join(format!("vkmpsd-config-{}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        let path = folder.join(format!("{:?}.toml", std::thread::current().id()));
        fs::write(&path, text).unwrap();
        let config = read(&path).map(|table| table.try_into().unwrap());
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
                "F:2: logs: unknown key `logs`, expected one of `device`, `service`, `log`, `clients`, `scheduling`, `sandbox`",
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
