//! Gated linear units over rows `[gate | values]` of `2·width`: SwiGLU `silu(gate) ∘ values`, GeGLU `gelu_tanh(gate) ∘ values`.
//!
//! Backward: `dgate = dy·values·f'(gate)`, `dvalues = dy·f(gate)`. Shazeer 2020.

use crate::kernels::gelu::tanh_form;
use crate::kernels::matrix::Element;
use crate::kernels::pool;
use crate::kernels::reduce;
use crate::kernels::silu;
use crate::kernels::vector::vectorised;

macro_rules! gated {
    ($forward:ident, $backward:ident, $forward_rows:ident, $backward_rows:ident, $($form:ident)::+, $name:literal) => {
        #[doc = concat!($name, " of rows of `2·width` into rows of `width`.")]
        ///
        /// # Panics
        /// If the lengths do not fit.
        pub fn $forward<E: Element>(x: &[E], width: usize, y: &mut [E]) {
            assert_eq!(x.len(), 2 * y.len(), concat!($name, ": {} numbers into {}"), x.len(), y.len());
            let each = reduce::block_rows(y.len() / width.max(1)) * width.max(1);
            pool::chunks(y, each, |i, y| $forward_rows(&x[2 * i * each..][..2 * y.len()], width, y));
        }

        vectorised! {
            fn $forward_rows[E: Element](x: &[E], width: usize, y: &mut [E]) {
                for (x, y) in x.chunks_exact(2 * width).zip(y.chunks_exact_mut(width)) {
                    let (gate, values) = x.split_at(width);
                    for i in 0..width {
                        y[i] = E::from_f32($($form)::+::<FUSED>(gate[i].to_f32()).0 * values[i].to_f32());
                    }
                }
            }
        }

        #[doc = concat!("The gradient of ", $name, ": rows of `2·width`.")]
        ///
        /// # Panics
        /// If the lengths do not fit.
        pub fn $backward<E: Element>(x: &[E], width: usize, dy: &[E], dx: &mut [E]) {
            assert!(x.len() == dx.len() && dx.len() == 2 * dy.len(), concat!($name, " backward: lengths differ"));
            let each = reduce::block_rows(dy.len() / width.max(1)) * width.max(1);
            pool::chunks(dx, 2 * each, |i, dx| {
                let (x, dy) = (&x[2 * i * each..][..dx.len()], &dy[i * each..][..dx.len() / 2]);
                $backward_rows(x, width, dy, dx);
            });
        }

        vectorised! {
            fn $backward_rows[E: Element](x: &[E], width: usize, dy: &[E], dx: &mut [E]) {
                let rows = x.chunks_exact(2 * width).zip(dy.chunks_exact(width)).zip(dx.chunks_exact_mut(2 * width));
                for ((x, dy), dx) in rows {
                    let (gate, values) = x.split_at(width);
                    let (dgate, dvalues) = dx.split_at_mut(width);
                    for i in 0..width {
                        let (f, slope) = $($form)::+::<FUSED>(gate[i].to_f32());
                        let d = dy[i].to_f32();
                        dgate[i] = E::from_f32(d * values[i].to_f32() * slope);
                        dvalues[i] = E::from_f32(d * f);
                    }
                }
            }
        }
    };
}

gated!(swiglu, swiglu_backward, swiglu_rows, swiglu_backward_rows, silu::form, "SwiGLU");
gated!(geglu, geglu_backward, geglu_rows, geglu_backward_rows, tanh_form, "GeGLU");
