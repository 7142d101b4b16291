//! The closed, numbered set of errors that cross a process boundary.

use serde::{Deserialize, Serialize};

/// Why a request or a submit failed. The numbers are the wire's and, negated, the C library's; they never change meaning.
#[derive(
    Debug,
    Clone,
    Copy,
    PartialEq,
    Eq,
    Hash,
    PartialOrd,
    Ord,
    Serialize,
    Deserialize,
    thiserror::Error,
)]
#[serde(into = "u16", try_from = "u16")]
#[repr(u16)]
pub enum ErrorCode {
    /// Nobody listens on the socket.
    #[error("no vkmpsd listens on the socket")]
    NoDaemon = 1,
    /// The daemon, or this user's part of it, has no session left.
    #[error("the daemon serves as many clients as it can")]
    DaemonFull = 2,
    /// The other side speaks another version of the protocol.
    #[error("the daemon speaks another protocol version")]
    VersionMismatch = 3,
    /// The daemon closed the connection or died.
    #[error("the connection to the daemon is gone")]
    DaemonLost = 4,
    /// The engine died; work that had not completed is lost. Connect again.
    #[error("the engine died, work in flight is lost")]
    EngineLost = 5,
    /// The time given has passed.
    #[error("timed out")]
    Timeout = 6,
    /// An argument makes no sense; the text says which.
    #[error("invalid argument")]
    InvalidArgument = 7,
    /// A handle that this session does not have (any more).
    #[error("no such object in this session")]
    InvalidHandle = 8,
    /// Offset and size leave the buffer.
    #[error("range outside the buffer")]
    OutOfRange = 9,
    /// The device has no memory left.
    #[error("out of device memory")]
    OutOfDeviceMemory = 10,
    /// The host has no memory left.
    #[error("out of host memory")]
    OutOfHostMemory = 11,
    /// A limit of this session is reached.
    #[error("a limit of this session is reached")]
    LimitReached = 12,
    /// The SPIR-V module is refused.
    #[error("the SPIR-V module is refused")]
    InvalidModule = 13,
    /// The driver could not compile the module.
    #[error("the driver failed to compile the module")]
    CompileFailed = 14,
    /// The compilation took longer than it may.
    #[error("compiling the module took too long")]
    CompileTimeout = 15,
    /// Bindings of a dispatch do not match the program.
    #[error("the bindings do not match the program")]
    BindingMismatch = 16,
    /// Push constants of a dispatch do not match the program.
    #[error("the push constants do not match the program")]
    PushConstantMismatch = 17,
    /// A grid is beyond the device's limits.
    #[error("the grid is beyond the device's limits")]
    GroupCount = 18,
    /// The device was lost through this session's work.
    #[error("the device was lost")]
    DeviceFault = 19,
    /// The peer broke the protocol; the session is over.
    #[error("protocol violation")]
    Protocol = 20,
    /// This device or daemon cannot do it.
    #[error("not supported")]
    Unsupported = 21,
    /// Policy does not allow it.
    #[error("permission denied")]
    PermissionDenied = 22,
    /// An earlier submit of the stream failed and was not acknowledged.
    #[error("an earlier submit of the stream failed")]
    StreamPoisoned = 23,
    /// The work was cut short and cannot be repeated safely.
    #[error("the work was interrupted")]
    Interrupted = 24,
    /// The daemon is shutting down.
    #[error("the daemon is shutting down")]
    Draining = 25,
    /// No device, or it cannot be opened.
    #[error("no usable Vulkan device")]
    NoDevice = 26,
    /// An operating-system call failed; the text says which.
    #[error("system error")]
    System = 27,
    /// A shader's loops did more iterations than an invocation may do; its buffers hold what it left.
    #[error("a shader used up its budget of loop iterations")]
    LoopBudget = 28,
    /// The group that the client belongs to was released or its time is over, or there is none of that token.
    #[error("the session that the client belongs to is over")]
    SessionOver = 29,
}

impl ErrorCode {
    /// All codes, in order.
    pub const ALL: [ErrorCode; 29] = [
        ErrorCode::NoDaemon,
        ErrorCode::DaemonFull,
        ErrorCode::VersionMismatch,
        ErrorCode::DaemonLost,
        ErrorCode::EngineLost,
        ErrorCode::Timeout,
        ErrorCode::InvalidArgument,
        ErrorCode::InvalidHandle,
        ErrorCode::OutOfRange,
        ErrorCode::OutOfDeviceMemory,
        ErrorCode::OutOfHostMemory,
        ErrorCode::LimitReached,
        ErrorCode::InvalidModule,
        ErrorCode::CompileFailed,
        ErrorCode::CompileTimeout,
        ErrorCode::BindingMismatch,
        ErrorCode::PushConstantMismatch,
        ErrorCode::GroupCount,
        ErrorCode::DeviceFault,
        ErrorCode::Protocol,
        ErrorCode::Unsupported,
        ErrorCode::PermissionDenied,
        ErrorCode::StreamPoisoned,
        ErrorCode::Interrupted,
        ErrorCode::Draining,
        ErrorCode::NoDevice,
        ErrorCode::System,
        ErrorCode::LoopBudget,
        ErrorCode::SessionOver,
    ];

    /// The number on the wire; never 0.
    pub const fn number(self) -> u16 {
        self as u16
    }
}

impl From<ErrorCode> for u16 {
    fn from(code: ErrorCode) -> u16 {
        code.number()
    }
}

impl TryFrom<u16> for ErrorCode {
    type Error = UnknownErrorCode;

    fn try_from(number: u16) -> Result<Self, Self::Error> {
        usize::from(number)
            .checked_sub(1)
            .and_then(|index| Self::ALL.get(index))
            .copied()
            .ok_or(UnknownErrorCode(number))
    }
}

/// A number that is no [`ErrorCode`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("error code {0} is unknown")]
pub struct UnknownErrorCode(pub u16);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_number_leads_back_to_its_code() {
        for code in ErrorCode::ALL {
            assert_eq!(ErrorCode::try_from(code.number()), Ok(code));
        }
        assert!(ErrorCode::try_from(0).is_err());
        assert!(ErrorCode::try_from(30).is_err());
    }
}
