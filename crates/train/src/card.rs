//! A model card: the `README.md` of a model directory, in the form that Hugging Face's hub reads.
//!
//! It says what the weights were made from and how, so that they can be made again, and what is not known about them.

use std::fmt::Write;

use crate::evaluate::Evaluation;
use crate::plan::Plan;

/// What only the caller knows of a run.
#[derive(Clone, Debug, Default)]
pub struct About {
    /// The command that makes these weights again.
    pub command: String,
    /// What was learned from, a line each.
    pub data: Vec<String>,
    /// The model that this one was made from, if any.
    pub base: Option<String>,
}

/// Where a model stands.
pub(crate) struct Standing<'a> {
    pub(crate) step: u64,
    pub(crate) tokens: u64,
    pub(crate) parameters: u64,
    /// The last evaluation, and its step.
    pub(crate) evaluated: Option<(u64, &'a Evaluation)>,
}

/// The card's text.
pub(crate) fn card(plan: &Plan, about: &About, standing: &Standing<'_>) -> String {
    let Standing { step, tokens, parameters, evaluated } = standing;
    let task = match (&plan.model, plan.stage.as_str()) {
        (pupil_model::Settings::Gpt(_), _) => "pipeline_tag: text-generation\n",
        (pupil_model::Settings::Bert(_), "pretrain") => "pipeline_tag: fill-mask\n",
        _ => "",
    };
    let finished = if *step >= plan.steps { "finished" } else { "unfinished: a checkpoint" };
    let mut s = format!(
        "---\nlibrary_name: transformers\nlicense: unknown\n{task}tags:\n- pupil\n---\n\n# A model of {parameters} parameters, made by pupil\n\n\
         Stage `{}`, {finished}: {step} of {} steps, {tokens} tokens read.\n",
        plan.stage, plan.steps
    );
    let _ = match evaluated {
        Some((at, e)) if e.bytes > 0 => writeln!(
            s,
            "On held-out text after step {at}: loss {:.4} nats a token, {:.4} bits per byte, {:.1} % of next tokens right.",
            e.loss.mean(),
            e.bits_per_byte(),
            100.0 * e.loss.accuracy()
        ),
        Some((at, e)) if e.loss.weight > 0.0 => writeln!(
            s,
            "On what was held out after step {at}: loss {:.4}, {:.1} % right.",
            e.loss.mean(),
            100.0 * e.loss.accuracy()
        ),
        _ => writeln!(s, "It was not evaluated on held-out text."),
    };
    s += "\n## How it was made\n\n";
    if !about.command.is_empty() {
        let _ = writeln!(s, "```sh\n{}\n```\n", about.command);
    }
    if let Some(base) = &about.base {
        let _ = writeln!(s, "It began as the model in `{base}`.\n");
    }
    s += "Learned from:\n\n";
    for line in &about.data {
        let _ = writeln!(s, "- {line}");
    }
    let _ = writeln!(
        s,
        "- BLAKE3 of all ids and the tokenizer: `{}`\n\n| | |\n|---|---|\n| pupil | {} |\n| seed | {} |\n| tokens of a step | {} |\n| matrix operands | {} |\n| optimiser | {} |",
        if plan.data.is_empty() { "not recorded" } else { &plan.data },
        env!("CARGO_PKG_VERSION"),
        plan.seed,
        plan.rows * plan.row_tokens,
        plan.dtype,
        match plan.optimiser.muon {
            Some(rate) =>
                format!("Muon at {rate} for matrices, AdamW at {} for the rest", plan.optimiser.learning_rate),
            None => format!("AdamW at {}", plan.optimiser.learning_rate),
        }
    );
    s += "\nThe plan with every number is in `run.json` of the run's directory. The same command on the same data gives the same bits on a \
          machine with the same vector instructions.\n\n## Licence\n\nNobody has chosen a licence for these weights yet; whoever publishes them \
          does, and replaces this paragraph and `license` above. What the texts' own licences permit is not known to pupil.\n\n## Limits\n\n\
          A small model that learned from little text. It says false things with ease, repeats what stood in its texts (their errors, \
          opinions and personal data included), and was not examined for safety. It is made to learn from, not to be relied on.\n";
    s
}
