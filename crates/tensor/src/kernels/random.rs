//! Random numbers from a counter: the same key and index give the same number, whoever asks and in which order.
//!
//! Philox4x32-10 (Salmon et al. 2011): ten rounds of multiplications turn a 128-bit counter under a 64-bit key into four 32-bit numbers. The
//! key of a [`Key`] is drawn from its seed with stream and step as the counter; numbers `4i .. 4i + 4` come from counter `i`.

use crate::kernels::math;
use crate::kernels::pool;
use crate::kernels::vector::vectorised;

/// Which sequence of numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Key {
    /// Of the whole run.
    pub seed: u64,
    /// What the numbers are for.
    pub stream: u64,
    /// When.
    pub step: u64,
}

impl Key {
    fn words(self) -> [u32; 2] {
        let counter =
            [self.stream as u32, (self.stream >> 32) as u32, self.step as u32, (self.step >> 32) as u32];
        let x = philox(counter, [self.seed as u32, (self.seed >> 32) as u32]);
        [x[0], x[1]]
    }

    /// The four numbers of counter `index`.
    pub fn draw(self, index: u64) -> [u32; 4] {
        philox([index as u32, (index >> 32) as u32, 0, 0], self.words())
    }

    /// A number in [0, 1): 24 bits.
    pub fn unit(self, index: u64) -> f32 {
        unit(self.draw(index)[0])
    }
}

/// Philox4x32-10.
#[inline(always)]
fn philox(mut c: [u32; 4], mut k: [u32; 2]) -> [u32; 4] {
    for _ in 0..10 {
        let a = u64::from(c[0]) * 0xd251_1f53;
        let b = u64::from(c[2]) * 0xcd9e_8d57;
        c = [(b >> 32) as u32 ^ c[1] ^ k[0], b as u32, (a >> 32) as u32 ^ c[3] ^ k[1], a as u32];
        k = [k[0].wrapping_add(0x9e37_79b9), k[1].wrapping_add(0xbb67_ae85)];
    }
    c
}

#[inline(always)]
fn unit(x: u32) -> f32 {
    (x >> 8) as f32 * f32::powi(2.0, -24)
}

/// Counters done at once, one in each lane.
const BLOCK: usize = 16;
/// Numbers of a task; a multiple of 4·BLOCK.
const CHUNK: usize = 1 << 14;

/// What a draw becomes.
#[derive(Clone, Copy)]
enum Law {
    Uniform,
    Normal { mean: f32, deviation: f32 },
}

/// The two normal numbers that two uniform ones make (Box & Muller 1958).
#[inline(always)]
fn pair<const FUSED: bool>(a: u32, b: u32, mean: f32, deviation: f32) -> [f32; 2] {
    // (0, 1], so that the logarithm is finite.
    let radius = (-2.0 * math::ln::<FUSED>(unit(a) + f32::powi(2.0, -24))).max(0.0).sqrt() * deviation;
    let [cos, sin] = math::circle::<FUSED>(unit(b));
    [mean + radius * cos, mean + radius * sin]
}

/// Fills with the numbers of counters from `first` on, 16 counters at a time, one in each lane: number `4i + j` is the `j`-th of counter `i`.
#[inline(always)]
#[allow(clippy::needless_range_loop, reason = "lanes side by side, as the vectoriser wants them")]
fn fill<const FUSED: bool>(key: [u32; 2], first: u64, to: &mut [f32], law: Law) {
    for (b, chunk) in to.chunks_mut(4 * BLOCK).enumerate() {
        let begin = first + (b * BLOCK) as u64;
        let mut words = [[0u32; BLOCK]; 4];
        for lane in 0..BLOCK {
            let i = begin + lane as u64;
            let x = philox([i as u32, (i >> 32) as u32, 0, 0], key);
            for j in 0..4 {
                words[j][lane] = x[j];
            }
        }
        let mut numbers = [[0f32; BLOCK]; 4];
        match law {
            Law::Uniform => {
                for j in 0..4 {
                    for lane in 0..BLOCK {
                        numbers[j][lane] = unit(words[j][lane]);
                    }
                }
            }
            Law::Normal { mean, deviation } => {
                for j in [0, 2] {
                    for lane in 0..BLOCK {
                        let [x, y] = pair::<FUSED>(words[j][lane], words[j + 1][lane], mean, deviation);
                        numbers[j][lane] = x;
                        numbers[j + 1][lane] = y;
                    }
                }
            }
        }
        for (i, to) in chunk.iter_mut().enumerate() {
            *to = numbers[i % 4][i / 4];
        }
    }
}

