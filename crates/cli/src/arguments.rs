//! Recipes of flags, and where each setting comes from: a flag, a recipe, the environment, a default.
//!
//! A recipe is a TOML file whose keys are the flags of a command. It is put in front of what was typed before arguments are parsed, so a
//! recipe can hold whatever a flag can, with the same checks, and what is typed wins.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;

use clap::parser::ValueSource;
use clap::{Arg, ArgAction, ArgMatches, Command};
use toml::Value;

use crate::exit::Usage;

/// The recipes of `pretrain` that the program carries.
pub(crate) const PRETRAIN: [(&str, &str); 3] = [
    ("pretrain-2", include_str!("../../../recipes/pretrain-2.toml")),
    ("pretrain-20", include_str!("../../../recipes/pretrain-20.toml")),
    ("pretrain-120", include_str!("../../../recipes/pretrain-120.toml")),
];

/// Commands that take recipes.
const COMMANDS: [&str; 1] = ["pretrain"];
/// Flags that are no settings.
const NEVER: [&str; 4] = ["recipe", "explain", "resume", "help"];

/// The recipe that was used.
pub(crate) struct Used {
    name: String,
    flags: BTreeSet<String>,
}

/// A setting that was given, and where.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Given {
    pub(crate) value: String,
    pub(crate) origin: String,
}

/// Puts the flags of the recipe that the words name, if any, before those that were typed.
///
/// # Errors
/// If there is no such recipe, or it has a key that is no flag (with the nearest), or a value that no flag can have.
pub(crate) fn expand(
    mut words: Vec<OsString>,
    cli: &Command,
) -> anyhow::Result<(Vec<OsString>, Option<Used>)> {
    let at = words.iter().skip(1).position(|w| COMMANDS.iter().any(|c| w == c)).map(|i| i + 1);
    let Some((at, name)) = at.and_then(|at| Some((at, flag(&words[at..], "recipe")?))) else {
        return Ok((words, None));
    };
    let Some(command) = cli.find_subcommand(&words[at]) else { return Ok((words, None)) };
    let text = read(&name)?;
    let wrong = |what: String| Usage(format!("{name}: {what}"));
    let table: toml::Table = toml::from_str(&text).map_err(|e| wrong(e.to_string()))?;
    let typed: Vec<&Arg> =
        command.get_arguments().filter(|a| a.get_long().is_some_and(|l| is_typed(&words[at..], l))).collect();
    let mut used = Used { name: name.clone(), flags: BTreeSet::new() };
    let mut before: Vec<OsString> = Vec::new();
    for (key, value) in &table {
        if key == "about" {
            continue;
        }
        let long = key.replace('_', "-");
        let known = |a: &&Arg| a.get_long() == Some(&long) && !NEVER.contains(&long.as_str());
        let Some(arg) = command.get_arguments().find(known) else {
            anyhow::bail!(wrong(unknown(key, command)));
        };
        let loses = |t: &&&Arg| {
            t.get_id() == arg.get_id()
                || command.get_arg_conflicts_with(t).iter().any(|c| c.get_id() == arg.get_id())
                || command.get_arg_conflicts_with(arg).iter().any(|c| c.get_id() == t.get_id())
        };
        if typed.iter().any(|t| loses(&t)) {
            continue;
        }
        if put(&mut before, &long, arg, value).map_err(|e| wrong(format!("{key}: {e}")))? {
            used.flags.insert(long);
        }
    }
    words.splice(at + 1..at + 1, before);
    Ok((words, Some(used)))
}

/// The text of a recipe, by its name or from its file.
fn read(name: &str) -> anyhow::Result<String> {
    if let Some((_, text)) = PRETRAIN.iter().find(|r| r.0 == name) {
        return Ok((*text).to_owned());
    }
    let known = PRETRAIN.map(|r| r.0).join(", ");
    let text = std::fs::read_to_string(name);
    Ok(text.map_err(|e| Usage(format!("--recipe {name}: {e}; a TOML file, or one of {known}")))?)
}

/// What is said of a key that is no flag.
fn unknown(key: &str, command: &Command) -> String {
    let keys = command.get_arguments().filter_map(Arg::get_long).filter(|l| !NEVER.contains(l));
    let keys: Vec<String> = keys.map(|l| l.replace('-', "_")).collect();
    let likeness = |k: &String| strsim::jaro_winkler(k, key);
    let nearest = keys.iter().max_by(|a, b| likeness(a).total_cmp(&likeness(b)));
    format!("unknown key `{key}`; the nearest is `{}`", nearest.map_or("about", String::as_str))
}

/// Adds a key's flag; false if it is a switch that is off.
fn put(words: &mut Vec<OsString>, long: &str, arg: &Arg, value: &Value) -> Result<bool, String> {
    let is_switch = matches!(arg.get_action(), ArgAction::SetTrue | ArgAction::SetFalse);
    let one = |v: &Value| match v {
        Value::String(s) => Ok(s.clone()),
        Value::Integer(i) => Ok(i.to_string()),
        Value::Float(f) => Ok(f.to_string()),
        other => Err(format!("a value of type {} where a text or a number is expected", other.type_str())),
    };
    match (value, is_switch) {
        (Value::Boolean(on), true) => {
            if *on {
                words.push(format!("--{long}").into());
            }
            Ok(*on)
        }
        (_, true) => Err(format!("a value of type {} where true or false is expected", value.type_str())),
        (Value::Array(list), false) if matches!(arg.get_action(), ArgAction::Append) => {
            for v in list {
                words.push(format!("--{long}={}", one(v)?).into());
            }
            Ok(!list.is_empty())
        }
        (v, false) => {
            words.push(format!("--{long}={}", one(v)?).into());
            Ok(true)
        }
    }
}

