//! Parsing the command line of one verb without the grammar of all others.
//!
//! Building the whole grammar takes longer than anything else that the command line does before a container is made. So the
//! verbs of the hot path are parsed by their own grammar; whatever that does not take (help, an error) goes through the
//! whole one, whose words the user sees.

use std::ffi::OsString;

use clap::{Args, Command, FromArgMatches};

use crate::verbs::{Verb, exec, ps, rm, run};
use crate::{Cli, Global};

/// The global flags, whose values are not verbs.
const GLOBAL: [&str; 3] = ["--data-root", "--run-root", "--cgroup-root"];

/// The command line, if it is a right one of a verb that is known here.
pub(crate) fn parse(args: &[OsString]) -> Option<Cli> {
    match verb(args)? {
        "run" => narrow::<run::Args>("run", args, Verb::Run),
        "exec" => narrow::<exec::Args>("exec", args, Verb::Exec),
        "ps" => narrow::<ps::Args>("ps", args, Verb::Ps),
        "rm" => narrow::<rm::Args>("rm", args, Verb::Rm),
        _ => None,
    }
}

/// The first word that is neither a global flag nor its value.
fn verb(args: &[OsString]) -> Option<&str> {
    let mut words = args.iter().skip(1);
    loop {
        match words.next()?.to_str()? {
            flag if GLOBAL.contains(&flag) => drop(words.next()?),
            flag if flag.starts_with('-') => {}
            word => return Some(word),
        }
    }
}

fn narrow<A: Args>(name: &'static str, args: &[OsString], wrap: fn(A) -> Verb) -> Option<Cli> {
    let grammar = Global::augment_args(Command::new("sampan").subcommand_required(true))
        .subcommand(A::augment_args(Command::new(name)));
    let matches = grammar.try_get_matches_from(args).ok()?;
    let (_, own) = matches.subcommand()?;
    // Global flags may stand behind the verb: there clap has them in the verb's matches, too.
    let global = Global::from_arg_matches(own).or_else(|_| Global::from_arg_matches(&matches)).ok()?;
    Some(Cli { global, verb: wrap(A::from_arg_matches(own).ok()?) })
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    fn words(line: &str) -> Vec<OsString> {
        line.split_whitespace().map(OsString::from).collect()
    }

    #[test]
    fn the_verb_is_the_first_word_that_is_no_flag() {
        for (line, expected) in [
            ("sampan run x", Some("run")),
            ("sampan --data-root /d run x", Some("run")),
            ("sampan --data-root=/d --run-root /r ps -a", Some("ps")),
            ("sampan --version", None),
            ("sampan", None),
        ] {
            assert_eq!(verb(&words(line)), expected, "{line}");
        }
    }

    #[test]
    fn both_grammars_say_the_same() {
        for line in [
            "sampan run --rm -it -e A=b -v /a:/b host:sh -c exit",
            "sampan --data-root /d run image ps --all",
            "sampan run --run-root /r --name xx image",
            "sampan exec -e A=1 --user 0 box sh -c true",
            "sampan ps -a --no-trunc --filter name=x",
            "sampan rm -f --data-root /d a b",
        ] {
            let line = words(line);
            let one = parse(&line).map(|cli| format!("{:?} {:?}", cli.global, cli.verb));
            let other = Cli::try_parse_from(&line).ok().map(|cli| format!("{:?} {:?}", cli.global, cli.verb));
            assert!(one.is_some() && one == other, "{line:?}: {one:?} and {other:?}");
        }
        assert!(parse(&words("sampan run --nope")).is_none());
        assert!(parse(&words("sampan images")).is_none());
    }
}
