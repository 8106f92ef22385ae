//! Secrets and configs, and the references that services have to them.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use mesh_api::engine::content::{
    Base64, ConfigReference as WireConfigReference, Content as WireContent, ContentSpec as WireSpec,
    FileTarget as WireFile, SecretReference as WireSecretReference,
};
use mesh_api::engine::says_nothing;
use mesh_core::content::{Content, ContentKind, ContentSpec, Data};
use mesh_core::id::Id;
use mesh_core::spec::{ConfigReference, FileTarget, SecretReference};
use serde_json::Value;

use super::super::error::ApiError;
use super::{labels, time_text};

/// The wanted secret or config.
pub fn spec(wire: &WireSpec) -> Result<ContentSpec, ApiError> {
    refuse_unsupported(wire)?;
    let name = wire.name.parse().map_err(rule)?;
    Ok(ContentSpec {
        name,
        labels: labels("Labels", &wire.labels)?,
        data: data(wire.data.as_ref())?.unwrap_or_default(),
    })
}

/// What of it may be updated: labels; and the data, to be compared.
pub fn update(wire: &WireSpec) -> Result<(mesh_core::spec::Labels, Option<Data>), ApiError> {
    refuse_unsupported(wire)?;
    Ok((labels("Labels", &wire.labels)?, data(wire.data.as_ref())?))
}

/// A rule of Swarm's that needs no field before it.
fn rule(error: impl std::fmt::Display) -> ApiError {
    ApiError::Refused { status: axum::http::StatusCode::BAD_REQUEST, message: error.to_string() }
}

fn refuse_unsupported(wire: &WireSpec) -> Result<(), ApiError> {
    let said = |value: &Option<Value>| value.as_ref().is_some_and(|value| !says_nothing(value));
    if said(&wire.driver) {
        return Err(ApiError::unsupported("Driver", "the mesh keeps secrets itself"));
    }
    if said(&wire.templating) {
        return Err(ApiError::unsupported("Templating", "data reaches tasks as it is"));
    }
    Ok(())
}

/// The bytes. What cannot be read is not said back.
fn data(wire: Option<&Base64>) -> Result<Option<Data>, ApiError> {
    let Some(Base64(text)) = wire else { return Ok(None) };
    match STANDARD.decode(text) {
        Ok(bytes) => Ok(Some(Data::new(bytes))),
        Err(_) => Err(ApiError::field("Data", "it is no base64 (RFC 4648, with padding)")),
    }
}

/// A secret or config, as the API shows it; the data of a config alone.
pub fn show<K: ContentKind>(content: &Content<K>) -> WireContent {
    let data = K::READABLE.then(|| Base64(STANDARD.encode(content.spec.data.expose())));
    WireContent {
        id: content.id.to_string(),
        version: mesh_api::engine::Version { index: content.meta.version },
        created_at: time_text(content.meta.created_at),
        updated_at: time_text(content.meta.updated_at),
        spec: WireSpec {
            name: content.spec.name.to_string(),
            labels: content.spec.labels.clone(),
            data,
            ..WireSpec::default()
        },
    }
}

/// The secrets that a service's tasks get.
pub fn secrets(field: &str, wire: &[WireSecretReference]) -> Result<Vec<SecretReference>, ApiError> {
    let read = |(at, wire): (usize, &WireSecretReference)| {
        let field = format!("{field}[{at}]");
        let file = file(&field, wire.file.as_ref())?;
        Ok(SecretReference {
            secret: reference(&field, "SecretID", &wire.secret_id)?,
            name: named(&field, "SecretName", &wire.secret_name)?,
            file,
        })
    };
    wire.iter().enumerate().map(read).collect()
}

/// The configs that a service's tasks get.
pub fn configs(field: &str, wire: &[WireConfigReference]) -> Result<Vec<ConfigReference>, ApiError> {
    let read = |(at, wire): (usize, &WireConfigReference)| {
        let field = format!("{field}[{at}]");
        if wire.runtime.as_ref().is_some_and(|value| !value.is_null()) {
            return Err(ApiError::unsupported(format!("{field}.Runtime"), "it is for Windows"));
        }
        Ok(ConfigReference {
            config: reference(&field, "ConfigID", &wire.config_id)?,
            name: named(&field, "ConfigName", &wire.config_name)?,
            file: file(&field, wire.file.as_ref())?,
        })
    };
    wire.iter().enumerate().map(read).collect()
}

fn reference<K>(field: &str, part: &str, text: &str) -> Result<Id<K>, ApiError> {
    text.parse().map_err(|error: mesh_core::id::ParseIdError| {
        ApiError::field(format!("{field}.{part}"), error.to_string())
    })
}

fn named(field: &str, part: &str, text: &str) -> Result<String, ApiError> {
    match text {
        "" => Err(ApiError::field(format!("{field}.{part}"), "it is missing")),
        name => Ok(name.to_owned()),
    }
}

fn file(field: &str, wire: Option<&WireFile>) -> Result<FileTarget, ApiError> {
    let Some(wire) = wire else {
        return Err(ApiError::field(format!("{field}.File"), "a file is expected as target"));
    };
    let owner = |text: &str| if text.is_empty() { "0".to_owned() } else { text.to_owned() };
    Ok(FileTarget { path: wire.name.clone(), uid: owner(&wire.uid), gid: owner(&wire.gid), mode: wire.mode })
}

