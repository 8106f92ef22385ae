//! Templates of `--format`, as much of Go's as people use with docker: fields, `range`, `if`, `else`,
//! pipes, and the functions `json`, `upper`, `lower`, `title`, `len`, `index`, `join`, `println`.

use serde_json::Value;

use super::words::title;
use crate::error::CliError;

/// A template that was read.
#[derive(Debug, Clone)]
pub struct Template(Vec<Node>);

#[derive(Debug, Clone)]
enum Node {
    Text(String),
    Show(Pipe),
    Range(Pipe, Vec<Node>, Vec<Node>),
    If(Pipe, Vec<Node>, Vec<Node>),
}

/// Calls whose last argument is the result of the one before.
#[derive(Debug, Clone)]
struct Pipe(Vec<Vec<Term>>);

#[derive(Debug, Clone)]
enum Term {
    /// `.A.B`, `.` alone being the whole.
    Field(Vec<String>),
    /// `"text"` or a number.
    Literal(Value),
    /// A function's name.
    Call(String),
}

fn refused(reason: impl Into<String>) -> CliError {
    CliError::Template(reason.into())
}

impl Template {
    /// Reads a template; `\t` and `\n` stand for what they name, as docker reads them.
    pub fn parse(text: &str) -> Result<Self, CliError> {
        let text = text.replace("\\t", "\t").replace("\\n", "\n");
        let mut pieces = pieces(&text)?.into_iter();
        let (nodes, end) = block(&mut pieces)?;
        match end {
            None => Ok(Self(nodes)),
            Some(word) => Err(refused(format!("unexpected {{{{{word}}}}}"))),
        }
    }

    /// Fills it in.
    pub fn fill(&self, data: &Value) -> Result<String, CliError> {
        let mut text = String::new();
        fill(&self.0, data, &mut text)?;
        Ok(text)
    }
}

enum Piece {
    Text(String),
    Action(String),
}

fn pieces(text: &str) -> Result<Vec<Piece>, CliError> {
    let mut all = Vec::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once("{{") {
        let (action, behind) =
            after.split_once("}}").ok_or_else(|| refused("an action is not closed with }}"))?;
        let trims_left = action.starts_with("- ");
        let trims_right = action.ends_with(" -");
        let before = if trims_left { before.trim_end() } else { before };
        all.push(Piece::Text(before.to_owned()));
        let action = action.strip_prefix("- ").unwrap_or(action);
        all.push(Piece::Action(action.strip_suffix(" -").unwrap_or(action).trim().to_owned()));
        rest = if trims_right { behind.trim_start() } else { behind };
    }
    all.push(Piece::Text(rest.to_owned()));
    Ok(all)
}

/// Reads up to `end`, `else` or the end of the text; tells which of the two words it was.
fn block(pieces: &mut std::vec::IntoIter<Piece>) -> Result<(Vec<Node>, Option<String>), CliError> {
    let mut nodes = Vec::new();
    while let Some(piece) = pieces.next() {
        let action = match piece {
            Piece::Text(text) => {
                nodes.push(Node::Text(text));
                continue;
            }
            Piece::Action(action) => action,
        };
        let (word, rest) = action.split_once(char::is_whitespace).unwrap_or((&action, ""));
        match word {
            "end" | "else" => return Ok((nodes, Some(word.to_owned()))),
            "range" => {
                let (body, other) = branches(pieces)?;
                nodes.push(Node::Range(pipe(rest)?, body, other));
            }
            "if" => {
                let (body, other) = branches(pieces)?;
                nodes.push(Node::If(pipe(rest)?, body, other));
            }
            _ => nodes.push(Node::Show(pipe(&action)?)),
        }
    }
    Ok((nodes, None))
}

fn branches(pieces: &mut std::vec::IntoIter<Piece>) -> Result<(Vec<Node>, Vec<Node>), CliError> {
    let unclosed = || refused("range and if are closed with {{end}}");
    let (body, end) = block(pieces)?;
    if end.as_deref() == Some("end") {
        return Ok((body, Vec::new()));
    }
    end.ok_or_else(unclosed)?;
    match block(pieces)? {
        (other, Some(end)) if end == "end" => Ok((body, other)),
        _ => Err(unclosed()),
    }
}

