//! Transcripts: commands and what they print.
//!
//! A line `WHO$ COMMAND` is a command, `WHO! COMMAND` one that fails; what it prints follows. `WHO` is a node,
//! where the command is `meshctl`'s (or `kill TASK`, the end of a task's process), or `lab`, where it is
//! `meshctl lab`'s. `< TEXT` at the end is the command's input. Empty lines, and lines that begin with `#`, say
//! nothing. The first line of all is `lab NODES`.

/// Who does something.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Who {
    Node(u8),
    Lab,
}

/// One command.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Step {
    /// Its line in the file.
    pub line: usize,
    pub who: Who,
    pub command: String,
    pub input: Option<String>,
    pub fails: bool,
    /// Lines that it prints.
    pub prints: Vec<String>,
}

/// A whole story.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Transcript {
    pub nodes: u8,
    pub steps: Vec<Step>,
}

impl Transcript {
    pub fn parse(text: &str) -> Self {
        let mut lines =
            text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty() && !line.starts_with('#'));
        let (_, first) = lines.next().expect("a transcript begins with `lab NODES`");
        let nodes = first.strip_prefix("lab ").and_then(|nodes| nodes.parse().ok());
        let mut steps: Vec<Step> = Vec::new();
        for (at, line) in lines {
            if let Some(step) = command(at + 1, line) {
                steps.push(step);
                continue;
            }
            let step = steps.last_mut().unwrap_or_else(|| panic!("line {}: no command before it", at + 1));
            step.prints.push(line.to_owned());
        }
        Self { nodes: nodes.expect("a transcript begins with `lab NODES`"), steps }
    }
}

fn command(line: usize, text: &str) -> Option<Step> {
    let at = text.find(['$', '!'])?;
    let who = match &text[..at] {
        "lab" => Who::Lab,
        node => Who::Node(node.strip_prefix('n')?.parse().ok()?),
    };
    let rest = text[at + 1..].strip_prefix(' ')?;
    let (command, input) = match rest.split_once(" < ") {
        Some((command, input)) => (command, Some(format!("{input}\n"))),
        None => (rest, None),
    };
    let fails = text.as_bytes()[at] == b'!';
    Some(Step { line, who, command: command.to_owned(), input, fails, prints: Vec::new() })
}

/// A command's words: quotes hold spaces together.
pub fn words(command: &str) -> Vec<String> {
    let (mut words, mut word, mut quote, mut begun) = (Vec::new(), String::new(), None, false);
    for letter in command.chars() {
        match (letter, quote) {
            ('"' | '\'', None) => (quote, begun) = (Some(letter), true),
            (letter, Some(end)) if letter == end => quote = None,
            (' ', None) => {
                if begun {
                    words.push(std::mem::take(&mut word));
                }
                begun = false;
            }
            (letter, _) => {
                word.push(letter);
                begun = true;
            }
        }
    }
    if begun {
        words.push(word);
    }
    words
}

#[test]
fn commands_and_what_they_print_are_told_apart() {
    let text = "# a story\nlab 2\n\nn1$ meshctl secret create a - < 1 2\nID  NAME\n\n# or\n<id>  a\nn2! meshctl x 'a b' \"\"\n";
    let Transcript { nodes, steps } = Transcript::parse(text);
    assert_eq!(nodes, 2);
    let said = |step: &Step| (step.who, step.fails, step.input.clone(), step.prints.clone());
    assert_eq!(
        said(&steps[0]),
        (Who::Node(1), false, Some("1 2\n".into()), vec!["ID  NAME".into(), "<id>  a".into()])
    );
    assert_eq!(said(&steps[1]), (Who::Node(2), true, None, vec![]));
    assert_eq!(words(&steps[1].command), ["meshctl", "x", "a b", ""]);
}
