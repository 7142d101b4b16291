//! Seats in the order of a number: a binary heap whose entries can be found, moved and removed.

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
        let place = match self.place(seat) {
            Some(place) => {
                self.heap[place].0 = number;
                place
            }
            None => {
                if self.places.len() <= seat as usize {
                    self.places.resize(seat as usize + 1, NOWHERE);
                }
                self.heap.push((number, seat));
                self.settle(self.heap.len() - 1);
                self.heap.len() - 1
            }
        };
        let place = self.rise(place);
        self.sink(place);
    }

    pub(crate) fn remove(&mut self, seat: u32) {
        let Some(place) = self.place(seat) else {
            return;
        };
        self.places[seat as usize] = NOWHERE;
        self.heap.swap_remove(place);
        if place < self.heap.len() {
            self.settle(place);
            let place = self.rise(place);
            self.sink(place);
        }
    }

    fn place(&self, seat: u32) -> Option<usize> {
        let place = *self.places.get(seat as usize)?;
        (place != NOWHERE).then_some(place as usize)
    }

    fn rise(&mut self, mut place: usize) -> usize {
        while place > 0 {
            let parent = (place - 1) / 2;
            if self.heap[parent] <= self.heap[place] {
                break;
            }
            self.swap(parent, place);
            place = parent;
        }
        place
    }

    fn sink(&mut self, mut place: usize) {
        loop {
            let child = |number| Some(2 * place + number).filter(|child| *child < self.heap.len());
            let Some(left) = child(1) else { return };
            let least = match child(2) {
                Some(right) if self.heap[right] < self.heap[left] => right,
                _ => left,
            };
            if self.heap[place] <= self.heap[least] {
                return;
            }
            self.swap(place, least);
            place = least;
        }
    }

    fn swap(&mut self, one: usize, other: usize) {
        self.heap.swap(one, other);
        self.settle(one);
        self.settle(other);
    }

    /// Remembers where the entry at this place is.
    fn settle(&mut self, place: usize) {
        let seat = self.heap[place].1;
        self.places[seat as usize] = u32::try_from(place).unwrap_or(NOWHERE);
    }
}

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
