//! `pupil align`: learning from feedback, from pairs of replies of which one is better (DPO), or from rewards by a rule (GRPO).

use std::path::{Path, PathBuf};

use anyhow::Context;
use pupil_chat::{Message, Renderer};
use pupil_data::record::{Preference, Turn};
use pupil_data::{Examples, Items, Preferences, prepare, starter};
use pupil_eval::statistics::wilson;
use pupil_infer::{Sampler, together};
use pupil_model::{Gpt, Lora, Network, Settings as Architecture};
use pupil_tensor::DType;
use pupil_tensor::kernels::random::Key;
use pupil_tokenizer::Tokenizer;
use pupil_train::align::{Pairs, order};
use pupil_train::optim::Settings;
use pupil_train::reward::{self, Group};
use pupil_train::run::Run;
use pupil_train::schedule::Schedule;
use pupil_train::{Ending, Plan, examples};

use crate::exit::{Stopped, Usage};
use crate::learn::{self, Common, Vocabulary};
use crate::merge::LoraArguments;
use crate::model::{Choice, Opened};
use crate::preflight::Checks;
use crate::progress::{Progress, clock};
use crate::rule::{Rule, numbers};
use crate::signals::Stop;

/// Thousandths of the pairs or questions that are held out.
const HELD_OUT: u64 = 150;
/// Held-out questions that are asked at most.
const ASKED: usize = 400;
/// Sequences that are generated at a time.
const TOGETHER: usize = 64;
/// Stream of the random numbers of samples.
const SAMPLES: u64 = 4 << 32;
/// Stream of the random numbers that decide the order of questions.
const QUESTIONS: u64 = 5 << 32;

/// `pupil align`.
#[derive(clap::Args)]
pub(crate) struct Arguments {
    #[command(flatten)]
    common: Common,
    #[command(flatten)]
    lora: LoraArguments,
    #[command(flatten)]
    checks: Checks,
    /// A model that holds conversations: its directory, one of adapters, or that of the run.
    #[arg(short, long)]
    model: PathBuf,
    /// Instead of pairs: replies are sampled and rewarded by a rule that compares them with the answers in --data.
    #[arg(long, value_enum)]
    reward: Option<Rule>,
    /// Pairs: how far the model may leave what it was, the smaller the further [default: 0.1]. Rewards: the weight of the distance [default: 0.02].
    #[arg(long)]
    beta: Option<f32>,
    /// Share of the pairs that are taken to be judged wrongly.
    #[arg(long, default_value_t = 0.0, conflicts_with = "reward")]
    smoothing: f32,
    /// Of pairs: a reply's mean log-probability counts instead of the sum, so that long replies are not favoured or feared.
    #[arg(long, conflicts_with = "reward")]
    normalise: bool,
    /// Replies to each question.
    #[arg(long, default_value_t = 8, requires = "reward")]
    group: usize,
    /// Questions of a round.
    #[arg(long, default_value_t = 8, requires = "reward")]
    questions: usize,
    /// Updates with the replies of a round.
    #[arg(long, default_value_t = 1, requires = "reward")]
    updates: usize,
    /// Largest change of a probability, as a share of it, that is still learned from.
    #[arg(long, default_value_t = 0.2, requires = "reward")]
    clip: f32,
    /// Tokens of a reply at most.
    #[arg(long, default_value_t = 48, requires = "reward")]
    max_new: usize,
}

pub(crate) fn run(a: &Arguments) -> anyhow::Result<()> {
    let common = &a.common;
    let in_share = |x: f32| (0.0..0.5).contains(&x);
    if a.beta.is_some_and(|b| !(b.is_finite() && b >= 0.0)) || !in_share(a.smoothing) {
        anyhow::bail!(Usage("--beta is at least 0, --smoothing 0 to 0.5".into()));
    }
    if a.group < 2 || a.questions == 0 || a.updates == 0 || !(a.clip > 0.0 && a.clip < 1.0) || a.max_new == 0
    {
        let what =
            "--group is at least 2, --questions, --updates and --max-new at least 1, --clip between 0 and 1";
        anyhow::bail!(Usage(what.into()));
    }
    let choice = Choice::of(&a.model, &common.dtype);
    let (dir, network) = choice.network()?;
    let mut opened = choice.opened(&dir, network)?;
    let there = learn::planned(common.resume, &common.out)?;
    let lora = a.lora.prepare(&mut opened.gpt, &dir, there.as_ref().map(|p| &p.lora), common.seed)?;
    match a.reward {
        None => preferences(a, opened, &dir, lora, there),
        Some(rule) => rewards(a, rule, opened, &dir, lora, there),
    }
}

