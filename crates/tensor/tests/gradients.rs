//! Every operation's backward against central differences of its forward, in f32.
//!
//! Inputs enter as rows of an embedding, so their gradients are those of a parameter. The loss is a fixed weighted sum of the result.
#![allow(clippy::unwrap_used, reason = "helpers of tests")]

use std::rc::Rc;

use pupil_tensor::kernels::attention::{Options, Shape, Span};
use pupil_tensor::kernels::random::{Key, normal};
use pupil_tensor::kernels::rope::{Pairing, RopeScaling, RopeTable};
use pupil_tensor::{
    Activation, Attentive, Cell, CrossEntropy, DType, Graph, Indices, Norm, ParameterId, Parameters,
    Recurrence, Role, State, Tape, Tensor,
};

const T: usize = 7;

fn numbers(stream: u64, n: usize) -> Vec<f32> {
    let mut v = vec![0.0; n];
    normal(Key { seed: 9, stream, step: 0 }, 0.0, 0.7, &mut v);
    v
}

/// Parameters of the given shapes; the first is the input `[T, width]`.
fn parameters(shapes: &[[usize; 2]]) -> (Parameters, Vec<ParameterId>) {
    let mut p = Parameters::new();
    let ids: Vec<_> =
        shapes.iter().enumerate().map(|(i, s)| p.add(format!("p{i}"), *s, Role::Matrix)).collect();
    for (i, id) in ids.iter().enumerate() {
        let n = shapes[i][0] * shapes[i][1];
        // No number near 0, where ReLU has its kink.
        let values = numbers(i as u64, n).into_iter().map(|x| x + 0.1f32.copysign(x));
        p.data_mut(*id).copy_from_slice(&values.collect::<Vec<_>>());
    }
    (p, ids)
}

fn input(g: &mut Graph<'_>, id: ParameterId) -> Tensor {
    let rows: Vec<u32> = (0..T as u32).collect();
    g.embedding(id, &Indices::new(&rows), 1.0)
}