fn is_typed(words: &[OsString], long: &str) -> bool {
    words.iter().take_while(|w| *w != "--").any(|w| {
        w.to_str().and_then(|w| w.strip_prefix("--")).is_some_and(|w| w.split('=').next() == Some(long))
    })
}

/// The value of a flag among words that are not parsed yet.
fn flag(words: &[OsString], long: &str) -> Option<String> {
    let mut words = words.iter().take_while(|w| *w != "--");
    while let Some(w) = words.next() {
        let Some(rest) = w.to_str().and_then(|w| w.strip_prefix("--")).and_then(|w| w.strip_prefix(long))
        else {
            continue;
        };
        if let Some(value) = rest.strip_prefix('=') {
            return Some(value.to_owned());
        }
        if rest.is_empty() {
            return words.next().and_then(|w| w.to_str()).map(str::to_owned);
        }
    }
    None
}

/// What was given to a command, by the names of its flags.
pub(crate) fn given(
    cli: &Command,
    name: &str,
    matches: &ArgMatches,
    recipe: Option<&Used>,
) -> BTreeMap<String, Given> {
    let mut all = BTreeMap::new();
    let Some(command) = cli.find_subcommand(name) else { return all };
    for arg in command.get_arguments() {
        let (id, Some(long)) = (arg.get_id().as_str(), arg.get_long()) else { continue };
        if NEVER.contains(&long) || !matches.try_contains_id(id).unwrap_or(false) {
            continue;
        }
        let origin = match matches.value_source(id) {
            Some(ValueSource::CommandLine) => match recipe.filter(|r| r.flags.contains(long)) {
                Some(r) => format!("recipe {}", r.name),
                None => "flag".to_owned(),
            },
            Some(ValueSource::EnvVariable) => {
                format!("environment {}", arg.get_env().unwrap_or_default().to_string_lossy())
            }
            _ => "default".to_owned(),
        };
        let values = matches.try_get_raw(id).ok().flatten().into_iter().flatten();
        let values: Vec<String> = values.map(|v| v.to_string_lossy().into_owned()).collect();
        all.insert(long.to_owned(), Given { value: values.join(" "), origin });
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cli() -> Command {
        let number = |name: &'static str| Arg::new(name).long(name);
        Command::new("pupil").subcommand(
            Command::new("pretrain")
                .arg(number("depth"))
                .arg(number("minutes").conflicts_with("steps"))
                .arg(number("steps"))
                .arg(number("batch-tokens").default_value("2048"))
                .arg(Arg::new("data").long("data").action(ArgAction::Append).num_args(1..))
                .arg(Arg::new("starter").long("starter").action(ArgAction::SetTrue))
                .arg(number("recipe")),
        )
    }

    fn parse(recipe: &str, typed: &str) -> anyhow::Result<BTreeMap<String, Given>> {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("r.toml");
        std::fs::write(&file, recipe).unwrap();
        let words = format!("pupil pretrain {typed}");
        let words = words.split_whitespace().map(|w| w.replace("FILE", file.to_str().unwrap()).into());
        let (words, used) = expand(words.collect(), &cli())?;
        let matches = cli().try_get_matches_from(words)?;
        Ok(given(&cli(), "pretrain", matches.subcommand().unwrap().1, used.as_ref()))
    }

    #[test]
    fn what_is_typed_wins_over_the_recipe_and_the_recipe_over_defaults() {
        let recipe = "about = \"x\"\ndepth = 3\nminutes = 2.5\nstarter = true\ndata = [\"a\", \"b\"]\n";
        let all = parse(recipe, "--depth 4 --recipe FILE").unwrap();
        let of = |name: &str| (all[name].value.as_str(), all[name].origin.split('/').next().unwrap().trim());
        assert_eq!(of("depth"), ("4", "flag"));
        assert_eq!((of("minutes"), of("data")), (("2.5", "recipe"), ("a b", "recipe")));
        assert_eq!(of("batch-tokens"), ("2048", "default"));
        // What cannot stand beside what is typed gives way.
        let all = parse(recipe, "--recipe=FILE --steps=9").unwrap();
        assert!(!all.contains_key("minutes") && all["steps"].value == "9");
        assert!(!parse(recipe, "--depth 4").unwrap().contains_key("minutes"));
    }

    #[test]
    fn wrong_recipes_are_named_with_what_is_nearest() {
        for (recipe, words) in [
            ("dept = 3", "unknown key `dept`; the nearest is `depth`"),
            ("batch_token = 3", "`batch_tokens`"),
            ("recipe = \"x\"", "unknown key `recipe`"),
            ("starter = 1", "true or false"),
            ("depth = { a = 1 }", "a text or a number"),
            ("depth = [1]", "a text or a number"),
            ("depth =", "TOML parse error at line 1"),
        ] {
            let e = parse(recipe, "--recipe FILE").unwrap_err();
            assert!(e.is::<Usage>() && e.to_string().contains(words), "{recipe}: {e}");
        }
        let e = parse("", "--recipe absent.toml").unwrap_err().to_string();
        assert!(e.contains("absent.toml") && e.contains("pretrain-20"), "{e}");
    }

    #[test]
    fn recipes_that_are_carried_explain_every_field() {
        for (name, text) in PRETRAIN {
            let table: toml::Table = toml::from_str(text).unwrap();
            assert!(table.contains_key("minutes"), "{name}");
            for line in text.lines().filter(|l| l.contains('=') && !l.starts_with('#')) {
                let before = text.lines().take_while(|l| l != &line).last().unwrap_or_default();
                assert!(before.starts_with('#'), "{name}: {line} is not explained");
            }
        }
    }
}