/// The plan of a run, or the one that goes on, if it learns from the same.
#[expect(clippy::too_many_arguments, reason = "the parts of one plan")]
fn plan(
    a: &Arguments,
    stage: &str,
    opened: &Opened,
    lora: Option<Lora>,
    there: Option<Plan>,
    [rate, adapters]: [f32; 2],
    row_tokens: usize,
    data: String,
) -> anyhow::Result<Plan> {
    if let Some(there) = there {
        return learn::checked(there, data);
    }
    let common = &a.common;
    let steps = common.steps.unwrap_or(if a.reward.is_some() { 100 } else { 200 });
    if steps == 0 || common.minutes.is_some() {
        anyhow::bail!(Usage("--steps says how long it learns: at least one".into()));
    }
    let optimiser = Settings {
        learning_rate: common.lr.unwrap_or(if lora.is_some() { adapters } else { rate }),
        muon: common.muon.filter(|&m| m > 0.0),
        beta2: 0.95,
        weight_decay: 0.0,
        ..Settings::default()
    };
    Ok(Plan {
        stage: stage.into(),
        model: Architecture::Gpt(opened.gpt.config.clone()),
        lora,
        optimiser,
        schedule: Schedule::Trapezoid { warmup: (steps / 20).min(50), decay: steps / 2, floor: 0.05 },
        steps,
        rows: 1,
        row_tokens,
        seed: common.seed,
        dtype: opened.dtype.name().to_owned(),
        evaluate_every: (steps / 4).max(1),
        save_every: common.save_every.max(1),
        keep_best: false,
        data,
        limits: pupil_train::plan::Limits::default(),
        forecast: None,
    })
}

fn preferences(
    a: &Arguments,
    opened: Opened,
    dir: &Path,
    lora: Option<Lora>,
    there: Option<Plan>,
) -> anyhow::Result<()> {
    let common = &a.common;
    if common.data.is_empty() {
        anyhow::bail!(Usage("--data: pairs of replies to learn from, or --reward".into()));
    }
    let corpus = pupil_data::read(&common.data)?;
    if corpus.preferences.is_empty() {
        let what = "holds no pairs of replies: objects with `chosen` and `rejected`".to_owned();
        anyhow::bail!(pupil_data::Error::Content { path: common.data[0].clone(), what });
    }
    // Pairs that are too long are left out, not cut.
    let checks = Checks { allow_truncation: true, ..a.checks.clone() };
    checks.run(&opened.tokenizer, dir, &corpus.chats, opened.gpt.config.context)?;
    let beta = a.beta.unwrap_or(0.1);
    let settings =
        Preferences { beta, smoothing: a.smoothing, normalised: a.normalise, ..Preferences::default() };
    let side = |held_out: bool| {
        let wanted = move |p: &&Preference| {
            let question: String = p.prompt.iter().map(|t| t.content.as_str()).collect();
            prepare::is_validation(&question, HELD_OUT) == held_out
        };
        let some = corpus.preferences.iter().filter(wanted);
        Pairs::new(&opened.tokenizer, some, opened.gpt.config.context, settings.clone())
    };
    let (mut train, mut held_out) = (side(false)?, side(true)?);
    eprintln!(
        "  {} pairs to learn from, {} held out; {} do not fit into the context of {} tokens and are left out",
        train.len(),
        held_out.len(),
        train.left_out + held_out.left_out,
        opened.gpt.config.context
    );
    if train.is_empty() {
        anyhow::bail!(Usage("there is no pair to learn from".into()));
    }
    let row_tokens = common.batch_tokens.unwrap_or(learn::BATCH).max(train.longest()).max(held_out.longest());
    let mut hash = blake3::Hasher::new();
    for pairs in [&train, &held_out] {
        pairs.each_id(|id| {
            hash.update(&id.to_le_bytes());
        });
    }
    hash.update(serde_json::to_string(&settings)?.as_bytes());
    let data = hash.finalize().to_hex().to_string();
    let plan = plan(a, "dpo", &opened, lora, there, [2e-4, 1e-3], row_tokens, data)?;
    let (gpt, dtype) = (&opened.gpt, opened.dtype);
    make_folder(&common.out)?;
    train.refer(gpt, dtype, row_tokens, &common.out.join("reference.json"))?;
    held_out.refer(gpt, dtype, row_tokens, &common.out.join("reference-held-out.json"))?;
    let before = held_out.wins(gpt, dtype, row_tokens);
    let vocabulary = Vocabulary::of(&opened.tokenizer);
    let examples: [&dyn Examples; 2] = [&train, &held_out];
    let (path, _) = learn::go(common, plan, opened.gpt.into(), vocabulary, examples, "preferences")?;
    let Network::Gpt(gpt) = pupil_checkpoint::load(&path)? else {
        anyhow::bail!("{} is no GPT", path.display());
    };
    let after = held_out.wins(&gpt, dtype, row_tokens);
    println!("{}", compared("held-out pairs", "the better reply is the likelier one", &before, &after));
    Ok(())
}

