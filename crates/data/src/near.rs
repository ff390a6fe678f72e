//! Near duplicates: MinHash over shingles of five words, candidates by locality-sensitive hashing.
//!
//! Broder 1997; one permutation for all minima, Li et al. 2012, with the empty bins filled by their neighbours (Shrivastava and Li
//! 2014). A word is a run of letters and digits in lower case, or one Chinese character. About 600 bytes a document: 256 of minima, the rest in the table of bands.

use rustc_hash::FxHashMap;

/// Minima of a sketch.
const BINS: usize = 128;
/// Minima of a band: with 16 bands a pair of likeness 0.8 meets with a probability of 0.95, one of 0.5 with 0.06.
const ROWS: usize = 8;
/// Words of a shingle.
const SHINGLE: usize = 5;
/// Fewer shingles say too little.
const FEWEST: usize = 16;

/// The minima of a text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sketch {
    minima: Box<[u16; BINS]>,
    bands: [u64; BINS / ROWS],
}

fn mix(mut h: u64) -> u64 {
    h = (h ^ (h >> 33)).wrapping_mul(0xff51_afd7_ed55_8ccd);
    h = (h ^ (h >> 33)).wrapping_mul(0xc4ce_b9fe_1a85_ec53);
    h ^ (h >> 33)
}

/// Calls `each` with a hash of every word.
fn words(text: &str, mut each: impl FnMut(u64)) {
    const PRIME: u64 = 0x9e37_79b9_7f4a_7c15;
    let mut word = 0u64;
    for c in text.chars() {
        let letter = if c.is_ascii() { c.is_ascii_alphanumeric() } else { c.is_alphanumeric() };
        let alone =
            matches!(c, '\u{3040}'..='\u{30ff}' | '\u{3400}'..='\u{9fff}' | '\u{20000}'..='\u{3ffff}');
        if (!letter || alone) && word != 0 {
            each(mix(word));
            word = 0;
        }
        if alone {
            each(mix(c as u64 ^ PRIME));
        } else if letter {
            let c = if c.is_ascii() { c.to_ascii_lowercase() } else { c.to_lowercase().next().unwrap_or(c) };
            word = (word ^ c as u64).wrapping_mul(PRIME).rotate_left(23) | 1;
        }
    }
    if word != 0 {
        each(mix(word));
    }
}

/// The sketch of a text; `None` if it is too short to be compared.
pub fn sketch(text: &str) -> Option<Sketch> {
    const BASE: u64 = 0x0000_0100_0000_01b3;
    let last = BASE.wrapping_pow(SHINGLE as u32 - 1);
    let (mut window, mut at, mut count, mut sum) = ([0u64; SHINGLE], 0, 0usize, 0u64);
    let mut minima = [u32::MAX; BINS];
    words(text, |w| {
        sum = sum.wrapping_sub(window[at].wrapping_mul(last)).wrapping_mul(BASE).wrapping_add(w);
        window[at] = w;
        at = (at + 1) % SHINGLE;
        count += 1;
        if count >= SHINGLE {
            let h = mix(sum);
            let bin = (h >> 57) as usize;
            minima[bin] = minima[bin].min(h as u32);
        }
    });
    if count < SHINGLE + FEWEST - 1 {
        return None;
    }
    let filled = minima;
    for (bin, m) in minima.iter_mut().enumerate().filter(|(_, m)| **m == u32::MAX) {
        let lender = (1..BINS).find(|d| filled[(bin + d) % BINS] != u32::MAX)?;
        *m = filled[(bin + lender) % BINS].wrapping_add((lender as u32).wrapping_mul(0x9e37_79b9));
    }
    let minima: Box<[u16; BINS]> =
        Box::new(std::array::from_fn(|i| (mix(u64::from(minima[i])) >> 48) as u16));
    let bands = std::array::from_fn(|b| {
        let rows = minima[b * ROWS..(b + 1) * ROWS].iter();
        rows.fold(b as u64 + 1, |h, m| mix(h ^ u64::from(*m)).wrapping_add(1))
    });
    Some(Sketch { minima, bands })
}

impl Sketch {
    /// An estimate of the share of shingles that two texts have in common, 0 to 1.
    pub fn likeness(&self, other: &[u16; BINS]) -> f64 {
        let same = self.minima.iter().zip(other).filter(|(a, b)| a == b).count();
        same as f64 / BINS as f64
    }
}

/// The texts that were kept, to compare new ones with.
pub struct Index {
    threshold: f64,
    /// The first text of each band.
    bands: FxHashMap<u64, u32>,
    minima: Vec<[u16; BINS]>,
}

impl Index {
    /// An index that finds texts of at least this likeness, 0.5 to 1.
    pub fn new(threshold: f64) -> Index {
        Index { threshold, bands: FxHashMap::default(), minima: Vec::new() }
    }

    /// Whether a text is near one that was added; adds it if not.
    pub fn add(&mut self, sketch: Sketch) -> bool {
        let mut candidates: Vec<u32> =
            sketch.bands.iter().filter_map(|b| self.bands.get(b).copied()).collect();
        candidates.sort_unstable();
        candidates.dedup();
        if candidates.iter().any(|c| sketch.likeness(&self.minima[*c as usize]) >= self.threshold) {
            return true;
        }
        let id = self.minima.len() as u32;
        for b in sketch.bands {
            self.bands.entry(b).or_insert(id);
        }
        self.minima.push(*sketch.minima);
        false
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(seed: u64, n: usize) -> Vec<String> {
        (0..n as u64).map(|i| format!("w{}", mix(seed * 1_000_000 + i) % 5000)).collect()
    }

    #[test]
    fn likeness_is_near_the_share_of_common_shingles() {
        let a = text(1, 2000);
        for changed in [0usize, 100, 400, 1000] {
            let mut b = a.clone();
            b.splice(..changed, text(2, changed));
            let (x, y) = (sketch(&a.join(" ")).unwrap(), sketch(&b.join(" ")).unwrap());
            let common = (2000 - changed) as f64;
            let true_likeness = common / (4000.0 - common);
            let estimate = x.likeness(&y.minima);
            // Three standard deviations of 128 draws.
            let error = 3.0 * (true_likeness * (1.0 - true_likeness) / 128.0).sqrt() + 0.03;
            assert!((estimate - true_likeness).abs() <= error, "{changed}: {estimate} for {true_likeness}");
        }
    }

    #[test]
    fn near_texts_are_found_and_others_kept() {
        let mut index = Index::new(0.7);
        let base = text(3, 300);
        assert!(!index.add(sketch(&base.join(" ")).unwrap()));
        let mut near = base.clone();
        near[150] = "changed".into();
        assert!(index.add(sketch(&near.join(", ").to_uppercase()).unwrap()));
        assert!((0..50).all(|s| !index.add(sketch(&text(100 + s, 300).join(" ")).unwrap())));
        assert!(sketch("too short to say").is_none());
        let zh = "话说天下大势分久必合合久必分周末七国分争并入于秦及秦灭之后楚汉分争又并入于汉";
        assert!(!index.add(sketch(zh).unwrap()));
        assert!(index.add(sketch(&format!("{zh}。")).unwrap()));
    }
}