/// Fills with numbers from the normal distribution.
pub fn normal(key: Key, mean: f32, deviation: f32, to: &mut [f32]) {
    of_law(key, Law::Normal { mean, deviation }, to);
}

/// Fills with numbers from [0, 1).
pub fn uniform(key: Key, to: &mut [f32]) {
    of_law(key, Law::Uniform, to);
}

fn of_law(key: Key, law: Law, to: &mut [f32]) {
    let words = key.words();
    pool::chunks(to, CHUNK, |i, to| law_chunk(words, (i * CHUNK / 4) as u64, to, law));
}

vectorised! {
    fn law_chunk(key: [u32; 2], first: u64, to: &mut [f32], law: Law) {
        fill::<FUSED>(key, first, to, law);
    }
}

/// Fills with whole numbers below `n`; the bias is at most n / 2³².
pub fn below(key: Key, n: u32, to: &mut [u32]) {
    let words = key.words();
    for (i, to) in to.chunks_mut(4).enumerate() {
        let x = philox([i as u32, (i as u64 >> 32) as u32, 0, 0], words);
        to.iter_mut().zip(x).for_each(|(t, x)| *t = (u64::from(x) * u64::from(n) >> 32) as u32);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn philox_gives_the_known_answers() {
        // The test vectors published with the generator.
        assert_eq!(philox([0; 4], [0; 2]), [0x6627_e8d5, 0xe169_c58d, 0xbc57_ac4c, 0x9b00_dbd8]);
        assert_eq!(
            philox([u32::MAX; 4], [u32::MAX; 2]),
            [0x408f_276d, 0x41c8_3b0e, 0xa20b_c7c6, 0x6d54_51fd]
        );
        let (c, k) = ([0x243f_6a88, 0x85a3_08d3, 0x1319_8a2e, 0x0370_7344], [0xa409_3822, 0x299f_31d0]);
        assert_eq!(philox(c, k), [0xd16c_fe09, 0x94fd_cceb, 0x5001_e420, 0x2412_6ea1]);
    }

    #[test]
    fn moments_are_those_of_the_distributions() {
        // With n = 10⁶ the mean of the normal is off by more than 5/1000 with probability below 1e-6.
        let key = Key { seed: 1, stream: 2, step: 3 };
        let mut x = vec![0.0; 1_000_001];
        normal(key, 0.0, 1.0, &mut x);
        let n = x.len() as f64;
        let moment = |k: i32| x.iter().map(|&v| f64::from(v).powi(k)).sum::<f64>() / n;
        assert!(moment(1).abs() < 5e-3 && (moment(2) - 1.0).abs() < 7e-3 && (moment(4) - 3.0).abs() < 0.05);
        uniform(key, &mut x);
        assert!(x.iter().all(|&v| (0.0..1.0).contains(&v)));
        let mean = x.iter().map(|&v| f64::from(v)).sum::<f64>() / n;
        assert!((mean - 0.5).abs() < 1.5e-3);
    }

    #[test]
    fn a_number_depends_on_key_and_index_alone() {
        let key = Key { seed: 5, stream: 0, step: 9 };
        let (mut long, mut short) = (vec![0.0; 40_000], vec![0.0; 17]);
        uniform(key, &mut long);
        uniform(key, &mut short);
        assert_eq!(long[..17], short);
        assert_eq!(long[4 * 5000], key.unit(5000));
        crate::kernels::pool::with_threads(3, || uniform(key, &mut short));
        assert_eq!(long[..17], short);
        let mut other = vec![0.0; 17];
        uniform(Key { step: 10, ..key }, &mut other);
        assert_ne!(short, other);
        let mut ids = [0; 1000];
        below(key, 7, &mut ids);
        assert!((0..7).all(|v| ids.contains(&v)) && ids.iter().all(|&v| v < 7));
    }
}