fn make_folder(path: &Path) -> anyhow::Result<()> {
    let storage = |source| pupil_checkpoint::Error::Storage { path: path.to_owned(), source };
    Ok(std::fs::create_dir_all(path).map_err(storage)?)
}

/// A question with its answer, ready to be asked.
struct Question {
    ids: Vec<u32>,
    answer: String,
}

/// Questions to learn from and held-out ones; one that comes twice is asked once. Those that leave no room for a reply are left out.
fn questions(a: &Arguments, rule: Rule, opened: &Opened, dir: &Path) -> anyhow::Result<[Vec<Question>; 2]> {
    let common = &a.common;
    let mut asked: Vec<(Vec<Turn>, String)> = Vec::new();
    if common.data.is_empty() || common.starter {
        // Sums: the question has two numbers, the answer says them again and what they come to.
        let is_sum = |question: &str, answer: &str| {
            let (mut asked, said) = (numbers(question), numbers(answer));
            asked.sort_by(f64::total_cmp);
            let mut again: Vec<f64> = said.iter().copied().take(2).collect();
            again.sort_by(f64::total_cmp);
            asked.len() == 2 && again == asked && said.len() > 2
        };
        let exchange = |pair: &[Turn]| (vec![pair[0].clone()], pair[1].content.clone());
        let curriculum = starter::Curriculum::standard().map_err(anyhow::Error::msg)?;
        let chats = curriculum.chats(common.seed, learn::CHATS);
        let all = chats.flat_map(|c| c.messages.chunks_exact(2).map(exchange).collect::<Vec<_>>());
        asked.extend(all.filter(|(q, answer)| is_sum(&q[0].content, answer)));
    }
    if !common.data.is_empty() {
        for mut chat in pupil_data::read(&common.data)?.chats {
            if let Some(answer) = chat.messages.pop().filter(|t| t.role == "assistant") {
                asked.push((chat.messages, answer.content));
            }
        }
    }
    let whole = |(turns, answer): &(Vec<Turn>, String)| {
        let answer = Turn::new("assistant", answer.as_str());
        pupil_data::Chat::new(turns.iter().cloned().chain([answer]).collect())
    };
    let chats: Vec<pupil_data::Chat> = asked.iter().map(whole).collect();
    let checks = Checks { allow_truncation: true, ..a.checks.clone() };
    checks.run(&opened.tokenizer, dir, &chats, opened.gpt.config.context)?;
    let renderer = Renderer::new(&opened.tokenizer)?;
    let room = opened.gpt.config.context.saturating_sub(a.max_new);
    let (mut seen, mut left_out) = (std::collections::HashSet::new(), 0);
    let mut sides = [Vec::new(), Vec::new()];
    for (turns, answer) in asked {
        rule.check(&answer).map_err(|what| pupil_data::Error::Content {
            path: common.data.first().cloned().unwrap_or_default(),
            what: format!("an answer {what}: {answer:?}"),
        })?;
        let text: String = turns.iter().map(|t| t.content.as_str()).collect();
        if !seen.insert(text.clone()) {
            continue;
        }
        let messages: Vec<Message> = examples::messages(&pupil_data::Chat::new(turns));
        let ids = renderer.render(&messages, true).ids;
        if ids.len() > room {
            left_out += 1;
            continue;
        }
        sides[usize::from(prepare::is_validation(&text, HELD_OUT))].push(Question { ids, answer });
    }
    sides[1].truncate(ASKED);
    eprintln!(
        "  {} questions to learn from, {} held out; {left_out} leave no room for a reply and are left out",
        sides[0].len(),
        sides[1].len()
    );
    if sides[0].is_empty() {
        anyhow::bail!(Usage("there is no question with an answer in the data".into()));
    }
    Ok(sides)
}

