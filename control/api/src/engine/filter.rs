//! Filters of lists: `{"name":["web"]}`, or with a map instead of the list as older clients send them.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

/// What a list is narrowed to: values by filter, any of which may match.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Filters(BTreeMap<String, BTreeSet<String>>);

/// A filter that cannot be used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FilterError {
    /// The parameter is no JSON map.
    Syntax {
        /// What was offered, cut to 64 characters.
        text: String,
    },
    /// No such filter for this list.
    Unknown {
        /// Its name.
        name: String,
    },
    /// The filter cannot have this value.
    Value {
        /// Its name.
        name: String,
        /// The value.
        value: String,
    },
}

impl std::fmt::Display for FilterError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Syntax { text } => write!(f, "invalid filters {text:?}: a JSON map of lists is expected"),
            Self::Unknown { name } => write!(f, "Invalid filter '{name}'"),
            Self::Value { name, value } => write!(f, "Invalid filter '{name}={value}'"),
        }
    }
}

impl std::error::Error for FilterError {}

impl Filters {
    /// Reads the `filters` parameter; empty text is no filter.
    pub fn parse(text: &str) -> Result<Self, FilterError> {
        let refused = || FilterError::Syntax { text: text.chars().take(64).collect() };
        if text.is_empty() {
            return Ok(Self::default());
        }
        let filters: BTreeMap<String, Value> = serde_json::from_str(text).map_err(|_| refused())?;
        let mut all = Self::default();
        for (name, values) in filters {
            for value in listed(values).ok_or_else(refused)? {
                all.add(&name, &value);
            }
        }
        Ok(all)
    }

    /// Adds a value to a filter.
    pub fn add(&mut self, name: &str, value: &str) {
        self.0.entry(name.to_owned()).or_default().insert(value.to_owned());
    }

    /// Refuses filters that the list does not know.
    pub fn check(&self, known: &[&str]) -> Result<(), FilterError> {
        match self.0.keys().find(|name| !known.contains(&name.as_str())) {
            Some(name) => Err(FilterError::Unknown { name: name.clone() }),
            None => Ok(()),
        }
    }

    /// Refuses values of a filter other than those it can have.
    pub fn check_values(&self, name: &str, possible: &[&str]) -> Result<(), FilterError> {
        let wrong =
            self.get(name).and_then(|values| values.iter().find(|value| !possible.contains(&value.as_str())));
        match wrong {
            Some(value) => Err(FilterError::Value { name: name.to_owned(), value: value.clone() }),
            None => Ok(()),
        }
    }

    /// The values of a filter, when it is set.
    pub fn get(&self, name: &str) -> Option<&BTreeSet<String>> {
        self.0.get(name)
    }

    /// Whether the filter is not set, or one of its values satisfies `test`.
    pub fn any(&self, name: &str, test: impl FnMut(&String) -> bool) -> bool {
        self.get(name).is_none_or(|values| values.iter().any(test))
    }

    /// Whether all values of a label filter (`KEY` or `KEY=VALUE`) hold of these labels.
    pub fn labels(&self, name: &str, labels: &super::Map) -> bool {
        self.get(name).is_none_or(|values| values.iter().all(|wanted| label_matches(wanted, labels)))
    }

    /// Whether nothing is filtered.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The parameter's text.
    pub fn to_json(&self) -> String {
        serde_json::json!(self.0).to_string()
    }
}

fn label_matches(wanted: &str, labels: &super::Map) -> bool {
    match wanted.split_once('=') {
        Some((key, value)) => labels.get(key).is_some_and(|have| have == value),
        None => labels.contains_key(wanted),
    }
}

/// The values out of `["a"]` or `{"a":true}`.
fn listed(values: Value) -> Option<Vec<String>> {
    match values {
        Value::Array(items) => items
            .into_iter()
            .map(|item| match item {
                Value::String(text) => Some(text),
                _ => None,
            })
            .collect(),
        Value::Object(items) => items
            .into_iter()
            .map(|(key, on)| match on {
                Value::Bool(_) => Some((key, on == Value::Bool(true))),
                _ => None,
            })
            .collect::<Option<Vec<_>>>()
            .map(|items| items.into_iter().filter(|(_, on)| *on).map(|(key, _)| key).collect()),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_spellings_are_read() {
        for text in [r#"{"name":["web","db"]}"#, r#"{"name":{"web":true,"db":true,"x":false}}"#] {
            let filters = Filters::parse(text).unwrap();
            let names: Vec<_> = filters.get("name").unwrap().iter().map(String::as_str).collect();
            assert_eq!(names, ["db", "web"], "{text}");
        }
        assert!(Filters::parse("").unwrap().is_empty());
    }

    #[test]
    fn what_is_no_filter_is_refused() {
        for text in ["{", "[]", r#"{"name":"web"}"#, r#"{"name":[1]}"#, r#"{"name":{"a":1}}"#] {
            assert!(matches!(Filters::parse(text), Err(FilterError::Syntax { .. })), "{text}");
        }
        let filters = Filters::parse(r#"{"bad":["x"]}"#).unwrap();
        assert_eq!(filters.check(&["name"]).unwrap_err().to_string(), "Invalid filter 'bad'");
    }

    #[test]
    fn labels_match_by_key_or_value_and_all_must_hold() {
        let labels = super::super::Map::from([("a".to_owned(), "1".to_owned())]);
        let holds = |text: &str| Filters::parse(text).unwrap().labels("label", &labels);
        assert!(holds(r#"{"label":["a"]}"#));
        assert!(holds(r#"{"label":["a=1"]}"#));
        assert!(!holds(r#"{"label":["a=2"]}"#));
        assert!(!holds(r#"{"label":["a","b"]}"#));
        assert!(holds("{}"));
    }
}
