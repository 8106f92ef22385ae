//! Expected text with placeholders, and what they stood for.
//!
//! | placeholder | matches |
//! |---|---|
//! | `<id>` | an id, whole or cut to 12 characters |
//! | `<id:x>` | the same id wherever `x` is written |
//! | `<node>`, `<node:x>` | a node's name; the same one |
//! | `<name:x>` | a word; the same one |
//! | `<ago>` | how long ago something was, at least |
//! | `<number>` | digits |
//! | `<a\|b>` | one of these |
//! | `<*>` | anything |

use std::collections::BTreeMap;

/// What names in placeholders stand for.
pub type Bound = BTreeMap<String, String>;

/// Ids are cut to this in tables.
const SHORT: usize = 12;

/// Matches a line or a cell; on success `bound` knows what was new in it.
pub fn matches(expected: &str, actual: &str, bound: &mut Bound) -> bool {
    let mut tried = bound.clone();
    let fits = fit(expected, actual, &mut tried);
    if fits {
        *bound = tried;
    }
    fits
}

fn fit(expected: &str, actual: &str, bound: &mut Bound) -> bool {
    let Some((before, place, after)) = placeholder(expected) else { return expected == actual };
    let Some(rest) = actual.strip_prefix(before) else { return false };
    candidates(place, rest).into_iter().any(|length| {
        let mut tried = bound.clone();
        let fits = bind(place, &rest[..length], &mut tried) && fit(after, &rest[length..], &mut tried);
        if fits {
            *bound = tried;
        }
        fits
    })
}

/// The first placeholder, with what is before and behind it.
fn placeholder(text: &str) -> Option<(&str, &str, &str)> {
    let begin = text.find('<')?;
    let end = begin + text[begin..].find('>')?;
    Some((&text[..begin], &text[begin + 1..end], &text[end + 1..]))
}

/// How much of `text` a placeholder may stand for.
fn candidates(place: &str, text: &str) -> Vec<usize> {
    let run = |is: fn(char) -> bool| text.find(|letter| !is(letter)).unwrap_or(text.len());
    let some = |length: usize| if length == 0 { Vec::new() } else { vec![length] };
    match place.split(':').next().unwrap_or_default() {
        "*" => (0..=text.len()).filter(|at| text.is_char_boundary(*at)).collect(),
        "id" => {
            let length = run(|letter| letter.is_ascii_lowercase() || letter.is_ascii_digit());
            if length == SHORT || length == 25 { vec![length] } else { Vec::new() }
        }
        "node" if text.starts_with('n') => {
            let digits = text[1..].find(|letter: char| !letter.is_ascii_digit()).unwrap_or(text.len() - 1);
            if digits == 0 { Vec::new() } else { vec![digits + 1] }
        }
        "node" => Vec::new(),
        "name" => some(run(|letter| !letter.is_whitespace())),
        "number" => some(run(|letter| letter.is_ascii_digit())),
        "ago" => text.find(" ago").filter(|at| is_span(&text[..*at])).map(|at| at + 4).into_iter().collect(),
        _ => place.split('|').filter(|choice| text.starts_with(choice)).map(str::len).collect(),
    }
}

/// `5 seconds`, `about a minute`, `less than a second`, …
fn is_span(text: &str) -> bool {
    let text = text.to_lowercase();
    let words: Vec<&str> = text.split(' ').collect();
    match words.as_slice() {
        ["less", "than", "a", "second"] | ["about", "a", "minute"] | ["about", "an", "hour"] => true,
        [number, unit] => {
            number.parse::<u32>().is_ok()
                && ["second", "minute", "hour"].contains(&unit.trim_end_matches('s'))
        }
        _ => false,
    }
}

fn bind(place: &str, found: &str, bound: &mut Bound) -> bool {
    let Some((kind, name)) = place.split_once(':').filter(|(kind, _)| ["id", "node", "name"].contains(kind))
    else {
        return true;
    };
    match bound.get_mut(name) {
        None => bound.insert(name.to_owned(), found.to_owned()).is_none(),
        Some(known) if kind == "id" => {
            let same = known[..SHORT] == found[..SHORT];
            if same && found.len() > known.len() {
                found.clone_into(known);
            }
            same
        }
        Some(known) => known == found,
    }
}

/// Puts what is known into a command: `{x}`.
pub fn fill(text: &str, bound: &Bound) -> String {
    bound.iter().fold(text.to_owned(), |text, (name, value)| text.replace(&format!("{{{name}}}"), value))
}

#[test]
fn placeholders_stand_for_what_they_say_and_for_the_same_thing_each_time() {
    let mut bound = Bound::new();
    let id = "87m0t5wenl1543k5a8v2mw5c9";
    assert!(matches("<id:web>", id, &mut bound));
    assert!(matches("<id:web>", &id[..12], &mut bound));
    assert!(!matches("<id:web>", "97m0t5wenl15", &mut bound));
    assert!(!matches("<id>", "87m0t5wenl15x", &mut bound));
    assert!(matches(
        "web.1 on <node:a> is <Ready|Running> <ago>",
        "web.1 on n2 is Running 2 seconds ago",
        &mut bound
    ));
    assert!(!matches("on <node:a>", "on n3", &mut bound));
    for span in ["About a minute ago", "less than a second ago", "1 second ago", "59 minutes ago"] {
        assert!(matches("<ago>", span, &mut bound), "{span}");
    }
    assert!(!matches("<ago>", "a while ago", &mut bound));
    assert!(matches("<*>\"No <*>\"", "x\"No such\"", &mut bound));
    assert_eq!(fill("rm {web} {a}", &bound), format!("rm {id} n2"));
}
