//! `meshctl secret create` and `meshctl config create`

use std::fs::File;
use std::io::Read;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use clap::Args;
use mesh_api::engine::content::{Base64, ContentSpec};

use super::Kind;
use crate::client::Client;
use crate::commands::unsupported::ContentFlags;
use crate::error::CliError;
use crate::output::Shell;
use crate::parse::label;

/// One byte more than any daemon takes, so that what is too long is refused in its words, and what never ends is
/// not read for ever.
const READ_MAX: u64 = (1000 << 10) + 1;

/// `meshctl secret create` and `meshctl config create`
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  meshctl secret create db.password ./password.txt\n  printf hunter2 | meshctl secret create db.password -\n  meshctl config create -l tier=front site.conf ./site.conf"
)]
pub struct CreateArgs {
    /// Name
    #[arg(value_name = "NAME")]
    name: String,
    /// File with the data; `-` is standard input
    #[arg(value_name = "FILE|-")]
    file: String,
    /// Label
    #[arg(short, long, value_name = "KEY=VALUE", value_parser = label)]
    label: Vec<(String, String)>,
    #[command(flatten)]
    unsupported: ContentFlags,
}

/// Makes it and tells its id.
pub async fn run(kind: Kind, args: CreateArgs, client: &Client, shell: &mut Shell) -> Result<(), CliError> {
    args.unsupported.check()?;
    let data = read(&args.file).map_err(|source| CliError::File { path: args.file, source })?;
    let spec = ContentSpec {
        name: args.name,
        labels: args.label.into_iter().collect(),
        data: Some(Base64(STANDARD.encode(data))),
        ..ContentSpec::default()
    };
    let id = client.create_content(kind, &spec).await?;
    Ok(shell.line(&id)?)
}

/// The bytes of a file, or of standard input.
pub fn read(path: &str) -> std::io::Result<Vec<u8>> {
    let source: Box<dyn Read> = match path {
        "-" => Box::new(std::io::stdin()),
        path => Box::new(File::open(path)?),
    };
    let mut data = Vec::new();
    source.take(READ_MAX).read_to_end(&mut data)?;
    Ok(data)
}
