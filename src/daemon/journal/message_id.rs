//! What tells kinds of log lines apart: an identifier that stays the same whatever the text says.
//!
//! `systemd/vkmpsd.catalog` explains each to administrators (`journalctl --catalog`). An identifier is never used again for
//! anything else.

/// A kind of event.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Kind {
    /// The daemon has started.
    Started,
    /// The daemon was asked to stop.
    Stopping,
    /// The daemon has ended by itself or because it was asked to.
    Stopped,
    /// An engine has opened the device.
    DeviceFound,
    /// No engine could be started.
    NoDevice,
    /// A session opened.
    ClientConnected,
    /// A session ended.
    ClientDisconnected,
    /// A connection got no session.
    ConnectionRefused,
    /// A client sent what no client library sends.
    ProtocolViolation,
    /// A program is ready for a client.
    ProgramRegistered,
    /// A program was refused.
    ProgramRefused,
    /// A module was quarantined.
    ProgramQuarantined,
    /// An allocation was refused.
    AllocationRefused,
    /// A submit failed before it ran.
    SubmitRefused,
    /// The driver reported the loss of the device.
    DeviceLost,
    /// The process that runs the driver ended.
    EngineDied,
    /// Somebody asked for more than there is.
    LimitReached,
    /// polkit did not allow a call.
    CallDenied,
    /// New settings are in force.
    ConfigurationReloaded,
    /// A reload changed nothing.
    ConfigurationRefused,
    /// An administrator drains the service.
    Drained,
    /// An administrator let newcomers in again.
    Resumed,
    /// A client has another priority.
    PriorityChanged,
    /// A client, a user or everybody may have more or less than before.
    LimitsChanged,
    /// A client of the highest priority used its budget up, or has the next one.
    Demoted,
    /// Somebody made a session for clients to share limits.
    SessionCreated,
    /// Such a session is over, and its clients with it.
    SessionOver,
    /// A check of the confinement failed and is only warned of.
    SandboxGap,
    /// A compiler ended while it compiled a module.
    CompilerDied,
    /// A connection could not be accepted.
    NotAccepted,
    /// A client caused too many lines.
    LinesSuppressed,
    /// The log was not read.
    LinesLost,
    /// The daemon met a state that must not be.
    Bug,
}