fn pipe(text: &str) -> Result<Pipe, CliError> {
    let mut calls = vec![Vec::new()];
    for token in tokens(text)? {
        match token.as_str() {
            "|" => calls.push(Vec::new()),
            token => {
                let term = term(token)?;
                if let Some(call) = calls.last_mut() {
                    call.push(term);
                }
            }
        }
    }
    if calls.iter().any(Vec::is_empty) {
        return Err(refused(format!("missing value in {{{{{text}}}}}")));
    }
    Ok(Pipe(calls))
}

fn tokens(text: &str) -> Result<Vec<String>, CliError> {
    let mut all = Vec::new();
    let mut rest = text.trim_start();
    while !rest.is_empty() {
        let length = if let Some(quoted) = rest.strip_prefix('"') {
            quoted.find('"').map(|end| end + 2).ok_or_else(|| refused("a text is not closed with \""))?
        } else if rest.starts_with('|') {
            1
        } else {
            rest.find(|c: char| c.is_whitespace() || c == '|').unwrap_or(rest.len())
        };
        let (token, behind) = rest.split_at(length);
        all.push(token.to_owned());
        rest = behind.trim_start();
    }
    Ok(all)
}

fn term(token: &str) -> Result<Term, CliError> {
    const CALLS: [&str; 9] = ["json", "upper", "lower", "title", "len", "index", "join", "println", "print"];
    if let Some(path) = token.strip_prefix('.') {
        let steps = path.split('.').filter(|step| !step.is_empty()).map(str::to_owned);
        return Ok(Term::Field(steps.collect()));
    }
    if let Some(text) = token.strip_prefix('"') {
        return Ok(Term::Literal(Value::String(text.trim_end_matches('"').to_owned())));
    }
    if let Ok(number) = token.parse::<i64>() {
        return Ok(Term::Literal(number.into()));
    }
    if CALLS.contains(&token) {
        return Ok(Term::Call(token.to_owned()));
    }
    Err(refused(format!("function \"{token}\" not defined")))
}

fn fill(nodes: &[Node], data: &Value, text: &mut String) -> Result<(), CliError> {
    for node in nodes {
        match node {
            Node::Text(piece) => text.push_str(piece),
            Node::Show(pipe) => text.push_str(&shown(&run(pipe, data)?)),
            Node::If(pipe, body, other) => {
                fill(if is_true(&run(pipe, data)?) { body } else { other }, data, text)?;
            }
            Node::Range(pipe, body, other) => match run(pipe, data)? {
                Value::Array(items) if !items.is_empty() => {
                    items.iter().try_for_each(|item| fill(body, item, text))?;
                }
                Value::Object(items) if !items.is_empty() => {
                    items.values().try_for_each(|item| fill(body, item, text))?;
                }
                _ => fill(other, data, text)?,
            },
        }
    }
    Ok(())
}

fn run(pipe: &Pipe, data: &Value) -> Result<Value, CliError> {
    let mut carried: Option<Value> = None;
    for call in &pipe.0 {
        let (first, rest) = call.split_first().ok_or_else(|| refused("missing value"))?;
        let mut arguments: Vec<Value> = Vec::new();
        for term in rest {
            arguments.push(value(term, data)?);
        }
        carried = Some(match first {
            Term::Call(name) => {
                arguments.extend(carried.take());
                apply(name, &arguments)?
            }
            other if arguments.is_empty() && carried.is_none() => value(other, data)?,
            _ => return Err(refused("can't give argument to non-function")),
        });
    }
    carried.ok_or_else(|| refused("missing value"))
}

fn value(term: &Term, data: &Value) -> Result<Value, CliError> {
    match term {
        Term::Literal(value) => Ok(value.clone()),
        Term::Field(steps) => field(data, steps),
        Term::Call(name) => apply(name, &[]),
    }
}

fn field(data: &Value, steps: &[String]) -> Result<Value, CliError> {
    let mut found = data;
    for step in steps {
        found = match found {
            Value::Object(fields) => fields.get(step).ok_or_else(|| {
                let mut known: Vec<_> = fields.keys().map(String::as_str).collect();
                known.sort_unstable();
                refused(format!("no field {step:?}; there are {}", known.join(", ")))
            })?,
            Value::Null => &Value::Null,
            _ => return Err(refused(format!("{step:?} is asked of something that has no fields"))),
        };
    }
    Ok(found.clone())
}

