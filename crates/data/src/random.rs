//! SplitMix64 (Steele et al. 2014): a small generator for texts and orders; the same numbers everywhere and for ever.

fn mix(z: u64) -> u64 {
    let z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// The state of a generator.
#[derive(Clone)]
pub(crate) struct Random(u64);

impl Random {
    pub(crate) fn new(seed: u64, stream: u64) -> Random {
        let mut r = Random(seed ^ stream.wrapping_mul(0xd134_2543_de82_ef95));
        r.next();
        r
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        mix(self.0)
    }

    /// A number below `n`.
    pub(crate) fn below(&mut self, n: usize) -> usize {
        (u128::from(self.next()) * n as u128 >> 64) as usize
    }

    /// One of some things.
    pub(crate) fn pick<'a, T: ?Sized>(&mut self, from: &[&'a T]) -> &'a T {
        from[self.below(from.len())]
    }

    /// Whether something of probability `percent` happens.
    pub(crate) fn chance(&mut self, percent: usize) -> bool {
        self.below(100) < percent
    }
}

/// An order of `0..n` that a seed and a stream decide, place by place without a list of it: a Feistel network of as many bits as `n` has,
/// walked until it falls within (Black and Rogaway 2002, "Ciphers with arbitrary finite domains").
#[derive(Clone)]
pub(crate) struct Permutation {
    n: u64,
    half: u32,
    keys: [u64; 6],
}

impl Permutation {
    pub(crate) fn new(n: u64, seed: u64, stream: u64) -> Permutation {
        let half = (u64::BITS - n.saturating_sub(1).leading_zeros()).div_ceil(2).max(1);
        let mut random = Random::new(seed, stream);
        Permutation { n, half, keys: std::array::from_fn(|_| random.next()) }
    }

    /// What comes at place `i < n`.
    pub(crate) fn at(&self, i: u64) -> u64 {
        let mask = (1u64 << self.half) - 1;
        let mut x = i;
        loop {
            let (mut left, mut right) = (x >> self.half, x & mask);
            for key in self.keys {
                (left, right) = (right, left ^ (mix(right.wrapping_add(key)) & mask));
            }
            x = left << self.half | right;
            if x < self.n {
                return x;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_order_has_everything_once_and_looks_like_none() {
        for n in [1, 2, 3, 10, 64, 65, 1000] {
            let p = Permutation::new(n, 7, 3);
            let mut all: Vec<u64> = (0..n).map(|i| p.at(i)).collect();
            let stay = all.iter().enumerate().filter(|(i, x)| *i as u64 == **x).count();
            assert!(n < 64 || stay < 9, "{stay} of {n} stay where they are");
            all.sort_unstable();
            assert!(all.into_iter().eq(0..n));
        }
        let order =
            |seed, stream| (0..50).map(|i| Permutation::new(50, seed, stream).at(i)).collect::<Vec<_>>();
        assert!(order(1, 1) == order(1, 1) && order(1, 1) != order(2, 1) && order(1, 1) != order(1, 2));
    }
}
