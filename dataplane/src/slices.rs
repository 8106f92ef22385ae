//! Who owns which part of the array of backends.
//!
//! Every frontend reads its backends from one slice of one array in the kernel. A slice is never changed while
//! a frontend points to it: a change writes a free slice and then the frontend's entry. A packet that read the
//! old entry may still read the old slice, so a freed slice rests for [`REST`] before it is given out again.
//! Free neighbours are joined, the smallest gap that fits is taken, and nothing is ever moved.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::{Duration, Instant};

/// How long a freed slice rests.
pub const REST: Duration = Duration::from_secs(1);

/// A part of the array: `offset..offset + len`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Slice {
    /// First element.
    pub offset: u32,
    /// Number of elements.
    pub len: u32,
}

impl Slice {
    /// No elements.
    pub const EMPTY: Self = Self { offset: 0, len: 0 };
}

/// No gap is large enough.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "no room for {wanted} backends: {free} of {capacity} places are free, {resting} more within a second"
)]
pub struct Full {
    /// Elements asked for.
    pub wanted: u32,
    /// Elements free now, in gaps that are too small.
    pub free: u32,
    /// Elements that rest.
    pub resting: u32,
    /// Size of the array.
    pub capacity: u32,
}

/// The free parts of the array.
#[derive(Debug, Clone)]
pub struct Slices {
    capacity: u32,
    by_offset: BTreeMap<u32, u32>,
    by_len: BTreeSet<(u32, u32)>,
    resting: VecDeque<(Instant, Slice)>,
}

impl Slices {
    /// An array of `capacity` elements, all free.
    pub fn new(capacity: u32) -> Self {
        let mut slices =
            Self { capacity, by_offset: BTreeMap::new(), by_len: BTreeSet::new(), resting: VecDeque::new() };
        slices.insert(Slice { offset: 0, len: capacity });
        slices
    }

    /// An array in which `used` slices are taken, as a restarted daemon finds it. Slices beyond the array or
    /// overlapping an earlier one are ignored: whoever points to them is rewritten anyway.
    pub fn with_used(capacity: u32, used: impl IntoIterator<Item = Slice>) -> Self {
        let mut slices = Self::new(capacity);
        for slice in used {
            slices.reserve(slice);
        }
        slices
    }

    /// Takes a slice of `len` elements.
    pub fn take(&mut self, len: u32, now: Instant) -> Result<Slice, Full> {
        if len == 0 {
            return Ok(Slice::EMPTY);
        }
        self.wake(now);
        let Some(&(gap_len, offset)) = self.by_len.range((len, 0)..).next() else {
            return Err(self.full(len));
        };
        self.remove(Slice { offset, len: gap_len });
        self.insert(Slice { offset: offset + len, len: gap_len - len });
        Ok(Slice { offset, len })
    }

    /// Gives a slice back; it can be taken again [`REST`] after `now`.
    pub fn give_back(&mut self, slice: Slice, now: Instant) {
        if slice.len > 0 {
            self.resting.push_back((now + REST, slice));
        }
    }

    /// Elements that are free or resting.
    #[cfg(test)]
    fn unused(&self) -> u32 {
        self.free() + self.resting()
    }

    fn free(&self) -> u32 {
        self.by_offset.values().sum()
    }

    fn resting(&self) -> u32 {
        self.resting.iter().map(|(_, slice)| slice.len).sum()
    }

    fn full(&self, wanted: u32) -> Full {
        Full { wanted, free: self.free(), resting: self.resting(), capacity: self.capacity }
    }

    fn wake(&mut self, now: Instant) {
        while let Some(&(at, slice)) = self.resting.front() {
            if at > now {
                break;
            }
            self.resting.pop_front();
            self.join(slice);
        }
    }

    /// Adds a gap and joins it with its neighbours.
    fn join(&mut self, slice: Slice) {
        let mut joined = slice;
        if let Some((&offset, &len)) = self.by_offset.range(..slice.offset).next_back()
            && offset + len == slice.offset
        {
            self.remove(Slice { offset, len });
            joined = Slice { offset, len: len + joined.len };
        }
        let end = joined.offset + joined.len;
        if let Some(&len) = self.by_offset.get(&end) {
            self.remove(Slice { offset: end, len });
            joined.len += len;
        }
        self.insert(joined);
    }