type Forward<'a> = &'a dyn Fn(&mut Graph<'_>, &[ParameterId]) -> Tensor;

const RANDOMNESS: Key = Key { seed: 4, stream: 0, step: 2 };

/// The largest difference between the tape's gradients and central differences, as a share of the largest gradient of a parameter.
fn worst(shapes: &[[usize; 2]], spoil: f32, f: Forward<'_>) -> f64 {
    let (mut p, ids) = parameters(shapes);
    let loss = |p: &Parameters| -> f64 {
        let mut tape = Tape::new(p);
        let mut g = Graph::training(p, DType::F32, &mut tape, Some(RANDOMNESS));
        let out = f(&mut g, &ids);
        let weights = numbers(77, out.rows() * out.cols());
        out.to_vec().iter().zip(&weights).map(|(o, w)| f64::from(*o) * f64::from(*w)).sum()
    };
    let mut tape = Tape::new(&p);
    let mut g = Graph::training(&p, DType::F32, &mut tape, Some(RANDOMNESS));
    let out = f(&mut g, &ids);
    let weights = numbers(77, out.rows() * out.cols());
    tape.seed(&out, Tensor::from_f32(&weights, out.rows(), out.cols(), DType::F32));
    drop(out);
    tape.backward(&p);
    let mut worst = 0f64;
    for &id in &ids {
        let analytic = tape.gradients().get(id).to_vec();
        let size = analytic.iter().fold(1e-3f64, |m, x| m.max(f64::from(x.abs())));
        for (i, a) in analytic.iter().enumerate() {
            let x = p.get(id).data()[i];
            let h = 1.0 / 128.0;
            p.data_mut(id)[i] = x + h;
            let up = loss(&p);
            p.data_mut(id)[i] = x - h;
            let down = loss(&p);
            p.data_mut(id)[i] = x;
            let numeric = (up - down) / f64::from(2.0 * h);
            worst = worst.max((numeric - f64::from(a * (1.0 + spoil))).abs() / size);
        }
    }
    worst
}

/// Rounding of an f32 forward pass over 2h, and h² times a third derivative of size one.
const BOUND: f64 = 2e-3;

fn check(name: &str, shapes: &[[usize; 2]], f: Forward<'_>) {
    let w = worst(shapes, 0.0, f);
    assert!(w < BOUND, "{name}: {w:e}");
}

fn spans() -> Rc<Vec<Span>> {
    Rc::new([0..4, 4..7].map(|r| Span { queries: r.clone(), keys: r }).to_vec())
}

#[test]
fn n01_linear_with_bias_and_residual() {
    check("linear", &[[T, 5], [6, 5], [1, 6]], &|g, p| {
        let x = input(g, p[0]);
        g.linear(&x, p[1], Some(p[2]))
    });
    check("residual", &[[T, 5], [5, 5], [1, 5]], &|g, p| {
        let x = input(g, p[0]);
        g.linear_residual(&x, p[1], Some(p[2]), &x)
    });
    check("a weight used twice", &[[T, 5], [5, 5]], &|g, p| {
        let x = input(g, p[0]);
        let y = g.linear(&x, p[1], None);
        g.linear_residual(&y, p[1], None, &x)
    });
}

#[test]
fn n01_norms() {
    for width in [5, 40] {
        let shapes = [[T, width], [1, width], [1, width]];
        check("layer norm", &shapes, &|g, p| {
            let x = input(g, p[0]);
            g.norm(&x, Norm::Layer { eps: 1e-5 }, p[1], Some(p[2]), DType::F32)
        });
        check("layer norm without bias", &shapes[..2], &|g, p| {
            let x = input(g, p[0]);
            g.norm(&x, Norm::Layer { eps: 1e-5 }, p[1], None, DType::F32)
        });
        for offset in [0.0, 1.0] {
            check("rms norm", &shapes[..2], &|g, p| {
                let x = input(g, p[0]);
                g.norm(&x, Norm::Rms { eps: 1e-5, offset }, p[1], None, DType::F32)
            });
        }
        check("a norm beside its input", &shapes[..2], &|g, p| {
            let x = input(g, p[0]);
            let y = g.norm(&x, Norm::Rms { eps: 1e-5, offset: 0.0 }, p[1], None, DType::F32);
            g.add(&x, &y)
        });
    }
    check("norms of heads", &[[T, 20], [1, 5], [1, 5]], &|g, p| {
        let x = input(g, p[0]);
        g.head_norm(x, Norm::Rms { eps: 1e-5, offset: 0.0 }, [p[1], p[2]], [2, 1], 5)
    });
}

#[test]
fn n01_rotary_positions() {
    let table = Rc::new(RopeTable::new(16, 4, 100.0, RopeScaling::None));
    for pairing in [Pairing::Halves, Pairing::Interleaved] {
        check("rope", &[[T, 18]], &|g, p| {
            let x = input(g, p[0]);
            let positions = Indices::new(&[0, 1, 2, 3, 0, 1, 9]);
            g.rope(x, &table, &positions, 2, 6, pairing)
        });
    }
}

#[test]
fn n01_attention() {
    let plain = Options { causal: true, window: None, scale: 0.5, softcap: None };
    for options in [
        plain,
        Options { causal: false, ..plain },
        Options { window: Some(2), ..plain },
        Options { softcap: Some(0.8), ..plain },
    ] {
        let shape = Shape { heads: 4, kv_heads: 2, width: 3 };
        check("attention", &[[T, 24]], &|g, p| {
            let x = input(g, p[0]);
            g.attention(&x, &spans(), shape, options)
        });
    }
}

/// Queries of two sequences; the first sees 5 keys, the second none and 3 with a gap between.
#[test]
fn n01_attention_across_two_rows_of_tokens() {
    let plain = Options { causal: false, window: None, scale: 0.5, softcap: None };
    for (options, second) in [(plain, 6..9), (plain, 5..5), (Options { softcap: Some(0.8), ..plain }, 6..9)] {
        let shape = Shape { heads: 4, kv_heads: 2, width: 3 };
        let spans =
            Rc::new([(0..4, 0..5), (4..7, second)].map(|(queries, keys)| Span { queries, keys }).to_vec());
        check("cross-attention", &[[T, 12], [9, 12]], &|g, p| {
            let q = input(g, p[0]);
            let kv = g.embedding(p[1], &Indices::new(&[0, 1, 2, 3, 4, 5, 6, 7, 8]), 1.0);
            g.cross_attention(&q, &kv, &spans, shape, options)
        });
    }
}

/// Sequences of 3 and 2 tokens (fewer than there are, to bound the third derivative); the first reads 4 tokens, the second 2.
#[test]
fn n01_a_decoder_with_additive_attention() {
    let spans = Rc::new([(0..3, 2..6), (4..6, 0..2)].map(|(queries, keys)| Span { queries, keys }).to_vec());
    for (cell, gates) in [(Cell::Elman, 1), (Cell::Lstm, 4), (Cell::Gru, 3)] {
        let (h, a, r) = (3, 4, 2);
        let both = a + gates * h;
        let shapes = [[T, gates * h], [6, both + r], [both, h], [1, both], [1, a], [2, h], [2, h]];
        for part in 0..4 {
            if part == 3 && cell != Cell::Lstm {
                continue;
            }
            check(&format!("attentive {cell:?}, part {part}"), &shapes, &|g, p| {
                let x = input(g, p[0]);
                let source = g.embedding(p[1], &Indices::new(&[0, 1, 2, 3, 4, 5]), 1.0);
                let two = Indices::new(&[0, 1]);
                let first =
                    State { hidden: g.embedding(p[5], &two, 1.0), cell: g.embedding(p[6], &two, 1.0) };
                let attentive = Attentive { cell, weight: p[2], bias: Some(p[3]), score: p[4] };
                let out = g.attentive(attentive, &x, &source, &spans, Some(&first));
                [out.hidden, out.readout, out.last.hidden, out.last.cell].into_iter().nth(part).unwrap()
            });
        }
    }
}

#[test]
fn n01_activations() {
    use Activation::*;
    for kind in [Gelu, GeluTanh, Relu, Relu2, Silu, Tanh, SwiGlu, GeGlu, Maxout] {
        check(&format!("{kind:?}"), &[[T, 6]], &|g, p| {
            let x = input(g, p[0]);
            g.activation(&x, kind)
        });
    }
}

#[test]
fn n01_embeddings_sums_and_dropout() {
    check("embedding", &[[5, 3], [4, 3]], &|g, p| {
        let x = g.embedding(p[0], &Indices::new(&[0, 4, 4, 2]), 1.5);
        g.add_embedding(x, p[1], &Indices::new(&[0, 1, 2, 0]))
    });
    check("add", &[[T, 3]], &|g, p| {
        let x = input(g, p[0]);
        let y = g.add(&x, &x);
        g.add(&y, &x)
    });
    check("dropout", &[[T, 9]], &|g, p| {
        let x = input(g, p[0]);
        g.dropout(x, 0.4)
    });
}

#[test]
fn n01_cross_entropy() {
    for (softcap, smoothing) in [(None, 0.0), (Some(1.5), 0.0), (None, 0.2)] {
        let targets = Indices::new(&[0, 10, 3, 3, 7, 1, 2]);
        let weights = Tensor::from_f32(&[1.0, 0.5, 0.0, 1.0, 2.0, 1.0, 0.0], T, 1, DType::F32);
        let (mut p, ids) = parameters(&[[T, 5], [11, 5], [1, 11]]);
        let options = CrossEntropy { scale: 0.3, softcap, smoothing, bias: Some(ids[2]) };
        let loss = |p: &Parameters| {
            let mut g = Graph::inference(p, DType::F32);
            let x = input(&mut g, ids[0]);
            g.cross_entropy(&x, ids[1], &targets, &weights, options).sum
        };
        let mut tape = Tape::new(&p);
        let mut g = Graph::training(&p, DType::F32, &mut tape, None);
        let x = input(&mut g, ids[0]);
        let here = g.cross_entropy(&x, ids[1], &targets, &weights, options);
        assert!((here.sum - loss(&p)).abs() < 1e-6 && here.weight == 5.5);
        drop(x);
        tape.backward(&p);
        for &id in &ids {
            for i in 0..p.get(id).data().len() {
                let analytic = f64::from(tape.gradients().get(id)[i]);
                let x = p.get(id).data()[i];
                p.data_mut(id)[i] = x + 1.0 / 128.0;
                let up = loss(&p);
                p.data_mut(id)[i] = x - 1.0 / 128.0;
                let down = loss(&p);
                p.data_mut(id)[i] = x;
                let numeric = 0.3 * (up - down) * 64.0;
                assert!((numeric - analytic).abs() < 2e-3, "{softcap:?} {smoothing}: {numeric} {analytic}");
            }
        }
    }
}

#[test]
fn n01_the_check_fails_on_a_wrong_gradient() {
    let f: Forward<'_> = &|g, p| {
        let x = input(g, p[0]);
        g.linear(&x, p[1], None)
    };
    assert!(worst(&[[T, 5], [6, 5]], 0.0, f) < BOUND);
    assert!(worst(&[[T, 5], [6, 5]], 0.01, f) > BOUND);
}

