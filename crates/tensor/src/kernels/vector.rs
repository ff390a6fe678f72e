//! Vector instructions for plain loops: a kernel is written once, without intrinsics, and compiled for every level.
//!
//! Sums run in sixteen lanes in a fixed order at every level; `FUSED` says inside a body whether the level multiplies and adds in one
//! rounding. What needs instructions that a compiler does not find by itself, the matrix product and attention, has loops
//! of its own.

/// Lanes of a sum, at every level.
pub(crate) const LANES: usize = 16;

/// Defines a function whose body is compiled for each level and chosen at run time.
macro_rules! vectorised {
    ($(#[$meta:meta])* $vis:vis fn $name:ident $([$($g:ident : $bound:path),*])? ($($arg:ident : $ty:ty),* $(,)?)
        $(-> $ret:ty)? $body:block) => {
        $(#[$meta])*
        #[allow(clippy::too_many_arguments, reason = "kernels take slices, not structures")]
        $vis fn $name $(<$($g: $bound),*>)? ($($arg: $ty),*) $(-> $ret)? {
            #[inline(always)]
            #[allow(clippy::too_many_arguments, reason = "as above")]
            fn body<const FUSED: bool $(, $($g: $bound),*)?> ($($arg: $ty),*) $(-> $ret)? $body
            #[cfg(target_arch = "x86_64")]
            {
                #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,fma")]
                #[allow(clippy::too_many_arguments, reason = "as above")]
                fn wide $(<$($g: $bound),*>)? ($($arg: $ty),*) $(-> $ret)? { body::<true $(, $($g),*)?>($($arg),*) }
                #[target_feature(enable = "avx2,fma")]
                #[allow(clippy::too_many_arguments, reason = "as above")]
                fn narrow $(<$($g: $bound),*>)? ($($arg: $ty),*) $(-> $ret)? { body::<true $(, $($g),*)?>($($arg),*) }
                use $crate::kernels::level::{Level, level};
                match level() {
                    // SAFETY: the level says that the processor has AVX-512.
                    Level::Avx512Bf16 | Level::Avx512 => return unsafe { wide($($arg),*) },
                    // SAFETY: the level says that the processor has AVX2.
                    Level::Avx2 => return unsafe { narrow($($arg),*) },
                    _ => {}
                }
            }
            body::<false $(, $($g),*)?>($($arg),*)
        }
    };
}
pub(crate) use vectorised;

/// `Σ f(i)` for `i < n`: sixteen interleaved sums, then the tail, then the lanes pairwise.
#[inline(always)]
pub(crate) fn sum(n: usize, f: impl Fn(usize) -> f32) -> f32 {
    let mut lanes = [0f32; LANES];
    let whole = n - n % LANES;
    for i in (0..whole).step_by(LANES) {
        for (j, l) in lanes.iter_mut().enumerate() {
            *l += f(i + j);
        }
    }
    for (j, l) in lanes.iter_mut().enumerate().take(n - whole) {
        *l += f(whole + j);
    }
    fold(lanes)
}

/// The lanes added pairwise.
#[inline(always)]
pub(crate) fn fold(mut lanes: [f32; LANES]) -> f32 {
    let mut n = LANES / 2;
    while n > 0 {
        for j in 0..n {
            lanes[j] += lanes[j + n];
        }
        n /= 2;
    }
    lanes[0]
}

/// The largest of some numbers (`-∞` of none); NaN is passed over.
#[inline(always)]
pub(crate) fn max(x: &[f32]) -> f32 {
    let mut lanes = [f32::NEG_INFINITY; LANES];
    let chunks = x.chunks_exact(LANES);
    let tail = chunks.remainder();
    for c in chunks {
        for (l, &v) in lanes.iter_mut().zip(c) {
            *l = if v > *l { v } else { *l };
        }
    }
    for (l, &v) in lanes.iter_mut().zip(tail) {
        *l = if v > *l { v } else { *l };
    }
    lanes.iter().fold(f32::NEG_INFINITY, |m, &v| if v > m { v } else { m })
}
