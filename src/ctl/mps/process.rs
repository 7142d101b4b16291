//! What the kernel says of a client's process.

use std::fs;

/// What is known of it; nothing of a process that has ended or may not be looked at.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Process {
    /// Inode of its pid namespace.
    pub(super) namespace: Option<u64>,
    /// Its name; it chose it itself.
    pub(super) command: Option<String>,
}

/// Looks it up now: another process may have the pid since.
pub(super) fn look(pid: u32) -> Process {
    let link = fs::read_link(format!("/proc/{pid}/ns/pid"));
    let namespace = link.ok().and_then(|link| {
        let inode = link.to_str()?.strip_prefix("pid:[")?.strip_suffix(']')?;
        inode.parse().ok()
    });
    let command = fs::read(format!("/proc/{pid}/comm")).ok().map(|name| {
        let name = name.strip_suffix(b"\n").unwrap_or(&name);
        String::from_utf8_lossy(name).into_owned()
    });
    Process { namespace, command }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_has_a_namespace_and_a_name() {
        let process = look(std::process::id());
        assert!(process.namespace.is_some_and(|inode| inode > 0));
        assert!(process.command.is_some_and(|name| !name.contains('\n')));
        assert_eq!(look(0), Process::default());
    }
}
