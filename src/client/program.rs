//! Programs: compiled compute shaders.

use crate::connection::Connection;
use crate::control::unexpected;
use crate::error::Error;
use crate::release::Handle;
use crate::usage::Uses;
use std::os::fd::AsFd;
use std::sync::Arc;
use vkmps_protocol::ErrorCode;
use vkmps_protocol::handle::ProgramId;
use vkmps_protocol::limits::{MAX_ENTRY_BYTES, MAX_MODULE_BYTES, MAX_SPECIALIZATION};
use vkmps_protocol::message::{ClientMessage, DaemonMessage};
use vkmps_protocol::program::{Interface, Specialization};

/// A program that the daemon has compiled. Clones are the same program; dropping the last one gives it up.
#[derive(Clone)]
pub struct Program(Arc<Inner>);

struct Inner {
    connection: Arc<Connection>,
    id: ProgramId,
    interface: Interface,
    uses: Uses,
}

impl Program {
    /// What its dispatches must bring.
    pub fn interface(&self) -> &Interface {
        &self.0.interface
    }

    pub(crate) fn id(&self) -> ProgramId {
        self.0.id
    }

    pub(crate) fn uses(&self) -> &Uses {
        &self.0.uses
    }

    pub(crate) fn belongs_to(&self, connection: &Arc<Connection>) -> Result<(), Error> {
        if Arc::ptr_eq(&self.0.connection, connection) {
            return Ok(());
        }
        Err(Error::new(
            ErrorCode::InvalidHandle,
            "a program of another client",
        ))
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        let pending = self.uses.pending(&self.connection);
        self.connection
            .deferred
            .release(&self.connection, Handle::Program(self.id), pending);
    }
}

impl std::fmt::Debug for Program {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Program")
            .field("id", &self.0.id)
            .field("interface", &self.0.interface)
            .finish_non_exhaustive()
    }
}

/// A module on its way to becoming a [`Program`].
#[derive(Debug, Clone)]
#[must_use = "nothing happens before register"]
pub struct ProgramBuilder<'a> {
    connection: &'a Arc<Connection>,
    spirv: &'a [u8],
    entry: String,
    specialization: Vec<Specialization>,
}

impl<'a> ProgramBuilder<'a> {
    pub(crate) fn new(connection: &'a Arc<Connection>, spirv: &'a [u8]) -> Self {
        Self {
            connection,
            spirv,
            entry: "main".to_owned(),
            specialization: Vec::new(),
        }
    }

    /// The entry point; `main` unless said otherwise.
    pub fn entry(mut self, name: &str) -> Self {
        name.clone_into(&mut self.entry);
        self
    }

    /// Sets the specialization constant with this `SpecId` to a 32-bit value; booleans are 0 or 1.
    pub fn specialize(self, id: u32, value: u32) -> Self {
        self.specialize_bits(id, value.into())
    }

    /// Sets a specialization constant of any width by its bits.
    pub fn specialize_bits(mut self, id: u32, value: u64) -> Self {
        self.specialization.push(Specialization { id, value });
        self
    }

    /// Hands the module to the daemon and blocks until it is compiled, which may take seconds.
    ///
    /// # Errors
    /// `InvalidModule`, `CompileFailed`, `CompileTimeout`, `LimitReached`; `InvalidArgument` for an entry point that is
    /// longer than 128 bytes; what ended the session.
    pub fn register(self) -> Result<Program, Error> {
        let Self {
            connection,
            spirv,
            entry,
            specialization,
        } = self;
        if spirv.is_empty()
            || !spirv.len().is_multiple_of(4)
            || spirv.len() as u64 > MAX_MODULE_BYTES
        {
            let text = format!(
                "{} bytes are no module: words of 4 bytes, at most {MAX_MODULE_BYTES}",
                spirv.len()
            );
            return Err(Error::new(ErrorCode::InvalidModule, text));
        }
        if entry.len() > MAX_ENTRY_BYTES {
            return Err(Error::new(
                ErrorCode::InvalidArgument,
                "the entry point's name is too long",
            ));
        }
        if specialization.len() > MAX_SPECIALIZATION {
            let text = format!(
                "{} specialization constants, at most {MAX_SPECIALIZATION}",
                specialization.len()
            );
            return Err(Error::new(ErrorCode::LimitReached, text));
        }
        let module = vkmps_ipc::memory::memfd_with("vkmps-module", spirv).map_err(Error::system)?;
        let message = ClientMessage::RegisterProgram {
            entry,
            module_bytes: spirv.len() as u64,
            specialization,
        };
        match connection
            .control()
            .request(connection, &message, &[module.as_fd()])?
        {
            DaemonMessage::ProgramReady {
                program: id,
                interface,
            } => {
                let inner = Inner {
                    connection: connection.clone(),
                    id,
                    interface,
                    uses: Uses::default(),
                };
                Ok(Program(Arc::new(inner)))
            }
            _ => Err(unexpected(connection)),
        }
    }
}
