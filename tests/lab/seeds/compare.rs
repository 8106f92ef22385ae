//! Expected lines against printed ones: tables column by column, JSON value by value, other text line by line.

use serde_json::Value;

use super::pattern::{Bound, matches};

/// What does not fit; on success `bound` knows what was new.
pub fn compare(expected: &[String], actual: &[String], bound: &mut Bound) -> Result<(), String> {
    match expected.first().map(String::as_str) {
        Some(first) if is_header(first) => table(expected, actual, bound),
        Some("[") => json(expected, actual, bound),
        _ => lines(expected, actual, bound),
    }
}

fn is_header(line: &str) -> bool {
    ["ID ", "NETWORK ID "].iter().any(|first| line.starts_with(first))
}

/// Each line but for the width of its gaps; `...` is any number of lines.
fn lines(expected: &[String], actual: &[String], bound: &mut Bound) -> Result<(), String> {
    let Some((first, rest)) = expected.split_first() else {
        return actual.first().map_or(Ok(()), |line| Err(format!("nothing more is expected, but {line:?}")));
    };
    if first == "..." {
        let skipped = (0..=actual.len()).find_map(|skip| lines(rest, &actual[skip..], bound).ok());
        return skipped.ok_or_else(|| format!("behind `...` nothing is {:?}", rest.first()));
    }
    let line = actual.first().ok_or_else(|| format!("expected {first:?}, and nothing came"))?;
    if !matches(&narrow(first), &narrow(line), bound) {
        return Err(format!("expected {:?}\n   found {:?}", narrow(first), narrow(line)));
    }
    lines(rest, &actual[1..], bound)
}

fn narrow(line: &str) -> String {
    line.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// A table's cells: columns begin where the header's do.
fn cells(lines: &[String]) -> Vec<Vec<String>> {
    let header: Vec<char> = lines.first().map(|line| line.chars().collect()).unwrap_or_default();
    let is_gap = |at: usize| header.get(at).is_none_or(|letter| *letter == ' ');
    let starts = |at: &usize| !is_gap(*at) && (*at == 0 || (is_gap(at - 1) && (*at == 1 || is_gap(at - 2))));
    let starts: Vec<usize> = (0..header.len()).filter(starts).collect();
    let cell = |line: &String, column: usize| {
        let end = starts.get(column + 1).copied().unwrap_or(usize::MAX);
        let letters = line.chars().skip(starts[column]).take(end - starts[column]);
        letters.collect::<String>().trim().to_owned()
    };
    lines.iter().map(|line| (0..starts.len()).map(|column| cell(line, column)).collect()).collect()
}

fn table(expected: &[String], actual: &[String], bound: &mut Bound) -> Result<(), String> {
    let (wanted, found) = (cells(expected), cells(actual));
    let header = wanted.first().cloned().unwrap_or_default();
    if found.first() != Some(&header) {
        return Err(format!("columns: expected {header:?}\n            found {:?}", found.first()));
    }
    for (row, (wanted, found)) in wanted.iter().zip(&found).enumerate().skip(1) {
        for ((name, wanted), found) in header.iter().zip(wanted).zip(found) {
            if !matches(wanted, found, bound) {
                return Err(format!("row {row}, {name}: expected {wanted:?}, found {found:?}"));
            }
        }
    }
    if wanted.len() != found.len() {
        return Err(format!("expected {} rows, found {}", wanted.len() - 1, found.len() - 1));
    }
    Ok(())
}

/// All that is expected is there; what else there is does not count. `"<time>"` is any time, `"<number>"` any
/// number.
fn json(expected: &[String], actual: &[String], bound: &mut Bound) -> Result<(), String> {
    let read = |lines: &[String]| {
        serde_json::from_str::<Value>(&lines.join("\n")).map_err(|error| error.to_string())
    };
    value("", &read(expected)?, &read(actual)?, bound)
}

fn value(path: &str, expected: &Value, actual: &Value, bound: &mut Bound) -> Result<(), String> {
    let differs = || Err(format!("{path}: expected {expected}, found {actual}"));
    match (expected, actual) {
        (Value::Object(expected), Value::Object(actual)) => {
            expected.iter().try_for_each(|(key, wanted)| match actual.get(key) {
                Some(found) => value(&format!("{path}.{key}"), wanted, found, bound),
                None => Err(format!("{path}.{key} is missing: expected {wanted}")),
            })
        }
        (Value::Array(expected), Value::Array(actual)) if expected.len() == actual.len() => {
            let pairs = expected.iter().zip(actual).enumerate();
            pairs
                .into_iter()
                .try_for_each(|(at, (wanted, found))| value(&format!("{path}[{at}]"), wanted, found, bound))
        }
        (Value::String(wanted), Value::Number(_)) if wanted == "<number>" => Ok(()),
        (Value::String(wanted), Value::String(found)) if wanted == "<time>" => {
            let is_time = found.len() > 20 && found.ends_with('Z') && found.contains('T');
            if is_time { Ok(()) } else { differs() }
        }
        (Value::String(wanted), Value::String(found)) if matches(wanted, found, bound) => Ok(()),
        _ if expected == actual => Ok(()),
        _ => differs(),
    }
}

#[test]
fn what_differs_is_named() {
    let lines = |text: &str| text.lines().map(str::to_owned).collect::<Vec<_>>();
    let differs =
        |expected: &str, actual: &str| compare(&lines(expected), &lines(actual), &mut Bound::new()).err();
    let table = "ID    NAME       DESIRED STATE   PORTS\n<id>  web.1      Running         *:80->80/tcp\n<id>   \\_ web.1  Shutdown";
    let id = "87m0t5wenl15";
    let printed = |state: &str| {
        format!(
            "ID             NAME        DESIRED STATE   PORTS\n{id}   web.1       {state:<13}   *:80->80/tcp\n{id}    \\_ web.1   Shutdown        "
        )
    };
    assert_eq!(differs(table, &printed("Running")), None);
    assert_eq!(
        differs(table, &printed("Ready")).unwrap(),
        "row 1, DESIRED STATE: expected \"Running\", found \"Ready\""
    );
    assert!(differs("ID  NAME", table).unwrap().starts_with("columns"));
    assert_eq!(differs("ID  NAME", "ID   NAME\na    b").unwrap(), "expected 0 rows, found 1");
    assert_eq!(differs("[\n{\"A\": \"<number>\", \"B\": [1]}]", "[{\"A\": 7, \"B\": [1], \"C\": 2}]"), None);
    assert_eq!(
        differs("[\n{\"A\": {\"B\": 1}}]", "[{\"A\": {}}]").unwrap(),
        "[0].A.B is missing: expected 1"
    );
    assert_eq!(differs("a  b\n...\nd", "a b\nx\ny\nd"), None);
    assert_eq!(differs("a\n...\nd", "a\nx").unwrap(), "behind `...` nothing is Some(\"d\")");
}
