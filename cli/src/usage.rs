//! A command line that makes no sense, in one line that says what to do.

/// The line for what clap says in several: what is wrong, what may be meant, where help is.
pub fn line(text: &str) -> String {
    let mut paragraphs = text.trim().split("\n\n").map(words);
    let wrong = paragraphs.next().unwrap_or_default();
    let wrong = wrong.strip_prefix("error: ").unwrap_or(&wrong);
    let mut hints = Vec::new();
    for paragraph in paragraphs {
        if let Some(tip) = paragraph.strip_prefix("tip: ") {
            hints.push(tip.to_owned());
        } else if let Some(usage) = paragraph.strip_prefix("Usage: ") {
            hints.push(format!("see `{} --help`", command(usage)));
        }
    }
    match hints.as_slice() {
        [] => wrong.to_owned(),
        hints => format!("{wrong} ({})", hints.join("; ")),
    }
}

fn words(paragraph: &str) -> String {
    paragraph.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// The command whose usage this is.
fn command(usage: &str) -> String {
    let plain = |word: &&str| {
        word.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'-' && !word.starts_with('-'))
    };
    usage.split(' ').take_while(plain).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;
    use crate::cli::Cli;

    fn refused(words: &str) -> String {
        let words = ["meshctl"].into_iter().chain(words.split_whitespace());
        line(&Cli::try_parse_from(words).unwrap_err().render().to_string())
    }

    #[test]
    fn what_is_wrong_stands_in_one_line_with_what_to_do() {
        for (words, said) in [
            (
                "service create",
                "the following required arguments were not provided: <IMAGE [COMMAND] [ARG...]>... (see `meshctl service \
                 create --help`)",
            ),
            (
                "service update --replica 2 web",
                "unexpected argument '--replica' found (a similar argument exists: '--replicas'; see `meshctl service \
                 update --help`)",
            ),
            (
                "service scale web",
                "invalid value 'web' for '<SERVICE=REPLICAS>...': invalid scale specifier 'web': SERVICE=REPLICAS is \
                 expected",
            ),
            (
                "service create --mode job img",
                "invalid value 'job' for '--mode <MODE>' [possible values: replicated, global, replicated-job, \
                 global-job]",
            ),
            (
                "servic ls",
                "unrecognized subcommand 'servic' (a similar subcommand exists: 'service'; see `meshctl --help`)",
            ),
        ] {
            let line = refused(words);
            assert!(line.starts_with(said), "{words}: {line}");
            assert_eq!(line.lines().count(), 1, "{line}");
        }
    }
}