fn apply(name: &str, arguments: &[Value]) -> Result<Value, CliError> {
    let text = |value: &Value| Value::String(shown(value));
    Ok(match (name, arguments) {
        ("json", [value]) => Value::String(value.to_string()),
        ("upper", [value]) => Value::String(shown(value).to_uppercase()),
        ("lower", [value]) => Value::String(shown(value).to_lowercase()),
        ("title", [value]) => Value::String(title(&shown(value))),
        ("print", [value]) => text(value),
        ("println", [value]) => Value::String(format!("{}\n", shown(value))),
        ("println", []) => Value::String("\n".to_owned()),
        ("len", [Value::Array(items)]) => items.len().into(),
        ("len", [Value::Object(fields)]) => fields.len().into(),
        ("len", [value]) => shown(value).len().into(),
        ("index", [Value::Object(fields), Value::String(key)]) => {
            fields.get(key).cloned().unwrap_or(Value::String(String::new()))
        }
        ("index", [Value::Array(items), Value::Number(place)]) => {
            let place = place.as_u64().and_then(|place| usize::try_from(place).ok());
            let found = place.and_then(|place| items.get(place));
            found.cloned().ok_or_else(|| refused("index out of range"))?
        }
        ("join", [Value::Array(items), Value::String(between)]) => {
            Value::String(items.iter().map(shown).collect::<Vec<_>>().join(between))
        }
        _ => return Err(refused(format!("wrong arguments for {name}"))),
    })
}

fn is_true(value: &Value) -> bool {
    !mesh_api::engine::says_nothing(value)
}

/// A value as Go prints it.
fn shown(value: &Value) -> String {
    match value {
        Value::Null => "<no value>".to_owned(),
        Value::String(text) => text.clone(),
        Value::Array(items) => format!("[{}]", items.iter().map(shown).collect::<Vec<_>>().join(" ")),
        Value::Object(fields) => {
            let pairs: Vec<_> = fields.iter().map(|(key, value)| format!("{key}:{}", shown(value))).collect();
            format!("map[{}]", pairs.join(" "))
        }
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn filled(template: &str) -> String {
        let data = json!({"ID": "abc", "Spec": {"Name": "web", "Labels": {"a": "1"}}, "Ports": [80, 81], "On": true,
            "Empty": []});
        Template::parse(template)
            .and_then(|template| template.fill(&data))
            .unwrap_or_else(|error| error.to_string())
    }

    #[test]
    fn templates_are_filled_as_go_fills_them() {
        for (template, text) in [
            ("{{.ID}}: {{ .Spec.Name }}", "abc: web"),
            ("{{json .Spec}}", r#"{"Labels":{"a":"1"},"Name":"web"}"#),
            ("{{.Spec.Name | upper}}", "WEB"),
            ("{{upper .ID}}-{{title .ID}}-{{len .Ports}}", "ABC-Abc-2"),
            (r#"{{index .Spec.Labels "a"}}"#, "1"),
            ("{{index .Ports 1}}", "81"),
            ("{{range .Ports}}<{{.}}>{{end}}", "<80><81>"),
            ("{{range .Empty}}x{{else}}none{{end}}", "none"),
            ("{{if .On}}on{{else}}off{{end}}{{if .Empty}}x{{end}}", "on"),
            (r"{{.ID}}\t{{.ID}}", "abc\tabc"),
            ("{{.Ports}} {{.Spec.Labels}}", "[80 81] map[a:1]"),
            (r#"{{join .Ports ","}}"#, "80,81"),
            ("a {{- .ID -}} b", "aabcb"),
            ("plain", "plain"),
        ] {
            assert_eq!(filled(template), text, "{template}");
        }
    }

    #[test]
    fn what_is_no_template_is_refused() {
        for (template, words) in [
            ("{{.ID", "not closed"),
            ("{{nope .ID}}", r#"function "nope" not defined"#),
            ("{{.Nope}}", r#"no field "Nope"; there are Empty, ID"#),
            ("{{range .Ports}}x", "closed with {{end}}"),
            ("{{end}}", "unexpected {{end}}"),
            ("{{}}", "missing value"),
            ("{{.ID .ID}}", "can't give argument"),
            ("{{index .Ports 9}}", "out of range"),
        ] {
            let message = filled(template);
            assert!(message.starts_with("template parsing error: ") && message.contains(words), "{message}");
        }
    }
}
