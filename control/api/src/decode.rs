//! Reading JSON as Go's clients expect it to be read: keys match without case, `null` is "not said",
//! unknown fields are passed over, and an error names the field it is about.

use std::fmt;

use serde::de::value::StringDeserializer;
use serde::de::{
    self, DeserializeOwned, DeserializeSeed, Deserializer, IntoDeserializer, MapAccess, SeqAccess, Visitor,
};
use serde_json::Value;

/// What is wrong with a body.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DecodeError {
    /// It is no JSON.
    Syntax {
        /// What the parser met, with line and column.
        reason: String,
    },
    /// A field has a value that it cannot have.
    Field {
        /// The field, as `TaskTemplate.Resources.Limits.Pids`; empty for the body itself.
        path: String,
        /// Why.
        reason: String,
    },
}

impl fmt::Display for DecodeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Syntax { reason } => write!(f, "invalid JSON: {reason}"),
            Self::Field { path, reason } if path.is_empty() => write!(f, "invalid JSON: {reason}"),
            Self::Field { path, reason } => write!(f, "invalid value for {path}: {reason}"),
        }
    }
}

impl std::error::Error for DecodeError {}

/// Reads `bytes` as a `T`.
pub fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, DecodeError> {
    let value: Value =
        serde_json::from_slice(bytes).map_err(|error| DecodeError::Syntax { reason: error.to_string() })?;
    decode_value(value)
}

/// Reads an already parsed value as a `T`.
pub fn decode_value<T: DeserializeOwned>(value: Value) -> Result<T, DecodeError> {
    T::deserialize(Lenient { value })
        .map_err(|error| DecodeError::Field { path: error.path(), reason: error.reason })
}

/// An error on its way up; each level adds its own name.
#[derive(Debug)]
struct Located {
    /// Innermost first.
    steps: Vec<Step>,
    reason: String,
}

#[derive(Debug)]
enum Step {
    Field(String),
    Index(usize),
}

impl Located {
    fn inside(mut self, step: Step) -> Self {
        self.steps.push(step);
        self
    }

    fn path(&self) -> String {
        let mut path = String::new();
        for step in self.steps.iter().rev() {
            match step {
                Step::Field(name) if path.is_empty() => path.push_str(name),
                Step::Field(name) => {
                    path.push('.');
                    path.push_str(name);
                }
                Step::Index(index) => path.extend(["[", &index.to_string(), "]"]),
            }
        }
        path
    }
}

impl fmt::Display for Located {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.reason)
    }
}

impl std::error::Error for Located {}

impl de::Error for Located {
    fn custom<T: fmt::Display>(message: T) -> Self {
        Self { steps: Vec::new(), reason: message.to_string() }
    }
}

/// A parsed value, read leniently.
struct Lenient {
    value: Value,
}

impl<'de> Deserializer<'de> for Lenient {
    type Error = Located;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Located> {
        match self.value {
            Value::Null => visitor.visit_unit(),
            Value::Bool(value) => visitor.visit_bool(value),
            Value::Number(number) => {
                number.deserialize_any(visitor).map_err(|error: serde_json::Error| de::Error::custom(error))
            }
            Value::String(text) => visitor.visit_string(text),
            Value::Array(items) => visitor.visit_seq(Items { items: items.into_iter(), index: 0 }),
            Value::Object(fields) => {
                visitor.visit_map(Fields { rest: fields.into_iter(), known: None, pending: None })
            }
        }
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Located> {
        if self.value.is_null() { visitor.visit_none() } else { visitor.visit_some(self) }
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Located> {
        match self.value {
            Value::Object(object) => {
                visitor.visit_map(Fields { rest: object.into_iter(), known: Some(fields), pending: None })
            }
            _ => Err(de::Error::custom("expected a JSON object")),
        }
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        visitor: V,
    ) -> Result<V::Value, Located> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        name: &'static str,
        variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Located> {
        self.value
            .deserialize_enum(name, variants, visitor)
            .map_err(|error: serde_json::Error| de::Error::custom(error))
    }

    serde::forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf unit
        unit_struct seq tuple tuple_struct map identifier ignored_any
    }
}

impl IntoDeserializer<'_, Located> for Lenient {
    type Deserializer = Self;
    fn into_deserializer(self) -> Self {
        self
    }
}

