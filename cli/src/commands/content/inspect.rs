//! `meshctl secret inspect` and `meshctl config inspect`

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use clap::Args;
use mesh_api::engine::content::Content;

use super::Kind;
use crate::client::Client;
use crate::commands::inspect;
use crate::error::CliError;
use crate::output::Shell;
use crate::output::words::go_time;

/// `meshctl secret inspect` and `meshctl config inspect`
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  meshctl secret inspect db.password\n  meshctl config inspect --pretty site.conf\n  meshctl config inspect --format '{{.Spec.Data}}' site.conf | base64 -d"
)]
pub struct InspectArgs {
    /// Names or ids
    #[arg(required = true, value_name = "NAME")]
    names: Vec<String>,
    /// `json`, or a Go template
    #[arg(short, long, value_name = "FORMAT")]
    format: Option<String>,
    /// For people
    #[arg(long, conflicts_with = "format")]
    pretty: bool,
}

/// Shows them in full.
pub async fn run(kind: Kind, args: &InspectArgs, client: &Client, shell: &mut Shell) -> Result<(), CliError> {
    if !args.pretty {
        let format = args.format.as_deref();
        return inspect::show(kind.collection(), kind.word(), &args.names, format, client, shell).await;
    }
    let mut failed = false;
    for name in &args.names {
        match client.content(kind, name).await {
            Ok(found) => shell.raw(&pretty(kind, &found))?,
            Err(error) if error.is_not_found() => {
                shell.note(&error.named(kind.word(), name).to_string());
                failed = true;
            }
            Err(error) => return Err(error),
        }
    }
    if failed { Err(CliError::Told) } else { Ok(()) }
}

/// One for people, as docker sets it.
fn pretty(kind: Kind, content: &Content) -> String {
    let times = [&content.created_at, &content.updated_at].map(|time| go_time(time));
    let labels = content.spec.labels.iter().map(|(key, value)| match value.as_str() {
        "" => format!(" - {key}\n"),
        value => format!(" - {key}={value}\n"),
    });
    let labels: String = labels.collect();
    let labels = if labels.is_empty() { labels } else { format!("Labels:\n{labels}") };
    let (id, name, [created, updated]) = (&content.id, &content.spec.name, times);
    match kind {
        Kind::Secret => format!(
            "ID:              {id}\nName:              {name}\n{labels}Driver:            \nCreated at:        \
             {created}\nUpdated at:        {updated}\n"
        ),
        Kind::Config => format!(
            "ID:\t\t\t{id}\nName:\t\t\t{name}\n{labels}Created at:            \t{created}\nUpdated at:            \
             \t{updated}\nData:\n{}\n",
            text(content)
        ),
    }
}

/// The data as text.
fn text(content: &Content) -> String {
    let data = content.spec.data.as_ref().map(|data| data.0.as_str()).unwrap_or_default();
    let bytes = STANDARD.decode(data).unwrap_or_default();
    String::from_utf8_lossy(&bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use mesh_api::decode::decode;

    use super::*;

    #[test]
    fn both_on_a_page() {
        let text = r#"{"ID":"id1","CreatedAt":"2026-01-01T00:00:05.5Z","UpdatedAt":"2026-01-01T00:00:06Z","Spec":
            {"Name":"app","Labels":{"a":"1","b":""},"Data":"YT0xCg=="}}"#;
        let content: Content = decode(text.as_bytes()).unwrap();
        assert_eq!(
            pretty(Kind::Config, &content),
            "ID:\t\t\tid1\nName:\t\t\tapp\nLabels:\n - a=1\n - b\nCreated at:            \t2026-01-01 00:00:05.5 \
             +0000 utc\nUpdated at:            \t2026-01-01 00:00:06 +0000 utc\nData:\na=1\n\n"
        );
        let text = r#"{"ID":"id1","CreatedAt":"2026-01-01T00:00:05Z","UpdatedAt":"2026-01-01T00:00:06Z","Spec":
            {"Name":"key","Labels":{}}}"#;
        let content: Content = decode(text.as_bytes()).unwrap();
        assert_eq!(
            pretty(Kind::Secret, &content),
            "ID:              id1\nName:              key\nDriver:            \nCreated at:        2026-01-01 \
             00:00:05 +0000 utc\nUpdated at:        2026-01-01 00:00:06 +0000 utc\n"
        );
    }
}
