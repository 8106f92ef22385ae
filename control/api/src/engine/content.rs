//! Secrets and configs: the same words for both.

use std::fmt;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{Map, Version};
use crate::blank;

/// A secret or config as the API shows it.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct Content {
    /// Identifier.
    #[serde(rename = "ID")]
    pub id: String,
    /// Version to send back with an update.
    pub version: Version,
    /// RFC 3339.
    pub created_at: String,
    /// RFC 3339.
    pub updated_at: String,
    /// What the user gave.
    pub spec: ContentSpec,
}

/// A secret or config as its user gives it.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct ContentSpec {
    /// Name.
    pub name: String,
    /// Labels.
    pub labels: Map,
    /// Its bytes; of a secret never in an answer.
    #[serde(skip_serializing_if = "blank")]
    pub data: Option<Base64>,
    /// A plugin that has the secret.
    #[serde(skip_serializing_if = "blank")]
    pub driver: Option<Value>,
    /// A language that the data is a template in.
    #[serde(skip_serializing_if = "blank")]
    pub templating: Option<Value>,
}

/// Bytes in base64 (RFC 4648 section 4, padded), as Go writes them. Their `Debug` form hides them.
#[derive(Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Base64(pub String);

impl fmt::Debug for Base64 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Base64(…)")
    }
}

/// A secret that tasks get.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct SecretReference {
    /// The file that it becomes.
    #[serde(skip_serializing_if = "blank")]
    pub file: Option<FileTarget>,
    /// The secret.
    #[serde(rename = "SecretID")]
    pub secret_id: String,
    /// Its name.
    pub secret_name: String,
}

/// A config that tasks get.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct ConfigReference {
    /// The file that it becomes.
    #[serde(skip_serializing_if = "blank")]
    pub file: Option<FileTarget>,
    /// What the engine itself uses it for instead.
    #[serde(skip_serializing_if = "blank")]
    pub runtime: Option<Value>,
    /// The config.
    #[serde(rename = "ConfigID")]
    pub config_id: String,
    /// Its name.
    pub config_name: String,
}

/// A file in a task.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct FileTarget {
    /// Path; of a secret below `/run/secrets` unless absolute.
    pub name: String,
    /// Owner.
    #[serde(rename = "UID")]
    pub uid: String,
    /// Group.
    #[serde(rename = "GID")]
    pub gid: String,
    /// Permission bits.
    pub mode: u32,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn data_is_not_shown_by_accident() {
        let spec = ContentSpec { data: Some(Base64("aHVudGVyMg==".to_owned())), ..ContentSpec::default() };
        assert!(!format!("{spec:?}").contains("aHVu"));
        assert_eq!(serde_json::to_value(&spec).unwrap()["Data"], "aHVudGVyMg==");
    }
}
