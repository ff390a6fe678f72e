//! What a run wrote down on its way: the lines of `metrics.jsonl` and `samples.jsonl`.

use serde::{Deserialize, Serialize};
use serde_json::Value;

/// A step.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Step {
    /// Steps done.
    pub step: u64,
    /// Tokens read so far.
    pub tokens: u64,
    /// Nats for each learned target.
    pub loss: f64,
    /// Share of the peak learning rate.
    pub rate: f64,
    /// Norm of the gradients.
    pub gradient_norm: f64,
    /// Seconds of learning so far, in all sittings.
    pub seconds: f64,
    /// Bytes of resident memory.
    pub memory: Option<u64>,
}

/// An evaluation.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Evaluation {
    /// Steps done.
    pub step: u64,
    /// Nats for each learned target.
    pub loss: f64,
    /// Share of the targets that were the best guess.
    pub accuracy: f64,
    /// Bits for each byte of text, where there is text.
    pub bits_per_byte: Option<f64>,
}

/// What a model wrote on the way.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sample {
    /// Steps done.
    pub step: u64,
    /// What it was given.
    pub prompt: String,
    /// How it went on.
    pub text: String,
}

/// A batch that was passed over.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Skipped {
    /// The step.
    pub step: u64,
    /// Why.
    pub why: String,
}

/// All of it, in order.
#[derive(Clone, Debug, Default)]
pub struct History {
    /// The steps.
    pub steps: Vec<Step>,
    /// The evaluations.
    pub evaluations: Vec<Evaluation>,
    /// The samples.
    pub samples: Vec<Sample>,
    /// The batches that were passed over.
    pub skipped: Vec<Skipped>,
}

impl History {
    /// From the texts of `metrics.jsonl`, `samples.jsonl` and `skipped.jsonl`. A line that is not whole, as the last of a run that goes on may be, is left out.
    pub fn read(metrics: &str, samples: &str, skipped: &str) -> History {
        let mut history = History::default();
        let (mut before, mut last) = (0.0, 0.0);
        for v in lines(metrics) {
            let Some(step) = v["step"].as_u64() else { continue };
            let number = |key: &str| v[key].as_f64().unwrap_or(f64::NAN);
            if v.get("validation_loss").is_some() {
                let bits_per_byte = v["bits_per_byte"].as_f64();
                let (loss, accuracy) = (number("validation_loss"), number("validation_accuracy"));
                history.evaluations.push(Evaluation { step, loss, accuracy, bits_per_byte });
                continue;
            }
            // Each sitting counts its seconds from its own beginning.
            let here = v["seconds"].as_f64().unwrap_or(0.0);
            if here < last {
                before += last;
            }
            last = here;
            history.steps.push(Step {
                step,
                tokens: v["tokens"].as_u64().unwrap_or(0),
                loss: number("loss"),
                rate: number("rate"),
                gradient_norm: number("gradient_norm"),
                seconds: before + here,
                memory: v["memory"].as_u64(),
            });
        }
        history.samples = lines(samples).filter_map(|v| serde_json::from_value(v).ok()).collect();
        let skip = |v: Value| Some(Skipped { step: v["step"].as_u64()?, why: v["why"].as_str()?.to_owned() });
        history.skipped = lines(skipped).filter_map(skip).collect();
        history
    }

    /// Tokens in a second, over at most about `parts` parts of the run: step and speed.
    pub fn speeds(&self, parts: usize) -> Vec<(f64, f64)> {
        let each = (self.steps.len() / parts.max(1)).max(1);
        let ends: Vec<&Step> = self.steps.iter().step_by(each).collect();
        let pairs = ends.windows(2).filter_map(|w| {
            let (tokens, seconds) = (w[1].tokens.checked_sub(w[0].tokens)?, w[1].seconds - w[0].seconds);
            (seconds > 0.0).then(|| (w[1].step as f64, tokens as f64 / seconds))
        });
        pairs.collect()
    }

    /// Tokens in a second over the whole run, evaluations and saves included.
    pub fn speed(&self) -> Option<f64> {
        let last = self.steps.last()?;
        (last.seconds > 0.0).then(|| last.tokens as f64 / last.seconds)
    }

    /// Most resident memory that was seen.
    pub fn peak_memory(&self) -> Option<u64> {
        self.steps.iter().filter_map(|s| s.memory).max()
    }

    /// Bytes of validation text that a token stands for.
    pub fn bytes_per_token(&self) -> Option<f64> {
        let e = self.evaluations.last()?;
        let bytes = e.loss / std::f64::consts::LN_2 / e.bits_per_byte?;
        bytes.is_finite().then_some(bytes)
    }

    /// The mean loss of the last twentieth of the steps.
    pub fn late_loss(&self) -> Option<f64> {
        let late = &self.steps[self.steps.len() - self.steps.len().div_ceil(20)..];
        (!late.is_empty()).then(|| late.iter().map(|s| s.loss).sum::<f64>() / late.len() as f64)
    }
}

fn lines(text: &str) -> impl Iterator<Item = Value> {
    text.lines().filter_map(|l| serde_json::from_str(l).ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sittings_are_added_up_and_a_torn_line_is_left_out() {
        let metrics = r#"
{"step":1,"tokens":100,"loss":8.0,"rate":0.1,"gradient_norm":1.5,"seconds":1.0,"memory":5}
{"step":2,"tokens":200,"loss":7.0,"rate":0.2,"gradient_norm":1.0,"seconds":2.0,"memory":9}
{"step":2,"validation_loss":7.5,"validation_accuracy":0.1,"bits_per_byte":null}
{"step":3,"tokens":300,"loss":6.0,"rate":0.3,"gradient_norm":1.0,"seconds":0.5,"memory":7}
{"step":3,"validation_loss":6.5,"validation_accuracy":0.1,"bits_per_byte":3.0}
{"step":4,"tok"#;
        let samples = "{\"step\":1,\"prompt\":\"a\",\"text\":\"b\"}\nnonsense\n";
        let h = History::read(metrics, samples, "{\"step\":2,\"why\":\"because\",\"ids\":[]}\n{}\n");
        let seconds: Vec<f64> = h.steps.iter().map(|s| s.seconds).collect();
        assert_eq!(seconds, [1.0, 2.0, 2.5]);
        assert_eq!(h.speeds(10), [(2.0, 100.0), (3.0, 200.0)]);
        assert_eq!((h.speed(), h.peak_memory(), h.late_loss()), (Some(120.0), Some(9), Some(6.0)));
        assert_eq!((h.evaluations.len(), h.evaluations[0].bits_per_byte), (2, None));
        assert_eq!((h.samples.len(), h.skipped.len()), (1, 1));
        assert!((h.bytes_per_token().unwrap() - 3.126).abs() < 1e-3);
        let nothing = History::read("", "", "");
        assert_eq!((nothing.speed(), nothing.late_loss(), nothing.speeds(9)), (None, None, vec![]));
    }
}
