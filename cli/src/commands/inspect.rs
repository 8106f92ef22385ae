//! `inspect` of any kind: what the daemon shows, as it shows it.

use serde_json::Value;

use crate::client::Client;
use crate::error::CliError;
use crate::output::Shell;
use crate::output::template::Template;

/// Shows objects of a collection as a JSON array, or each through a template. One that does not exist is
/// told and does not keep the others from being shown.
pub async fn show(
    collection: &str,
    kind: &'static str,
    references: &[String],
    format: Option<&str>,
    client: &Client,
    shell: &mut Shell,
) -> Result<(), CliError> {
    let template = format.filter(|format| *format != "json").map(Template::parse).transpose()?;
    let mut found: Vec<Value> = Vec::new();
    let mut failed = false;
    for reference in references {
        match client.raw(collection, reference).await {
            Ok(value) => found.push(value),
            Err(error) if error.is_not_found() => {
                shell.note(&error.named(kind, reference).to_string());
                failed = true;
            }
            Err(error) => return Err(error),
        }
    }
    match (format, template) {
        (_, Some(template)) => {
            for value in &found {
                shell.line(&template.fill(value)?)?;
            }
        }
        (Some(_), None) => {
            for value in &found {
                shell.line(&value.to_string())?;
            }
        }
        (None, None) => shell.json(&Value::Array(found))?,
    }
    if failed { Err(CliError::Told) } else { Ok(()) }
}

/// Does `action` for each of several names; each failure is told, and the command fails in the end.
pub async fn each<'a, F>(
    names: &'a [String],
    shell: &mut Shell,
    action: impl Fn(&'a str) -> F,
) -> Result<(), CliError>
where
    F: Future<Output = Result<(), CliError>>,
{
    let mut failed = false;
    for name in names {
        match action(name).await {
            Ok(()) => shell.line(name)?,
            Err(error @ (CliError::Unreachable { .. } | CliError::Broken { .. })) => return Err(error),
            Err(error) => {
                shell.note(&error.to_string());
                failed = true;
            }
        }
    }
    if failed { Err(CliError::Told) } else { Ok(()) }
}
