//! Which numbers of one writer were seen, so that a repeated batch counts once.

/// How many numbers below the highest one are remembered.
pub const WINDOW: u16 = 1024;
/// Words of 64 numbers in a window.
pub(crate) const WORDS: usize = WINDOW as usize / 64;

/// What is known of a number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Observation {
    /// Not seen before: apply it.
    Fresh,
    /// Seen before: acknowledge it again and do not apply it.
    Repeated,
    /// More than [`WINDOW`] below the highest number: nobody knows any more, so refuse it.
    TooOld,
}

/// The exactly-once window of one writer: its highest number and which of the [`WINDOW`] numbers below were seen.
/// A window always holds at least one number.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WriterWindow {
    client_id: String,
    highest: u64,
    /// Bit `i` of the whole says whether `highest - 1 - i` was seen.
    seen: [u64; WORDS],
    last_used_micros: i64,
}

impl WriterWindow {
    /// The window of a writer whose first number is `first`. The time is only data: it decides when a window is old
    /// enough to be forgotten, never what a number means.
    pub fn new(client_id: impl Into<String>, first: u64, now_micros: i64) -> Self {
        Self { client_id: client_id.into(), highest: first, seen: [0; WORDS], last_used_micros: now_micros }
    }

    /// Who writes.
    pub fn client_id(&self) -> &str {
        &self.client_id
    }

    /// The highest number seen.
    pub fn highest(&self) -> u64 {
        self.highest
    }

    /// When the window last took a number, microseconds since 1970 UTC.
    pub fn last_used_micros(&self) -> i64 {
        self.last_used_micros
    }

    /// What is known of a number, without taking it.
    pub fn classify(&self, seq: u64) -> Observation {
        match self.highest.checked_sub(seq) {
            None => Observation::Fresh,
            Some(0) => Observation::Repeated,
            Some(distance) if distance > u64::from(WINDOW) => Observation::TooOld,
            Some(distance) => {
                let bit = distance as usize - 1;
                if self.seen[bit / 64] >> (bit % 64) & 1 == 1 {
                    Observation::Repeated
                } else {
                    Observation::Fresh
                }
            }
        }
    }

    /// Takes a number and says what was known of it before.
    pub fn observe(&mut self, seq: u64, now_micros: i64) -> Observation {
        let observation = self.classify(seq);
        self.last_used_micros = self.last_used_micros.max(now_micros);
        if observation == Observation::Fresh {
            if seq > self.highest {
                self.shift(seq - self.highest);
                self.highest = seq;
            } else {
                let bit = (self.highest - seq) as usize - 1;
                self.seen[bit / 64] |= 1 << (bit % 64);
            }
        }
        observation
    }

    /// Takes in what another window of the same writer has seen.
    pub fn merge(&mut self, other: &Self) {
        let (mut newer, older) =
            if self.highest >= other.highest { (self.clone(), other) } else { (other.clone(), &*self) };
        newer.observe(older.highest, older.last_used_micros);
        for bit in 0..u64::from(WINDOW) {
            if older.seen[bit as usize / 64] >> (bit % 64) & 1 == 1 {
                newer.observe(older.highest - 1 - bit, older.last_used_micros);
            }
        }
        *self = newer;
    }

    /// Makes room for `distance` higher numbers; the highest one so far becomes one of the seen.
    fn shift(&mut self, distance: u64) {
        let words = usize::try_from(distance / 64).unwrap_or(usize::MAX).min(WORDS);
        let bits = distance % 64;
        for index in (0..WORDS).rev() {
            let from = |back: usize| index.checked_sub(back).map_or(0, |i| self.seen[i]);
            let low = if bits == 0 { 0 } else { from(words + 1) >> (64 - bits) };
            self.seen[index] = from(words) << bits | low;
        }
        if distance <= u64::from(WINDOW) {
            let bit = distance as usize - 1;
            self.seen[bit / 64] |= 1 << (bit % 64);
        }
    }

    /// The seen numbers below the highest one, the nearest in the lowest bit of the first word.
    pub(crate) fn seen(&self) -> &[u64; WORDS] {
        &self.seen
    }

    /// When the seen numbers follow one another just below the highest one: how many there are.
    pub(crate) fn contiguous(&self) -> Option<u16> {
        let count = self.seen.iter().map(|word| word.count_ones() as u16).sum();
        (Self::run_of(count) == self.seen).then_some(count)
    }

    pub(crate) fn with_contiguous(self, count: u16) -> Self {
        self.with_seen(Self::run_of(count))
    }

    /// Bits for numbers below 0 mean nothing and are cleared.
    pub(crate) fn with_seen(mut self, seen: [u64; WORDS]) -> Self {
        let possible = Self::run_of(self.highest.min(u64::from(WINDOW)) as u16);
        self.seen = std::array::from_fn(|index| seen[index] & possible[index]);
        self
    }

    fn run_of(count: u16) -> [u64; WORDS] {
        std::array::from_fn(|index| match usize::from(count).saturating_sub(index * 64) {
            0 => 0,
            ones @ 1..64 => (1 << ones) - 1,
            _ => u64::MAX,
        })
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    fn numbers() -> impl Strategy<Value = Vec<u64>> {
        let number =
            prop_oneof![5 => 0_u64..40, 5 => 900_u64..2200, 1 => 0_u64..100_000, 1 => u64::MAX - 80..];
        prop::collection::vec(number, 1..200)
    }

    /// The window in one sentence each: a number is too old, or repeated exactly when it was taken before.
    fn expected(taken: &BTreeSet<u64>, seq: u64) -> Observation {
        let highest = *taken.last().unwrap();
        if seq < highest && highest - seq > u64::from(WINDOW) {
            Observation::TooOld
        } else if taken.contains(&seq) {
            Observation::Repeated
        } else {
            Observation::Fresh
        }
    }

    proptest! {
        #[test]
        fn a_window_knows_what_a_set_knows(numbers in numbers()) {
            let mut window = WriterWindow::new("w", numbers[0], 0);
            let mut taken = BTreeSet::from([numbers[0]]);
            for (index, seq) in numbers.iter().enumerate().skip(1) {
                let before = expected(&taken, *seq);
                prop_assert_eq!(window.classify(*seq), before);
                prop_assert_eq!(window.observe(*seq, index as i64), before);
                if before == Observation::Fresh {
                    taken.insert(*seq);
                }
                prop_assert_eq!(window.highest(), *taken.last().unwrap());
            }
        }

        #[test]
        fn merging_two_windows_keeps_all_that_is_near(left in numbers(), right in numbers()) {
            let fill = |numbers: &[u64]| {
                let mut window = WriterWindow::new("w", numbers[0], 0);
                numbers.iter().for_each(|seq| { window.observe(*seq, 0); });
                window
            };
            let (a, b) = (fill(&left), fill(&right));
            let mut merged = a.clone();
            merged.merge(&b);
            for seq in left.iter().chain(&right) {
                prop_assert_ne!(merged.classify(*seq), Observation::Fresh);
            }
            let mut other = b.clone();
            other.merge(&a);
            prop_assert_eq!(merged, other);
        }
    }
}
