//! Seats in the order of a number: a heap whose entries can be found, moved and removed.

/// The seat with the smallest number is first; among equals, the one with the lowest seat.
#[derive(Debug, Default)]
pub(crate) struct Ranking {
    heap: Vec<(u64, u32)>,
    /// Of every seat: where it is in the heap.
    places: Vec<u32>,
}

impl Ranking {
    pub(crate) fn first(&self) -> Option<(u64, u32)> {
        self.heap.first().copied()
    }

    pub(crate) fn len(&self) -> usize {
        self.heap.len()
    }

    pub(crate) fn contains(&self, seat: u32) -> bool {
        self.place(seat).is_some()
    }

    /// Puts a seat in, or moves it to where its number belongs.
    pub(crate) fn set(&mut self, seat: u32, number: u64) {
        let Some(place) = self.place(seat) else {
            if self.places.len() <= seat as usize {
                self.places.resize(seat as usize + 1, NOWHERE);
            }
            self.heap.push((number, seat));
            self.rise(self.heap.len() - 1);
            return;
        };
        let before = std::mem::replace(&mut self.heap[place].0, number);
        if number < before {
            self.rise(place);
        } else {
            self.sink(place);
        }
    }

    pub(crate) fn remove(&mut self, seat: u32) {
        let Some(place) = self.place(seat) else {
            return;
        };
        self.places[seat as usize] = NOWHERE;
        self.heap.swap_remove(place);
        if place < self.heap.len() {
            let place = self.rise(place);
            self.sink(place);
        }
    }

    fn place(&self, seat: u32) -> Option<usize> {
        let place = *self.places.get(seat as usize)?;
        (place != NOWHERE).then_some(place as usize)
    }

    /// Moves the entry that belongs at this place or nearer to the top to where it belongs; where that is.
    fn rise(&mut self, mut place: usize) -> usize {
        let entry = self.heap[place];
        while place > 0 {
            let parent = (place - 1) / CHILDREN;
            if self.heap[parent] <= entry {
                break;
            }
            self.put(place, self.heap[parent]);
            place = parent;
        }
        self.put(place, entry);
        place
    }

    /// The same for one that belongs there or further down.
    fn sink(&mut self, mut place: usize) {
        let entry = self.heap[place];
        loop {
            let first = place * CHILDREN + 1;
            let last = (first + CHILDREN).min(self.heap.len());
            let Some(least) = (first..last).min_by_key(|child| self.heap[*child]) else {
                break;
            };
            if entry <= self.heap[least] {
                break;
            }
            self.put(place, self.heap[least]);
            place = least;
        }
        self.put(place, entry);
    }

    /// Writes an entry, and remembers where it is.
    fn put(&mut self, place: usize, entry: (u64, u32)) {
        self.heap[place] = entry;
        self.places[entry.1 as usize] = u32::try_from(place).unwrap_or(NOWHERE);
    }
}

/// Wide nodes make a flat heap: what is compared lies side by side.
const CHILDREN: usize = 4;
const NOWHERE: u32 = u32::MAX;

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    proptest! {
        #[test]
        fn the_first_is_always_the_least(steps in prop::collection::vec((0..40_u32, prop::option::of(0..100_u64)), 0..400)) {
            let mut ranking = Ranking::default();
            let mut model: BTreeSet<(u64, u32)> = BTreeSet::new();
            for (seat, number) in steps {
                model.retain(|entry| entry.1 != seat);
                match number {
                    Some(number) => {
                        ranking.set(seat, number);
                        model.insert((number, seat));
                    }
                    None => ranking.remove(seat),
                }
                prop_assert_eq!(ranking.first(), model.first().copied());
                prop_assert_eq!(ranking.len(), model.len());
                prop_assert_eq!(ranking.contains(seat), number.is_some());
            }
        }
    }
}