impl Kind {
    /// The identifier, as `MESSAGE_ID=` has it.
    pub(crate) const fn id(self) -> &'static str {
        match self {
            Self::Started => "a5c14ba1461e4d79b173012308c96ab1",
            Self::Stopping => "bebf06ea5d2d4ad1bb010d2da8a2741d",
            Self::Stopped => "0af59f66493f4e24b02e75c55c1024a5",
            Self::DeviceFound => "79b4953d42ee4e91b6efe94ff9d5ac9a",
            Self::NoDevice => "766d1a42cea44fe49a12a47bb0068433",
            Self::ClientConnected => "f24bd8220f4a4d04b1c156487f83482d",
            Self::ClientDisconnected => "a89424e6e7dc42a892019638b9a7530e",
            Self::ConnectionRefused => "9d08676456354ce89da0bce25e559a92",
            Self::ProtocolViolation => "43f605ebda6542a0b7d36f5ea1d74b52",
            Self::ProgramRegistered => "af7d9e2a363d4595a847bf6f9a066b06",
            Self::ProgramRefused => "ce80e16eb61d470fa91167b433277ed5",
            Self::ProgramQuarantined => "0a25474ca2ae47f4b0722f44c64514ac",
            Self::AllocationRefused => "f32f349afe5c4870b7095cc36573e662",
            Self::SubmitRefused => "d55c94872b47498f9cc9684f0f5819be",
            Self::DeviceLost => "9f7d49d2705440548b1fa4e4a65a1f50",
            Self::EngineDied => "78031a775acf4023b4b168eecaa47f01",
            Self::LimitReached => "0634261997394b029178e480a8357c52",
            Self::CallDenied => "373ea42be00c45caa1b09d4463f7f0b8",
            Self::ConfigurationReloaded => "e74c179b033b4e1d96d249b6aeb6420e",
            Self::ConfigurationRefused => "c0a7aab37451475387dc8984a21548ee",
            Self::Drained => "364da5d88df14fdda4341aa7b119972d",
            Self::Resumed => "b79247758539492d9b33b935d0490ff7",
            Self::PriorityChanged => "a8583bcd50204d34a0bc741b2f0ed670",
            Self::LimitsChanged => "c495537db4f94ac5bde33f61b948ef08",
            Self::Demoted => "62bfb2100851497aaf24e46e1b1b91f4",
            Self::SessionCreated => "e43ad475805641268aa70cc092f5da0e",
            Self::SessionOver => "4b68e7531edd4916bb335da2471285bf",
            Self::SandboxGap => "73e6d094d04c4fa28ca7602eebfde6f0",
            Self::CompilerDied => "b730758a07ec44ae94b6392769440e28",
            Self::NotAccepted => "be0d9635261944fe9013d623baaec697",
            Self::LinesSuppressed => "f1805f49067444069d28d2432d05294b",
            Self::LinesLost => "961c37e1ee6041adaa9604a6a73e8da7",
            Self::Bug => "b25baddab6a04763a5a9024eb40e76c7",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn every_kind_has_an_identifier_of_its_own() {
        let ids: BTreeSet<&str> = ALL.into_iter().map(Kind::id).collect();
        assert_eq!(ids.len(), ALL.len());
        for id in ids {
            let hexadecimal = |c: char| c.is_ascii_digit() || ('a'..='f').contains(&c);
            assert!(id.len() == 32 && id.chars().all(hexadecimal), "{id}");
        }
    }

    #[test]
    fn the_catalog_explains_every_kind_and_nothing_else() {
        let entries = CATALOG.split("\n-- ").skip(1);
        let explained: BTreeSet<&str> = entries
            .map(|entry| {
                let (head, text) = entry.split_once("\n\n").expect("a head and a text");
                let lines: Vec<&str> = head.lines().collect();
                assert_eq!(lines.len(), 4, "{entry}");
                assert!(
                    lines[1].starts_with("Subject: ") && lines[1].len() > 20,
                    "{entry}"
                );
                assert_eq!(lines[2], "Defined-By: vkmpsd");
                assert_eq!(lines[3], "Documentation: man:vkmpsd(8)");
                assert!(text.trim().len() > 40, "{entry}");
                lines[0]
            })
            .collect();
        assert_eq!(explained, ALL.into_iter().map(Kind::id).collect());
    }

    const ALL: [Kind; 33] = [
        Kind::Started,
        Kind::Stopping,
        Kind::Stopped,
        Kind::DeviceFound,
        Kind::NoDevice,
        Kind::ClientConnected,
        Kind::ClientDisconnected,
        Kind::ConnectionRefused,
        Kind::ProtocolViolation,
        Kind::ProgramRegistered,
        Kind::ProgramRefused,
        Kind::ProgramQuarantined,
        Kind::AllocationRefused,
        Kind::SubmitRefused,
        Kind::DeviceLost,
        Kind::EngineDied,
        Kind::LimitReached,
        Kind::CallDenied,
        Kind::ConfigurationReloaded,
        Kind::ConfigurationRefused,
        Kind::Drained,
        Kind::Resumed,
        Kind::PriorityChanged,
        Kind::LimitsChanged,
        Kind::Demoted,
        Kind::SessionCreated,
        Kind::SessionOver,
        Kind::SandboxGap,
        Kind::CompilerDied,
        Kind::NotAccepted,
        Kind::LinesSuppressed,
        Kind::LinesLost,
        Kind::Bug,
    ];
    const CATALOG: &str = include_str!("../../../systemd/vkmpsd.catalog");
}
