//! Names of things. Handles mean something only inside the session that they were given to, and carry a generation, so
//! that a freed one never resolves to what took its place.

use serde::{Deserialize, Serialize};

/// A session: one connection of one client. Unique over the life of a daemon.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct SessionId(pub u64);

/// A range of memory of a session.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct BufferId(pub u64);

/// A program of a session.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct ProgramId(pub u64);

/// A piece of memory that buffers are cut from; belongs to one session.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct ChunkId(pub u64);

/// SHA-256 over everything that decides a pipeline: module, entry point, specialization.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct ProgramHash(pub [u8; 32]);

/// Index and generation in one word, as [`BufferId`] and [`ProgramId`] carry them; never 0.
pub fn pack(index: u32, generation: u32) -> u64 {
    u64::from(generation) << 32 | u64::from(index)
}

/// Index and generation of a handle.
#[expect(
    clippy::cast_possible_truncation,
    reason = "each half is taken on purpose"
)]
pub fn unpack(handle: u64) -> (u32, u32) {
    (handle as u32, (handle >> 32) as u32)
}

/// A table whose handles carry generations. Free slots are reused, their generation counted up.
#[derive(Debug, Clone)]
pub struct Table<T> {
    slots: Vec<Slot<T>>,
    free: Vec<u32>,
    used: usize,
}

#[derive(Debug, Clone)]
struct Slot<T> {
    generation: u32,
    value: Option<T>,
}

impl<T> Default for Table<T> {
    fn default() -> Self {
        Self {
            slots: Vec::new(),
            free: Vec::new(),
            used: 0,
        }
    }
}

impl<T> Table<T> {
    /// Number of live values.
    pub fn len(&self) -> usize {
        self.used
    }

    /// Whether nothing is in it.
    pub fn is_empty(&self) -> bool {
        self.used == 0
    }

    /// Takes the value in; the handle resolves until [`Self::remove`].
    pub fn insert(&mut self, value: T) -> u64 {
        self.used += 1;
        if let Some(index) = self.free.pop() {
            let slot = &mut self.slots[index as usize];
            slot.value = Some(value);
            return pack(index, slot.generation);
        }
        let index =
            u32::try_from(self.slots.len()).expect("limits.rs keeps tables far below 2^32 entries");
        self.slots.push(Slot {
            generation: 1,
            value: Some(value),
        });
        pack(index, 1)
    }

    /// Puts a value under a handle that another table gave out, replacing what was there.
    pub fn put(&mut self, handle: u64, value: T) {
        let (index, generation) = unpack(handle);
        let index = index as usize;
        while self.slots.len() <= index {
            self.slots.push(Slot {
                generation: 0,
                value: None,
            });
        }
        let slot = &mut self.slots[index];
        if slot.value.is_none() {
            self.used += 1;
        }
        *slot = Slot {
            generation,
            value: Some(value),
        };
    }

    /// The value of a handle, if it is live.
    pub fn get(&self, handle: u64) -> Option<&T> {
        let (index, generation) = unpack(handle);
        self.slots
            .get(index as usize)
            .filter(|slot| slot.generation == generation)?
            .value
            .as_ref()
    }

    /// The value of a handle, if it is live.
    pub fn get_mut(&mut self, handle: u64) -> Option<&mut T> {
        let (index, generation) = unpack(handle);
        self.slots
            .get_mut(index as usize)
            .filter(|slot| slot.generation == generation)?
            .value
            .as_mut()
    }

    /// Takes the value out; the handle never resolves again. A slot whose generations are used up is retired.
    pub fn remove(&mut self, handle: u64) -> Option<T> {
        let (index, generation) = unpack(handle);
        let slot = self
            .slots
            .get_mut(index as usize)
            .filter(|slot| slot.generation == generation)?;
        let value = slot.value.take()?;
        self.used -= 1;
        if let Some(next) = slot.generation.checked_add(1) {
            slot.generation = next;
            self.free.push(index);
        }
        Some(value)
    }

    /// All live values.
    pub fn iter_mut(&mut self) -> impl Iterator<Item = &mut T> {
        self.slots.iter_mut().filter_map(|slot| slot.value.as_mut())
    }

    /// All live values with their handles.
    pub fn iter(&self) -> impl Iterator<Item = (u64, &T)> {
        (0u32..)
            .zip(&self.slots)
            .filter_map(|(index, slot)| Some((pack(index, slot.generation), slot.value.as_ref()?)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_removed_handle_never_resolves_again() {
        let mut table = Table::default();
        let first = table.insert('a');
        assert_eq!(table.remove(first), Some('a'));
        let second = table.insert('b');
        assert_ne!(first, second);
        assert_eq!(table.get(first), None);
        assert_eq!(table.remove(first), None);
        assert_eq!(table.get(second), Some(&'b'));
        assert_eq!(table.len(), 1);
    }
}
