//! The random-number contract, version 1: Philox4x32-10 (Salmon et al. 2011) and the rules that
//! turn its words into indices, subsets, shuffles and signs.
//!
//! Every number is a pure function of (seed, stream, purpose, sub, resample, position), so results
//! do not depend on threads, batches or device. The key is the seed, low word first. The counter is
//! `(block, resample, stream, tag << 24 | sub)`. Changing any rule here makes a new version.

/// Version of the rules in this module.
pub const RNG_VERSION: u32 = 1;

/// First round multiplier of Philox4x32.
pub(crate) const MULTIPLIER_0: u32 = 0xD251_1F53;
/// Second round multiplier of Philox4x32.
pub(crate) const MULTIPLIER_1: u32 = 0xCD9E_8D57;
/// Weyl increment of the first key word.
pub(crate) const WEYL_0: u32 = 0x9E37_79B9;
/// Weyl increment of the second key word.
pub(crate) const WEYL_1: u32 = 0xBB67_AE85;
/// Rounds of Philox4x32-10.
pub(crate) const ROUNDS: usize = 10;

/// What the numbers are used for; different purposes never share numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u32)]
pub enum Tag {
    /// Indices of bootstrap resamples.
    Bootstrap = 1,
    /// Random subsets (permutation tests).
    Subset = 2,
    /// Random orders.
    Shuffle = 3,
    /// Random signs.
    Signs = 4,
    /// Bootstrap of rows for a forest.
    ForestBootstrap = 5,
    /// Choice of features in a forest.
    ForestFeatures = 6,
    /// Seeding of k-means.
    KmeansSeeding = 7,
    /// Anything else.
    Other = 8,
}

/// One random stream: everything of the counter but block and resample.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stream {
    /// Seed of the whole request.
    pub seed: u64,
    /// 0 when groups share resamples, else the caller's number of the group.
    pub stream: u32,
    /// Purpose of the numbers.
    pub tag: Tag,
    /// 0 and 1 for the two samples of a comparison, or stratum, dimension or tree; below 2^24
    /// (higher bits are ignored).
    pub sub: u32,
}

impl Stream {
    /// The two key words.
    pub(crate) fn key(&self) -> [u32; 2] {
        [self.seed as u32, (self.seed >> 32) as u32]
    }

    /// The last counter word.
    pub(crate) fn purpose(&self) -> u32 {
        ((self.tag as u32) << 24) | (self.sub & 0x00FF_FFFF)
    }

    /// The four words of one block of one resample.
    pub fn block(&self, block: u32, resample: u32) -> [u32; 4] {
        philox4x32_10([block, resample, self.stream, self.purpose()], self.key())
    }

    /// The bootstrap indices of one resample, without end: take as many as there are values.
    /// Each is in `0..n` and refers to the canonical (ascending) order of the sample.
    ///
    /// # Panics
    /// When `n` is 0: an empty sample has no resample.
    pub fn indices(&self, n: u32, resample: u32) -> impl Iterator<Item = u32> {
        assert!(n > 0, "an empty sample has no resample");
        let per_word = indices_per_word(n);
        let stream = *self;
        (0u32..).flat_map(move |block| words64(stream.block(block, resample))).flat_map(move |word| {
            let mut rest = word;
            (0..per_word).map(move |_| next_index(&mut rest, n))
        })
    }

    /// Words r0 to r3 of successive blocks of one resample.
    fn words32(&self, resample: u32) -> impl Iterator<Item = u32> {
        let stream = *self;
        (0u32..).flat_map(move |block| stream.block(block, resample))
    }

    /// A uniformly chosen subset of `size` of the numbers `0..n`, ascending. All of them when
    /// `size >= n`.
    pub fn subset(&self, n: u32, size: u32, resample: u32) -> Vec<u32> {
        let mut needed = size.min(n);
        let mut chosen = Vec::with_capacity(needed as usize);
        for (i, word) in (0..n).zip(self.words32(resample)) {
            if (u64::from(word) * u64::from(n - i)) >> 32 < u64::from(needed) {
                chosen.push(i);
                needed -= 1;
            }
        }
        chosen
    }

    /// A uniformly chosen order of the numbers `0..n` (Fisher-Yates, ascending position).
    pub fn shuffle(&self, n: u32, resample: u32) -> Vec<u32> {
        let mut order: Vec<u32> = (0..n).collect();
        for (i, word) in (0..n).zip(self.words32(resample)) {
            let j = u64::from(i) + ((u64::from(word) * u64::from(n - i)) >> 32);
            order.swap(i as usize, j as usize);
        }
        order
    }

    /// Words of random signs: the sign of element `i` is bit `i % 32` of word `i / 32`.
    pub fn sign_words(&self, words: usize, resample: u32) -> Vec<u32> {
        self.words32(resample).take(words).collect()
    }
}

