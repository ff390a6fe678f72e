//! Which vector instructions this process uses: detected once, lowered by `PUPIL_SIMD`.
//!
//! Results agree between levels within stated tolerances, not bit for bit; at one level they are the same bits for
//! any number of threads.

use std::fmt;
use std::str::FromStr;
use std::sync::atomic::{AtomicU8, Ordering};

/// Counts the changes of kernels that change bits. It stands in each checkpoint; the golden run of `train` fails where it was forgotten.
pub const REVISION: u32 = 1;

/// A set of vector instructions, from plain Rust upwards.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Level {
    /// No intrinsics; any processor.
    Portable = 1,
    /// 128-bit Arm vectors (any aarch64 processor).
    Neon = 2,
    /// 256-bit AVX2 and FMA (Haswell, Zen 1 and later).
    Avx2 = 3,
    /// 512-bit AVX-512 F/BW/DQ/VL (Skylake-X and later).
    Avx512 = 4,
    /// AVX-512 with BF16 and VNNI (Cooper Lake, Sapphire Rapids, Zen 4 and later).
    Avx512Bf16 = 5,
}

impl Level {
    /// Every level, lowest first.
    pub const ALL: [Level; 5] = [Level::Portable, Level::Neon, Level::Avx2, Level::Avx512, Level::Avx512Bf16];

    /// Whether this processor and operating system can run the level.
    pub fn is_available(self) -> bool {
        match self {
            Level::Portable => true,
            Level::Neon => cfg!(target_arch = "aarch64"),
            #[cfg(target_arch = "x86_64")]
            Level::Avx2 => is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma"),
            #[cfg(target_arch = "x86_64")]
            Level::Avx512 => {
                Level::Avx2.is_available()
                    && is_x86_feature_detected!("avx512f")
                    && is_x86_feature_detected!("avx512bw")
                    && is_x86_feature_detected!("avx512dq")
                    && is_x86_feature_detected!("avx512vl")
            }
            #[cfg(target_arch = "x86_64")]
            Level::Avx512Bf16 => {
                Level::Avx512.is_available()
                    && is_x86_feature_detected!("avx512bf16")
                    && is_x86_feature_detected!("avx512vnni")
            }
            #[cfg(not(target_arch = "x86_64"))]
            _ => false,
        }
    }

    /// The levels that this machine can run, lowest first.
    pub fn available() -> impl Iterator<Item = Level> {
        Level::ALL.into_iter().filter(|l| l.is_available())
    }

    /// The name that `PUPIL_SIMD` takes.
    pub fn name(self) -> &'static str {
        match self {
            Level::Portable => "portable",
            Level::Neon => "neon",
            Level::Avx2 => "avx2",
            Level::Avx512 => "avx512",
            Level::Avx512Bf16 => "avx512bf16",
        }
    }
}

impl fmt::Display for Level {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Level {
    type Err = String;

    fn from_str(s: &str) -> Result<Level, String> {
        Level::ALL.into_iter().find(|l| l.name() == s).ok_or_else(|| {
            format!("unknown SIMD level `{s}`: expected portable, neon, avx2, avx512 or avx512bf16")
        })
    }
}

static CURRENT: AtomicU8 = AtomicU8::new(0);

/// The level in force: the best available one, or the one `PUPIL_SIMD` names, or the one last forced.
///
/// # Panics
/// If `PUPIL_SIMD` names an unknown level or one that this machine lacks ([`check_environment`] tells first).
pub fn level() -> Level {
    match CURRENT.load(Ordering::Relaxed) {
        0 => {
            let l = check_environment().unwrap_or_else(|e| panic!("{e}"));
            CURRENT.store(l as u8, Ordering::Relaxed);
            l
        }
        n => Level::ALL[n as usize - 1],
    }
}

/// Reads `PUPIL_SIMD` and the processor, and says which level they give.
pub fn check_environment() -> Result<Level, String> {
    let best = Level::available().last().unwrap_or(Level::Portable);
    match std::env::var("PUPIL_SIMD") {
        Ok(s) if !s.is_empty() => {
            let l: Level = s.parse().map_err(|e| format!("PUPIL_SIMD: {e}"))?;
            if l.is_available() {
                Ok(l)
            } else {
                Err(format!("PUPIL_SIMD={l}: this processor has no such instructions (best here: {best})"))
            }
        }
        _ => Ok(best),
    }
}

/// Forces a level for the whole process (tests and benches).
///
/// # Panics
/// If the machine lacks it.
pub fn force(l: Level) {
    assert!(l.is_available(), "level {l} is not available on this machine");
    CURRENT.store(l as u8, Ordering::Relaxed);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_round_trip_and_unknown_ones_are_refused() {
        for l in Level::ALL {
            assert_eq!(l.name().parse(), Ok(l));
        }
        assert!("sse9".parse::<Level>().is_err());
    }
}
