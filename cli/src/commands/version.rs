//! `meshctl version`

use clap::Args;
use serde_json::json;

use crate::client::Client;
use crate::error::CliError;
use crate::output::Shell;
use crate::output::template::Template;

/// `meshctl version`
#[derive(Debug, Args)]
pub struct VersionArgs {
    /// `json`, or a Go template such as '{{.Server.Version}}'
    #[arg(short, long, value_name = "FORMAT")]
    format: Option<String>,
}

const VERSION: &str = env!("CARGO_PKG_VERSION");

/// Shows both versions; the client's also when there is no server.
pub async fn run(args: &VersionArgs, host: &str, shell: &mut Shell) -> Result<(), CliError> {
    let server = match Client::new(host) {
        Ok(client) => client.version().await,
        Err(error) => Err(error),
    };
    if let Some(format) = &args.format {
        let shown = server.as_ref().map(|server| json!(server)).unwrap_or_default();
        let value =
            json!({"Client": {"Version": VERSION, "ApiVersion": mesh_api::API_VERSION}, "Server": shown});
        let text =
            if format == "json" { value.to_string() } else { Template::parse(format)?.fill(&value)? };
        shell.line(&text)?;
        return server.map(|_| ());
    }
    shell.line(&format!(
        "Client: meshctl\n Version:           {VERSION}\n API version:       {}",
        mesh_api::API_VERSION
    ))?;
    let server = server?;
    shell.line(&format!(
        "\nServer: {}\n Version:           {}\n API version:       {} (minimum version {})\n OS/Arch:           {}/{}\n Kernel:            {}",
        server.platform.name,
        server.version,
        server.api_version,
        server.min_api_version,
        server.os,
        server.arch,
        server.kernel_version,
    ))?;
    Ok(())
}