fn rewards(
    a: &Arguments,
    rule: Rule,
    opened: Opened,
    dir: &Path,
    lora: Option<Lora>,
    there: Option<Plan>,
) -> anyhow::Result<()> {
    let common = &a.common;
    let [train, held_out] = questions(a, rule, &opened, dir)?;
    let (group, updates, clip) = (a.group, a.updates, a.clip);
    let beta = a.beta.unwrap_or(0.02);
    let settings = reward::Settings { group, questions: a.questions, updates, clip, beta };
    let mut hash = blake3::Hasher::new();
    for q in train.iter().chain(&held_out) {
        q.ids.iter().for_each(|id| {
            hash.update(&id.to_le_bytes());
        });
        hash.update(q.answer.as_bytes());
    }
    hash.update(format!("{settings:?} {rule:?} {}", a.max_new).as_bytes());
    let data = hash.finalize().to_hex().to_string();
    let context = opened.gpt.config.context;
    let row_tokens = common.batch_tokens.unwrap_or(learn::BATCH).max(context);
    // With sums, at 3e-4 nothing was gained until the rate had fallen; at 1e-4 it rose from the beginning. Adapters: not measured.
    let plan = plan(a, "grpo", &opened, lora, there, [1e-4, 5e-4], row_tokens, data)?;
    let Opened { gpt, tokenizer, dtype, .. } = opened;
    // What is kept a distance from is the model as it is now; with adapters, the model with them.
    let reference = if beta > 0.0 { Some(Choice::of(&a.model, &common.dtype).open()?.gpt) } else { None };
    let judge = Judge {
        rule,
        tokenizer: &tokenizer,
        end: Renderer::new(&tokenizer)?.end(),
        dtype,
        max_new: a.max_new,
    };
    let before = judge.asked(&gpt, &held_out)?;
    let mut sample = |gpt: &Gpt, round: u64| {
        let picked = picked(&train, a.questions, common.seed, round);
        judge.sampled(gpt, &picked, a.group, common.seed, round)
    };
    let stop = Stop::watch()?;
    let mut progress = Progress::rewarded("rewards");
    let Vocabulary { end, extra, .. } = Vocabulary::of(&tokenizer);
    let nothing = Items::default();
    let out = common.out.clone();
    let run = Run {
        plan,
        dir: out.clone(),
        id_bytes: &[],
        extra,
        end,
        train: &nothing,
        validation: &nothing,
        care: common.saving.care()?,
        about: learn::about(common),
    };
    let begun = std::time::Instant::now();
    let ending =
        run.reinforce(gpt.into(), reference.as_ref(), settings, common.resume, &mut sample, &mut |event| {
            progress.event(&event);
            stop.code().is_none()
        })?;
    match ending {
        Ending::Done(network, _) => {
            let Network::Gpt(gpt) = *network else { anyhow::bail!("{} is no GPT", out.display()) };
            let after = judge.asked(&gpt, &held_out)?;
            eprintln!("  rewards took {}", clock(begun.elapsed().as_secs_f64()));
            println!("{}", compared("held-out questions", "the answer is right", &before, &after));
            Ok(())
        }
        Ending::Stopped { step } => Err(Stopped {
            code: stop.code().unwrap_or(1),
            how_to_go_on: format!("{step} rounds are done; the same command with --resume goes on"),
        }
        .into()),
    }
}

/// The questions of a round: everything once, in another order each time.
fn picked(all: &[Question], count: usize, seed: u64, round: u64) -> Vec<&Question> {
    let n = all.len() as u64;
    let at = |k: u64| (k / n, (k % n) as usize);
    let mut dealt = (u64::MAX, Vec::new());
    let each = (0..count as u64).map(|i| {
        let (epoch, place) = at(round * count as u64 + i);
        if dealt.0 != epoch {
            dealt = (epoch, order(all.len(), Key { seed, stream: QUESTIONS, step: epoch }));
        }
        &all[dealt.1[place] as usize]
    });
    each.collect()
}

/// Who asks and rewards.
struct Judge<'a> {
    rule: Rule,
    tokenizer: &'a Tokenizer,
    end: u32,
    dtype: DType,
    max_new: usize,
}

