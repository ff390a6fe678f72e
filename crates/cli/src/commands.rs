//! The commands of a conversation: a line that begins with a slash.

use pupil_infer::Sampler;

/// What they do, as `/help` tells it.
pub(crate) const HELP: &str = "  /retry             another reply to the same words
  /edit [WORDS]      other words instead of the last ones; alone: edits them
  /system [WORDS]    sets the scene from now on; none: takes it away
  /set [NAME VALUE]  temp, top-k, top-p, min-p, repeat-penalty, seed,
                     max-tokens, stop (none: no more); alone: shows them
  /show [probs]      what was said; probs: colours tokens by their probability
  /save FILE         writes a line of JSON, in the form that fine-tuning reads
  /load FILE         goes on with such a conversation
  /reset             begins anew; the scene stays
  /quit              leaves; so does Ctrl-D. Ctrl-C stops a reply.
  //WORDS            says words that begin with a slash";

/// A command.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Command<'a> {
    /// Words, not a command.
    Say(&'a str),
    Help,
    Retry,
    Edit(Option<&'a str>),
    System(Option<&'a str>),
    Set(Option<(&'a str, &'a str)>),
    Show,
    ShowProbabilities,
    Save(&'a str),
    Load(&'a str),
    Reset,
    Quit,
}

/// Reads a line.
///
/// # Errors
/// Says what the commands are, or what one lacks.
pub(crate) fn parse(line: &str) -> Result<Command<'_>, String> {
    let line = line.trim();
    let Some(command) = line.strip_prefix('/') else { return Ok(Command::Say(line)) };
    if command.starts_with('/') {
        return Ok(Command::Say(command));
    }
    let (name, rest) = command.split_once(char::is_whitespace).unwrap_or((command, ""));
    let rest = Some(rest.trim()).filter(|r| !r.is_empty());
    let file = |verb: &str| rest.ok_or(format!("/{verb} needs the name of a file"));
    Ok(match name {
        "help" | "?" => Command::Help,
        "retry" => Command::Retry,
        "edit" => Command::Edit(rest),
        "system" => Command::System(rest),
        "set" => Command::Set(match rest {
            None => None,
            Some(r) => Some(r.split_once(char::is_whitespace).ok_or(format!("/set {r} needs a value"))?)
                .map(|(name, value)| (name, value.trim())),
        }),
        "show" => match rest {
            None => Command::Show,
            Some("probs" | "probabilities") => Command::ShowProbabilities,
            Some(other) => return Err(format!("/show {other}: there is /show and /show probs")),
        },
        "save" => Command::Save(file("save")?),
        "load" => Command::Load(file("load")?),
        "reset" | "new" => Command::Reset,
        "quit" | "exit" => Command::Quit,
        other => return Err(format!("/{other} is no command; /help names them, //{other} says it")),
    })
}

/// Sets one of a sampler's settings, or the number of tokens.
///
/// # Errors
/// Names the settings, or the range of the one named; nothing is changed then.
pub(crate) fn set(sampler: &mut Sampler, max_new: &mut usize, name: &str, value: &str) -> Result<(), String> {
    let wrong = |what: &str| format!("/set {name} {value}: {what} is needed");
    let real = || value.parse::<f32>().map_err(|_| wrong("a number"));
    let whole = || value.parse::<usize>().map_err(|_| wrong("a whole number"));
    let mut s = *sampler;
    match name.replace('_', "-").trim_start_matches("--") {
        "temp" | "temperature" => s.temperature = real()?,
        "top-k" => s.top_k = whole()?,
        "top-p" => s.top_p = real()?,
        "min-p" => s.min_p = real()?,
        "repeat-penalty" => s.repeat_penalty = real()?,
        "seed" => s.seed = value.parse().map_err(|_| wrong("a whole number"))?,
        "max-tokens" | "max-new" => {
            *max_new = whole().ok().filter(|&n| n > 0).ok_or_else(|| wrong("a whole number from 1 on"))?;
        }
        other => {
            return Err(format!(
                "/set {other}: there is temp, top-k, top-p, min-p, repeat-penalty, seed, max-tokens and stop"
            ));
        }
    }
    s.check()?;
    *sampler = s;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn k14_lines_are_words_commands_or_errors() {
        for (line, command) in [
            (" hello ", Command::Say("hello")),
            ("//etc is a path", Command::Say("/etc is a path")),
            ("/retry", Command::Retry),
            ("/edit", Command::Edit(None)),
            ("/edit  say it so ", Command::Edit(Some("say it so"))),
            ("/system none", Command::System(Some("none"))),
            ("/set", Command::Set(None)),
            ("/set top_p  0.5", Command::Set(Some(("top_p", "0.5")))),
            ("/save my chat.jsonl", Command::Save("my chat.jsonl")),
            ("/show probs", Command::ShowProbabilities),
            ("/exit", Command::Quit),
        ] {
            assert_eq!(parse(line), Ok(command), "{line}");
        }
        for (line, word) in [
            ("/nonsense", "/help"),
            ("/save", "name of a file"),
            ("/load ", "name of a file"),
            ("/set temp", "value"),
        ] {
            assert!(parse(line).unwrap_err().contains(word), "{line}");
        }
        assert!(parse("/show x").is_err() && parse("/").is_err());
    }

    #[test]
    fn settings_change_within_their_ranges() {
        let (mut s, mut n) = (Sampler::default(), 200);
        for (name, value) in
            [("temp", "0"), ("--top-k", "3"), ("top_p", "1"), ("seed", "9"), ("max-tokens", "7")]
        {
            set(&mut s, &mut n, name, value).unwrap();
        }
        assert_eq!((s.temperature, s.top_k, s.top_p, s.seed, n), (0.0, 3, 1.0, 9, 7));
        let before = s;
        for (name, value) in
            [("temp", "NaN"), ("temp", "warm"), ("top-p", "2"), ("max-tokens", "0"), ("heat", "1")]
        {
            assert!(set(&mut s, &mut n, name, value).is_err(), "{name} {value}");
        }
        assert_eq!((s, n), (before, 7));
    }
}