/// The items of an array.
struct Items {
    items: std::vec::IntoIter<Value>,
    index: usize,
}

impl<'de> SeqAccess<'de> for Items {
    type Error = Located;

    fn next_element_seed<T: DeserializeSeed<'de>>(&mut self, seed: T) -> Result<Option<T::Value>, Located> {
        let Some(value) = self.items.next() else { return Ok(None) };
        let index = self.index;
        self.index += 1;
        seed.deserialize(Lenient { value }).map(Some).map_err(|error| error.inside(Step::Index(index)))
    }
}

/// The fields of an object; with `known`, keys are brought to the spelling of the type that reads them.
struct Fields {
    rest: serde_json::map::IntoIter,
    known: Option<&'static [&'static str]>,
    pending: Option<(String, Value)>,
}

impl Fields {
    fn spelling(&self, key: String) -> String {
        let known = self.known.unwrap_or_default();
        if known.contains(&key.as_str()) {
            return key;
        }
        known.iter().find(|name| name.eq_ignore_ascii_case(&key)).map_or(key, |name| (*name).to_owned())
    }
}

impl<'de> MapAccess<'de> for Fields {
    type Error = Located;

    fn next_key_seed<K: DeserializeSeed<'de>>(&mut self, seed: K) -> Result<Option<K::Value>, Located> {
        let nulls_are_absent = self.known.is_some();
        let next = self.rest.by_ref().find(|(_, value)| !(nulls_are_absent && value.is_null()));
        let Some((key, value)) = next else { return Ok(None) };
        let key = self.spelling(key);
        self.pending = Some((key.clone(), value));
        let key: StringDeserializer<Located> = key.into_deserializer();
        seed.deserialize(key).map(Some)
    }

    fn next_value_seed<T: DeserializeSeed<'de>>(&mut self, seed: T) -> Result<T::Value, Located> {
        let (key, value) = self.pending.take().unwrap_or_default();
        seed.deserialize(Lenient { value }).map_err(|error| error.inside(Step::Field(key)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::service::ServiceSpec;

    fn failure(text: &str) -> String {
        decode::<ServiceSpec>(text.as_bytes()).expect_err(text).to_string()
    }

    #[test]
    fn keys_match_without_case_and_null_is_absent() {
        let text = r#"{"name":"web","LABELS":null,"tasktemplate":{"containerSpec":{"IMAGE":"a","Env":null}},
            "Mode":{"replicated":{"replicas":2}},"Whatever":{"x":[1]}}"#;
        let spec: ServiceSpec = decode(text.as_bytes()).unwrap();
        assert_eq!(spec.name, "web");
        assert_eq!(spec.task_template.container_spec.unwrap().image, "a");
        assert_eq!(spec.mode.unwrap().replicated.unwrap().replicas, Some(2));
    }

    #[test]
    fn user_keys_keep_their_case() {
        let spec: ServiceSpec = decode(br#"{"Labels":{"Name":"a","NAME":"b"}}"#).unwrap();
        assert_eq!(spec.labels.len(), 2);
    }

    #[test]
    fn errors_name_the_field() {
        for (text, wanted) in [
            (
                r#"{"Mode":{"Replicated":{"Replicas":-1}}}"#,
                "invalid value for Mode.Replicated.Replicas: invalid value: integer `-1`, expected u64",
            ),
            (
                r#"{"EndpointSpec":{"Ports":[{},{"targetport":99999999999}]}}"#,
                "invalid value for EndpointSpec.Ports[1].TargetPort: invalid value: integer `99999999999`, expected u32",
            ),
            (
                r#"{"Labels":{"a":1}}"#,
                "invalid value for Labels.a: invalid type: integer `1`, expected a string",
            ),
            (r#"{"Name":["#, "invalid JSON: EOF while parsing a list at line 1 column 9"),
            ("[1]", "invalid JSON: expected a JSON object"),
            (r#"{"Mode":[]}"#, "invalid value for Mode: expected a JSON object"),
        ] {
            assert_eq!(failure(text), wanted, "{text}");
        }
    }

    #[test]
    fn a_deeply_nested_body_is_refused() {
        let text = "[".repeat(100_000);
        assert!(failure(&text).contains("recursion limit"), "{}", failure(&text));
    }
}