    fn reserve(&mut self, slice: Slice) {
        let Some(end) = slice.offset.checked_add(slice.len) else { return };
        let gap =
            self.by_offset.range(..=slice.offset).next_back().map(|(&offset, &len)| Slice { offset, len });
        let Some(gap) = gap.filter(|gap| slice.len > 0 && end <= gap.offset + gap.len) else { return };
        self.remove(gap);
        self.insert(Slice { offset: gap.offset, len: slice.offset - gap.offset });
        self.insert(Slice { offset: end, len: gap.offset + gap.len - end });
    }

    fn insert(&mut self, slice: Slice) {
        if slice.len > 0 {
            self.by_offset.insert(slice.offset, slice.len);
            self.by_len.insert((slice.len, slice.offset));
        }
    }

    fn remove(&mut self, slice: Slice) {
        self.by_offset.remove(&slice.offset);
        self.by_len.remove(&(slice.len, slice.offset));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_freed_slice_rests_for_a_second() {
        let start = Instant::now();
        let mut slices = Slices::new(8);
        let first = slices.take(8, start).unwrap();
        slices.give_back(first, start);
        let full = slices.take(1, start + REST / 2).unwrap_err();
        assert_eq!(full, Full { wanted: 1, free: 0, resting: 8, capacity: 8 });
        assert_eq!(slices.take(8, start + REST), Ok(first));
    }

    #[test]
    fn the_smallest_gap_that_fits_is_taken() {
        let start = Instant::now();
        let mut slices = Slices::with_used(20, [Slice { offset: 3, len: 2 }, Slice { offset: 9, len: 1 }]);
        assert_eq!(slices.take(4, start), Ok(Slice { offset: 5, len: 4 }));
        assert_eq!(slices.take(3, start), Ok(Slice { offset: 0, len: 3 }));
        assert_eq!(slices.take(10, start), Ok(Slice { offset: 10, len: 10 }));
        assert_eq!(slices.unused(), 0);
        assert_eq!(slices.take(0, start), Ok(Slice::EMPTY));
    }

    #[test]
    fn neighbours_are_joined_whatever_the_order_of_return() {
        let start = Instant::now();
        let mut slices = Slices::new(9);
        let taken: Vec<_> = (0..3).map(|_| slices.take(3, start).unwrap()).collect();
        for index in [1, 0, 2] {
            slices.give_back(taken[index], start);
        }
        assert_eq!(slices.take(9, start + REST), Ok(Slice { offset: 0, len: 9 }));
    }

    #[test]
    fn what_a_damaged_map_claims_is_ignored() {
        let claims = [
            Slice { offset: 4, len: 4 },
            Slice { offset: 6, len: 4 },
            Slice { offset: 90, len: 20 },
            Slice { offset: u32::MAX, len: 2 },
        ];
        assert_eq!(Slices::with_used(100, claims).unused(), 96);
    }

    #[test]
    fn slices_never_overlap_and_nothing_leaks() {
        let mut now = Instant::now();
        let mut slices = Slices::new(512);
        let mut held: Vec<Slice> = Vec::new();
        let mut seed: u32 = 7;
        for _ in 0..20_000 {
            seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            now += REST / 8;
            if seed >> 31 == 0 && !held.is_empty() {
                let index = (seed >> 8) as usize % held.len();
                slices.give_back(held.swap_remove(index), now);
            } else if let Ok(slice) = slices.take(1 + (seed >> 16) % 40, now) {
                let end = slice.offset + slice.len;
                assert!(end <= 512);
                assert!(
                    held.iter().all(|other| other.offset >= end || other.offset + other.len <= slice.offset)
                );
                held.push(slice);
            }
            let used: u32 = held.iter().map(|slice| slice.len).sum();
            assert_eq!(used + slices.unused(), 512);
        }
        for slice in held {
            slices.give_back(slice, now);
        }
        assert_eq!(slices.take(512, now + REST), Ok(Slice { offset: 0, len: 512 }));
    }
}
