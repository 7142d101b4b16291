//! Names of limits: keys of `SetLimits`, `SetUserLimits` and `SetDefaultLimits`.

/// Memory: bytes, or a text such as `2G` or `25%`.
pub const MEMORY: &str = "memory";
/// Memory in use, bytes; only told.
pub const MEMORY_USED: &str = "memory-used";
/// Most of the device's time, percent.
pub const PERCENTAGE: &str = "active-thread-percentage";
/// The part of the device's time against others'.
pub const WEIGHT: &str = "weight";
/// Most buffers.
pub const BUFFERS: &str = "buffers";
/// Most programs.
pub const PROGRAMS: &str = "programs";
/// Most streams.
pub const STREAMS: &str = "streams";
/// Most submits that are not over.
pub const SUBMITS: &str = "submits";
/// Highest priority of a session's clients.
pub const PRIORITY: &str = "priority";
/// Most clients of a session at one time.
pub const CLIENTS: &str = "clients";
/// Least of the device's time while there is work, percent.
pub const RESERVED: &str = "reserved-percentage";
/// The value that leaves a limit to the configuration again.
pub const DEFAULT: &str = "default";

/// Those that clients have.
pub const OF_CLIENTS: [&str; 7] = [
    MEMORY, PERCENTAGE, WEIGHT, BUFFERS, PROGRAMS, STREAMS, SUBMITS,
];
/// Those that sessions have.
pub const OF_SESSIONS: [&str; 4] = [MEMORY, PERCENTAGE, PRIORITY, CLIENTS];
/// Those that users have.
pub const OF_USERS: [&str; 4] = [MEMORY, PERCENTAGE, WEIGHT, RESERVED];