/// The Philox4x32 bijection with 10 rounds.
pub fn philox4x32_10(counter: [u32; 4], key: [u32; 2]) -> [u32; 4] {
    let [mut c0, mut c1, mut c2, mut c3] = counter;
    let [mut k0, mut k1] = key;
    for _ in 0..ROUNDS {
        let p0 = u64::from(MULTIPLIER_0) * u64::from(c0);
        let p1 = u64::from(MULTIPLIER_1) * u64::from(c2);
        (c0, c1, c2, c3) = ((p1 >> 32) as u32 ^ c1 ^ k0, p1 as u32, (p0 >> 32) as u32 ^ c3 ^ k1, p0 as u32);
        k0 = k0.wrapping_add(WEYL_0);
        k1 = k1.wrapping_add(WEYL_1);
    }
    [c0, c1, c2, c3]
}

/// The 64-bit words of a block, in order.
pub fn words64(block: [u32; 4]) -> [u64; 2] {
    let [r0, r1, r2, r3] = block.map(u64::from);
    [r1 << 32 | r0, r3 << 32 | r2]
}

/// A uniform number in `[0, 1)` with 53 random bits.
pub fn uniform(word: u64) -> f64 {
    (word >> 11) as f64 * (0.5f64).powi(53)
}

/// How many indices below `n` one 64-bit word yields: the largest K in 1..=8 with n^K <= 2^40.
///
/// The joint relative bias of K indices is then at most 2^-24 (Brackett-Rozinsky & Lemire 2024),
/// and no draw is rejected.
pub fn indices_per_word(n: u32) -> u32 {
    let mut count = 1;
    let mut power = u128::from(n);
    while count < 8 {
        power *= u128::from(n);
        if power > 1 << 40 {
            break;
        }
        count += 1;
    }
    count
}

/// Takes one index in `0..n` from a word and leaves the rest of its randomness in it.
pub(crate) fn next_index(word: &mut u64, n: u32) -> u32 {
    let product = u128::from(*word) * u128::from(n);
    *word = product as u64;
    (product >> 64) as u32
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stream(tag: Tag) -> Stream {
        Stream { seed: 0x0123_4567_89ab_cdef, stream: 0, tag, sub: 0 }
    }

    #[test]
    fn philox_gives_the_published_answers() {
        let cases = [
            ([0; 4], [0; 2], [0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8]),
            ([u32::MAX; 4], [u32::MAX; 2], [0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd]),
            (
                [0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344],
                [0xa4093822, 0x299f31d0],
                [0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1],
            ),
        ];
        for (counter, key, expected) in cases {
            assert_eq!(philox4x32_10(counter, key), expected);
        }
    }

    #[test]
    fn bootstrap_indices_follow_the_contract() {
        let cases: [(u32, [u32; 10]); 5] = [
            (10, [0, 7, 2, 0, 9, 3, 5, 3, 1, 3]),
            (100, [7, 20, 93, 53, 42, 88, 13, 54, 9, 43]),
            (1000, [72, 93, 534, 288, 135, 409, 432, 87, 143, 212]),
            (5000, [360, 2338, 1786, 677, 235, 4010, 716, 316, 3526, 4570]),
            (100_000, [7209, 35342, 13540, 94320, 14321, 26682, 91403, 89567, 672, 43495]),
        ];
        for (n, expected) in cases {
            let drawn: Vec<u32> = stream(Tag::Bootstrap).indices(n, 7).take(10).collect();
            assert_eq!(drawn, expected, "n = {n}");
        }
    }

    #[test]
    fn subset_shuffle_and_signs_follow_the_contract() {
        assert_eq!(stream(Tag::Subset).subset(20, 8, 7), [1, 2, 4, 5, 9, 12, 14, 18]);
        assert_eq!(stream(Tag::Shuffle).shuffle(12, 7), [11, 9, 4, 3, 7, 2, 1, 6, 0, 8, 10, 5]);
        assert_eq!(stream(Tag::Signs).sign_words(1, 7), [0x5965_ea4d]);
    }

    #[test]
    fn a_word_yields_as_many_indices_as_forty_bits_hold() {
        for (n, expected) in [(1, 8), (32, 8), (33, 7), (1024, 4), (1025, 3), (1 << 20, 2), (u32::MAX, 1)] {
            assert_eq!(indices_per_word(n), expected, "n = {n}");
        }
    }

    #[test]
    fn uniform_stays_below_one() {
        assert_eq!(uniform(0), 0.0);
        assert!(uniform(u64::MAX) < 1.0);
    }

    #[test]
    fn subsets_of_extreme_sizes_are_complete() {
        assert_eq!(stream(Tag::Subset).subset(5, 9, 0), [0, 1, 2, 3, 4]);
        assert!(stream(Tag::Subset).subset(5, 0, 0).is_empty());
        assert!(stream(Tag::Shuffle).shuffle(0, 0).is_empty());
    }
}
