//! Who answers, and the forms of saying so.

use std::env;

/// Who the task is, from the environment that the agent gives it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Identity(Vec<(&'static str, String)>);

/// Keys of an answer and the variables they come from.
const FROM_ENVIRONMENT: [(&str, &str); 5] = [
    ("task", "MESH_TASK_ID"),
    ("name", "MESH_TASK_NAME"),
    ("slot", "MESH_TASK_SLOT"),
    ("service", "MESH_SERVICE_NAME"),
    ("node", "MESH_NODE_HOSTNAME"),
];

impl Identity {
    /// The identity of this process.
    pub fn of_environment(version: &str) -> Self {
        let mut fields = vec![("version", version.to_owned())];
        for (key, variable) in FROM_ENVIRONMENT {
            fields.push((key, env::var(variable).unwrap_or_default()));
        }
        let hostname = nix::unistd::gethostname().ok().and_then(|name| name.into_string().ok());
        fields.push(("hostname", hostname.unwrap_or_default()));
        Self(fields)
    }

    /// An answer: the identity, then what is particular to this request.
    pub fn answer(&self, request: &[(&'static str, String)]) -> Answer {
        Answer(self.0.iter().chain(request).cloned().collect())
    }
}

/// One answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer(Vec<(&'static str, String)>);

impl Answer {
    /// `key=value` lines. A value is one line: control characters of a request come back as `?`.
    pub fn lines(&self) -> String {
        let mut lines = String::new();
        for (key, value) in &self.0 {
            lines.extend([key, "=", &value.replace(char::is_control, "?"), "\n"]);
        }
        lines
    }

    /// One JSON object of strings.
    pub fn json(&self) -> String {
        let fields = self.0.iter().map(|(key, value)| ((*key).to_owned(), value.clone().into()));
        let mut text = serde_json::Value::Object(fields.collect()).to_string();
        text.push('\n');
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_has_one_line_a_field() {
        let identity = Identity(vec![("version", "1".into()), ("task", "t".into())]);
        let answer = identity.answer(&[("path", "/a\nversion=9".into())]);
        assert_eq!(answer.lines(), "version=1\ntask=t\npath=/a?version=9\n");
        let json: serde_json::Value = serde_json::from_str(&answer.json()).expect("JSON");
        assert_eq!(json["path"], "/a\nversion=9");
    }
}
