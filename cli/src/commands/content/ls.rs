//! `meshctl secret ls` and `meshctl config ls`

use clap::Args;
use jiff::Timestamp;
use mesh_api::engine::content::Content;

use super::Kind;
use crate::client::Client;
use crate::error::CliError;
use crate::output::Shell;
use crate::output::list::{ListArgs, Listing, Row};
use crate::output::natural::natural;
use crate::output::words::since;

/// `meshctl secret ls` and `meshctl config ls`
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  meshctl secret ls\n  meshctl config ls --filter label=tier=front -q")]
pub struct LsArgs {
    #[command(flatten)]
    list: ListArgs,
}

const FIELDS: &[(&str, &str)] = &[
    ("ID", "ID"),
    ("Name", "NAME"),
    ("Driver", "DRIVER"),
    ("CreatedAt", "CREATED"),
    ("UpdatedAt", "UPDATED"),
    ("Labels", "LABELS"),
];

/// Lists them by name.
pub async fn run(kind: Kind, args: &LsArgs, client: &Client, shell: &mut Shell) -> Result<(), CliError> {
    let mut found = client.contents(kind, &args.list.filters()).await?;
    found.sort_by(|one, other| natural(&one.spec.name, &other.spec.name));
    let now = Timestamp::now();
    let rows = found.into_iter().map(|content| row(content, now)).collect();
    let columns: &[&str] = match kind {
        Kind::Secret => &["ID", "Name", "Driver", "CreatedAt", "UpdatedAt"],
        Kind::Config => &["ID", "Name", "CreatedAt", "UpdatedAt"],
    };
    Listing { fields: FIELDS, columns, rows }.show(&args.list, shell)
}

fn row(content: Content, now: Timestamp) -> Row {
    let labels: Vec<_> = content.spec.labels.iter().map(|(key, value)| format!("{key}={value}")).collect();
    Row::new(
        FIELDS,
        [
            content.id,
            content.spec.name,
            String::new(),
            since(&content.created_at, now),
            since(&content.updated_at, now),
            labels.join(","),
        ],
    )
}
