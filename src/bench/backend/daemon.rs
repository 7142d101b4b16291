//! Work through the daemon.

use super::{Backend, BufferId, Lane, ProgramId, Residence, Terms, Work};
use crate::alloc::Contents;
use crate::error::Error;
use crate::shader::Shader;
use std::path::Path;
use vkmps::{Access, Buffer, Client, Dispatch, Memory, Program, Stream, Submission};

/// A client and all that it made.
pub(crate) struct Daemon {
    client: Client,
    programs: Vec<(Program, &'static Shader)>,
    buffers: Vec<Buffer>,
    lanes: Vec<(Stream, Option<Submission>)>,
}

impl Daemon {
    pub(crate) fn connect(socket: &Path, terms: Terms) -> Result<Self, Error> {
        let priority = terms.priority.into();
        let client = Client::builder()
            .socket(socket)
            .name("vkmps-bench")
            .priority(priority)
            .connect()?;
        if client.priority() != priority {
            return Err(Error::NotGranted(terms.priority));
        }
        if let Some(percent) = terms.percent
            && client.quota()?.cap_percent != percent
        {
            return Err(Error::Wrong(format!(
                "a cap of {percent} % is not in force"
            )));
        }
        Ok(Self {
            client,
            programs: Vec::new(),
            buffers: Vec::new(),
            lanes: Vec::new(),
        })
    }

    fn dispatch(&self, work: &Work<'_>) -> Dispatch {
        let (program, shader) = &self.programs[work.program.0];
        let mut dispatch = Dispatch::new(program, work.groups).push(work.push);
        for (access, BufferId(buffer)) in shader.buffers.iter().zip(work.buffers) {
            let buffer = &self.buffers[*buffer];
            dispatch = match access {
                Access::Read => dispatch.read(buffer),
                Access::Write => dispatch.write(buffer),
                Access::ReadWrite => dispatch.read_write(buffer),
            };
        }
        dispatch
    }

    fn lane(&mut self, Lane(index): Lane) -> Result<&mut (Stream, Option<Submission>), Error> {
        while self.lanes.len() <= index {
            self.lanes.push((self.client.stream()?, None));
        }
        Ok(&mut self.lanes[index])
    }
}

impl Backend for Daemon {
    fn program(&mut self, shader: &'static Shader) -> Result<ProgramId, Error> {
        let program = self.client.program(shader.module).register()?;
        self.programs.push((program, shader));
        Ok(ProgramId(self.programs.len() - 1))
    }

    fn buffer(&mut self, bytes: u64, residence: Residence) -> Result<BufferId, Error> {
        let class = match residence {
            Residence::Device => Memory::Device,
            Residence::Shared => Memory::Shared,
        };
        self.buffers.push(self.client.alloc(bytes, class)?);
        Ok(BufferId(self.buffers.len() - 1))
    }

    fn write(&mut self, buffer: BufferId, bytes: &[u8]) -> Result<(), Error> {
        Ok(self.buffers[buffer.0].write(0, bytes)?)
    }

    fn read(&mut self, buffer: BufferId, bytes: &mut [u8]) -> Result<(), Error> {
        Ok(self.buffers[buffer.0].read(0, bytes)?)
    }

    fn submit(&mut self, lane: Lane, work: &Work<'_>) -> Result<(), Error> {
        let dispatch = self.dispatch(work);
        let (stream, pending) = self.lane(lane)?;
        *pending = Some(stream.submit(dispatch)?);
        Ok(())
    }

    fn wait(&mut self, lane: Lane) -> Result<(), Error> {
        match self.lane(lane)?.1.take() {
            Some(submission) => Ok(submission.wait()?),
            None => Ok(()),
        }
    }

    fn run(&mut self, work: &Work<'_>) -> Result<(), Error> {
        Ok(self.client.submit(self.dispatch(work))?.wait()?)
    }

    fn copy(&mut self, from: BufferId, to: BufferId, bytes: u64) -> Result<(), Error> {
        let (from, to) = (&self.buffers[from.0], &self.buffers[to.0]);
        let batch = self.client.default_stream().batch();
        Ok(batch
            .copy(from.slice(0, bytes), to.slice(0, bytes))
            .submit()?
            .wait()?)
    }

    fn allocate_and_free(&mut self, bytes: u64, contents: Contents) -> Result<(), Error> {
        match contents {
            Contents::Zero => self.client.alloc(bytes, Memory::Device)?,
            Contents::Any => self.client.alloc_unscrubbed(bytes, Memory::Device)?,
        };
        Ok(())
    }

    fn is_mapped(&self, buffer: BufferId) -> bool {
        self.buffers[buffer.0].is_mapped()
    }
}