/// The same, as the API shows them.
pub fn show_secrets(secrets: &[SecretReference]) -> Vec<WireSecretReference> {
    let show = |reference: &SecretReference| WireSecretReference {
        file: Some(show_file(&reference.file)),
        secret_id: reference.secret.to_string(),
        secret_name: reference.name.clone(),
    };
    secrets.iter().map(show).collect()
}

/// The same, as the API shows them.
pub fn show_configs(configs: &[ConfigReference]) -> Vec<WireConfigReference> {
    let show = |reference: &ConfigReference| WireConfigReference {
        file: Some(show_file(&reference.file)),
        runtime: None,
        config_id: reference.config.to_string(),
        config_name: reference.name.clone(),
    };
    configs.iter().map(show).collect()
}

fn show_file(file: &FileTarget) -> WireFile {
    WireFile { name: file.path.clone(), uid: file.uid.clone(), gid: file.gid.clone(), mode: file.mode }
}

#[cfg(test)]
mod tests {
    use mesh_api::decode::decode;

    use super::*;

    fn refusal<T: std::fmt::Debug>(outcome: Result<T, ApiError>) -> String {
        outcome.expect_err("refused").to_string()
    }

    #[test]
    fn what_the_docker_cli_sends_is_read() {
        let body = br#"{"Name":"key","Labels":{"a":"b"},"Data":"AAEC/w=="}"#;
        let read = spec(&decode(body).unwrap()).unwrap();
        assert_eq!((read.name.as_str(), read.data.expose()), ("key", &[0, 1, 2, 255][..]));
        assert_eq!(read.labels["a"], "b");
        let none: WireSpec = decode(br#"{"Name":"key","Labels":null,"Data":null}"#).unwrap();
        assert!(spec(&none).unwrap().data.is_empty());
        assert_eq!(update(&none).unwrap().1, None);
    }

    #[test]
    fn refusals_name_the_field_but_never_the_data() {
        for (body, message) in [
            (
                r#"{"Name":"key","Data":"aHVudGVyMg"}"#,
                "invalid value for Data: it is no base64 (RFC 4648, with padding)",
            ),
            (
                r#"{"Name":"key","Driver":{"Name":"vault"}}"#,
                "Driver is not supported: the mesh keeps secrets itself",
            ),
            (
                r#"{"Name":"key","Templating":{"Name":"golang"}}"#,
                "Templating is not supported: data reaches tasks as it is",
            ),
            (r#"{"Name":""}"#, "name must be provided"),
            (
                r#"{"Name":"a/b"}"#,
                "invalid name, only 64 [a-zA-Z0-9-_.] characters allowed, and the start and end character must be [a-zA-Z0-9]",
            ),
        ] {
            assert_eq!(refusal(spec(&decode(body.as_bytes()).unwrap())), message, "{body}");
        }
    }

    #[test]
    fn references_come_back_as_they_were_given() {
        let id = "0123456789abcdefghijklmno";
        let text = format!(
            r#"[{{"File":{{"Name":"key","UID":"1","GID":"2","Mode":256}},"SecretID":"{id}","SecretName":"k"}}]"#
        );
        let wire: Vec<WireSecretReference> = serde_json::from_str(&text).unwrap();
        assert_eq!(show_secrets(&secrets("Secrets", &wire).unwrap()), wire);
        let text = format!(
            r#"[{{"File":{{"Name":"/app","UID":"0","GID":"0","Mode":292}},"ConfigID":"{id}","ConfigName":"c"}}]"#
        );
        let wire: Vec<WireConfigReference> = serde_json::from_str(&text).unwrap();
        assert_eq!(show_configs(&configs("Configs", &wire).unwrap()), wire);
    }

    #[test]
    fn references_are_refused_by_field() {
        let id = "0123456789abcdefghijklmno".to_owned();
        let file = Some(WireFile { name: "a".to_owned(), ..WireFile::default() });
        let good =
            WireConfigReference { file, runtime: None, config_id: id.clone(), config_name: "c".to_owned() };
        let one = |wire: WireConfigReference| refusal(configs("Configs", &[wire]));
        for (wire, message) in [
            (
                WireConfigReference { file: None, ..good.clone() },
                "invalid value for Configs[0].File: a file is",
            ),
            (
                WireConfigReference { config_name: String::new(), ..good.clone() },
                "invalid value for Configs[0].ConfigName: ",
            ),
            (
                WireConfigReference { config_id: "x".to_owned(), ..good.clone() },
                "invalid value for Configs[0].ConfigID: ",
            ),
            (
                WireConfigReference { runtime: Some(serde_json::json!({})), ..good.clone() },
                "Configs[0].Runtime is not supported: ",
            ),
        ] {
            let refusal = one(wire);
            assert!(refusal.starts_with(message), "{refusal}");
        }
        let owners = configs("Configs", &[good]).unwrap();
        assert_eq!((owners[0].file.uid.as_str(), owners[0].file.gid.as_str()), ("0", "0"));
    }
}