impl Judge<'_> {
    /// What a reply earns: one that does not end earns nothing.
    fn reward(&self, reply: &[u32], answer: &str) -> f32 {
        let Some((&last, words)) = reply.split_last() else { return 0.0 };
        let said = last == self.end && self.rule.holds(&self.tokenizer.decode(words), answer);
        f32::from(u8::from(said))
    }

    fn sampled(
        &self,
        gpt: &Gpt,
        questions: &[&Question],
        group: usize,
        seed: u64,
        round: u64,
    ) -> Result<Vec<Group>, String> {
        let key = Key { seed, stream: SAMPLES, step: round };
        // At temperature 1 with all tokens: what is learned from is what the model itself would say.
        let sampler = |p: usize, i: usize| {
            let [a, b, ..] = key.draw((p * group + i) as u64);
            let seed = u64::from(a) << 32 | u64::from(b);
            Sampler { temperature: 1.0, top_k: 0, top_p: 1.0, min_p: 0.0, repeat_penalty: 1.0, seed }
        };
        let prompts: Vec<Vec<u32>> = questions.iter().map(|q| q.ids.clone()).collect();
        let all = together::replies(gpt, self.dtype, &prompts, group, self.max_new, &[self.end], &sampler)
            .map_err(|e| e.to_string())?;
        let groups = questions.iter().zip(all.chunks_exact(group)).map(|(q, replies)| {
            let rewards = replies.iter().map(|r| self.reward(r, &q.answer)).collect();
            Group { prompt: q.ids.clone(), replies: replies.to_vec(), rewards }
        });
        Ok(groups.collect())
    }

    /// Of each question, whether the likeliest reply is right.
    fn asked(&self, gpt: &Gpt, questions: &[Question]) -> anyhow::Result<Vec<bool>> {
        let mut right = Vec::with_capacity(questions.len());
        for part in questions.chunks(TOGETHER) {
            let prompts: Vec<Vec<u32>> = part.iter().map(|q| q.ids.clone()).collect();
            let greedy = |_: usize, _: usize| Sampler::greedy();
            let all = together::replies(gpt, self.dtype, &prompts, 1, self.max_new, &[self.end], &greedy)
                .context("asking the held-out questions")?;
            right.extend(part.iter().zip(&all).map(|(q, reply)| self.reward(reply, &q.answer) > 0.5));
        }
        Ok(right)
    }
}

/// Both shares with their intervals, and the difference with its own: the cases are the same, so it is that of pairs.
fn compared(of: &str, what: &str, before: &[bool], after: &[bool]) -> String {
    if before.is_empty() {
        return format!("of no {of}: nothing was held out");
    }
    let n = before.len() as f64;
    let share = |side: &[bool]| {
        let right = side.iter().filter(|x| **x).count();
        let (low, high) = wilson(right, side.len()).map_or((0.0, 1.0), |i| (i.low, i.high));
        format!("{:.1} % ({:.1} to {:.1})", 100.0 * right as f64 / n, 100.0 * low, 100.0 * high)
    };
    let changes: Vec<f64> =
        before.iter().zip(after).map(|(b, a)| f64::from(u8::from(*a)) - f64::from(u8::from(*b))).collect();
    let mean = changes.iter().sum::<f64>() / n;
    let variance = changes.iter().map(|d| (d - mean).powi(2)).sum::<f64>() / (n - 1.0).max(1.0);
    let wide = 1.96 * (variance / n).sqrt();
    format!(
        "of {} {of} {what} in {} before and {} after: {:+.1} points ({:+.1} to {:+.1}); 95 % intervals",
        before.len(),
        share(before),
        share(after),
        100.0 * mean,
        100.0 * (mean - wide),
        100.0 * (mean + wide)
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_shares_and_their_difference_are_told() {
        let (before, after) = ([false; 100], [true; 100]);
        let text = compared("pairs", "it is so", &before, &after);
        assert!(
            text.contains("0.0 %")
                && text.contains("100.0 %")
                && text.contains("+100.0 points (+100.0 to +100.0)"),
            "{text}"
        );
    }

    #[test]
    fn every_question_comes_once_before_one_comes_again() {
        let all: Vec<Question> = (0..7).map(|i| Question { ids: vec![i], answer: String::new() }).collect();
        let mut seen: Vec<u32> =
            (0..7).flat_map(|round| picked(&all, 3, 1, round)).map(|q| q.ids[0]).collect();
        assert_ne!(seen[..7], seen[7..14]);
        seen.sort_unstable();
        assert!(seen.chunks(3).enumerate().all(|(i, c)| c == [i as u32; 3]));
    }
}