#[test]
fn n01_shapes_that_do_not_fit_name_the_operation_and_both() {
    let (p, ids) = parameters(&[[T, 5], [6, 4]]);
    let outcome = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        let mut g = Graph::inference(&p, DType::F32);
        let x = input(&mut g, ids[0]);
        g.linear(&x, ids[1], None)
    }));
    let message = *outcome.err().unwrap().downcast::<String>().unwrap();
    assert!(
        message.contains("linear `p1`") && message.contains("7×5") && message.contains("6×4"),
        "{message}"
    );
}

/// Two sequences of 3 and 4 tokens, and an initial state of two rows.
#[test]
fn n01_recurrence_through_time() {
    for (cell, gates) in [(Cell::Elman, 1), (Cell::Lstm, 4), (Cell::Gru, 3)] {
        let h = 3;
        let spans = || [0..3, 3..7].map(|r| Span { queries: r.clone(), keys: r });
        let shapes = [[T, 5], [gates * h, 5], [gates * h, h], [1, gates * h], [2, h], [2, h]];
        check(&format!("{cell:?}"), &shapes[..4], &|g, p| {
            let x = input(g, p[0]);
            let x = g.linear_f32(&x, p[1], None);
            let recurrence = Recurrence { cell, weight: p[2], bias: Some(p[3]), reversed: false };
            g.recurrent(recurrence, &x, &spans(), None).0
        });
        let state = |g: &mut Graph<'_>, p: &[ParameterId]| {
            let two = Indices::new(&[0, 1]);
            State { hidden: g.embedding(p[4], &two, 1.0), cell: g.embedding(p[5], &two, 1.0) }
        };
        // The states after the last steps, of a second pass over what the first gave.
        for part in [0, 1] {
            if part == 1 && cell != Cell::Lstm {
                continue;
            }
            check(&format!("{cell:?} with states"), &shapes, &|g, p| {
                let x = input(g, p[0]);
                let x = g.linear_f32(&x, p[1], None);
                let first = state(g, p);
                // Short ones: each step adds to the third derivative that bounds the check. Other tokens are of no sequence.
                let spans = [0..1, 4..7].map(|r| Span { queries: r.clone(), keys: r });
                let forth = Recurrence { cell, weight: p[2], bias: Some(p[3]), reversed: false };
                let (_, middle) = g.recurrent(forth, &x, &spans, Some(&first));
                let back = Recurrence { reversed: true, ..forth };
                let (_, last) = g.recurrent(back, &x, &spans, Some(&middle));
                if part == 0 { last.hidden } else { last.cell }
            });
        }
    }
}

#[test]
fn n01_shifts_within_sequences() {
    for by in [0, 1, 3, 9] {
        check("shift", &[[T, 5]], &|g, p| {
            let x = input(g, p[0]);
            let y = g.shift(&x, &spans(), by);
            g.add(&y, &x)
        });
    }
}

#[test]
fn n01_some_rows_beside_others() {
    check("rows", &[[T, 5], [3, 5]], &|g, p| {
        let x = input(g, p[0]);
        let (first, second) = (g.rows(&x, &[0, 2, 6]), g.rows(&x, &[1, 2, 5]));
        let y = g.linear(&first, p[1], None);
        let z = g.linear(&second, p[1], None);
        g.add(&y, &z)
    });
}

#[test]
fn n01_low_rank_changes_of_some_columns() {
    check("low rank", &[[T, 5], [9, 5], [2, 5], [4, 2]], &|g, p| {
        let x = input(g, p[0]);
        let y = g.linear(&x, p[1], None);
        g.low_rank(y, &x, [p[2], p[3]], 3..7, 1.5)
    });
    check("low rank of a residual", &[[T, 5], [5, 5], [2, 5], [5, 2]], &|g, p| {
        let x = input(g, p[0]);
        let y = g.linear_residual(&x, p[1], None, &x);
        g.low_rank(y, &x, [p[2], p[3]], 0..5, 0.5)
    });
}

#[test]
fn n01_what_is_frozen_has_no_gradient_and_lets_others_have_theirs() {
    let (mut p, ids) = parameters(&[[T, 5], [9, 5], [1, 9], [1, 5]]);
    p.freeze(true);
    let a = p.add("a", [2, 5], Role::Matrix);
    let b = p.add("b", [9, 2], Role::Matrix);
    p.data_mut(a).copy_from_slice(&numbers(40, 10));
    p.data_mut(b).copy_from_slice(&numbers(41, 18));
    let mut tape = Tape::new(&p);
    let mut g = Graph::training(&p, DType::F32, &mut tape, None);
    let x = input(&mut g, ids[0]);
    let x = g.norm(&x, Norm::Rms { eps: 1e-5, offset: 0.0 }, ids[3], None, DType::F32);
    let y = g.linear(&x, ids[1], Some(ids[2]));
    let y = g.low_rank(y, &x, [a, b], 0..9, 1.0);
    tape.seed(&y, Tensor::from_f32(&numbers(77, T * 9), T, 9, DType::F32));
    drop((x, y));
    tape.backward(&p);
    assert!(ids.iter().all(|&id| tape.gradients().get(id).is_empty()));
    assert!([a, b].iter().all(|&id| tape.gradients().get(id).iter().any(|&x| x != 0.0)));
}
