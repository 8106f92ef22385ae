//! `meshctl secret rotate` and `meshctl config rotate`: a new version, rolled out like an image to every service
//! that has an older one.
//!
//! The versions of `key` are `key`, `key.v2`, `key.v3`, …: each is an object of its own whose data never changes,
//! so a service that goes back finds what it had. In the tasks the file stays where it is.

use std::collections::BTreeMap;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use clap::Args;
use mesh_api::engine::content::{Base64, ConfigReference, Content, ContentSpec, SecretReference};
use mesh_api::engine::filter::Filters;
use mesh_api::engine::service::{Service, ServiceSpec};

use super::Kind;
use super::create::read;
use crate::client::Client;
use crate::commands::service::converge::{self, Wanted};
use crate::commands::service::flags::WaitFlags;
use crate::commands::service::flags::contents::Reference;
use crate::error::CliError;
use crate::output::Shell;

/// `meshctl secret rotate` and `meshctl config rotate`
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  meshctl secret rotate db.password ./new-password.txt\n  meshctl config rotate site.conf - < site.conf"
)]
pub struct RotateArgs {
    /// Name, of any version
    #[arg(value_name = "NAME")]
    name: String,
    /// File with the new data; `-` is standard input
    #[arg(value_name = "FILE|-")]
    file: String,
    #[command(flatten)]
    wait: WaitFlags,
}

/// Makes the new version, tells its name, and rolls it out.
pub async fn run(kind: Kind, args: RotateArgs, client: &Client, shell: &mut Shell) -> Result<(), CliError> {
    let data = read(&args.file).map_err(|source| CliError::File { path: args.file, source })?;
    let known = client.contents(kind, &Filters::default()).await?;
    let versions = versions(&args.name, known);
    let newest = versions.last_key_value();
    let (number, newest) = newest.ok_or(CliError::NoSuch { kind: kind.word(), name: args.name.clone() })?;
    let next = number.checked_add(1).ok_or_else(|| {
        CliError::Refused(format!("{} is the last version that there can be", newest.spec.name))
    })?;
    let spec = ContentSpec {
        name: format!("{}.v{next}", base(&args.name)),
        labels: newest.spec.labels.clone(),
        data: Some(Base64(STANDARD.encode(data))),
        ..ContentSpec::default()
    };
    let id = client.create_content(kind, &spec).await?;
    shell.line(&spec.name)?;
    let old: Vec<String> = versions.into_values().map(|version| version.id).collect();
    roll_out(kind, &Replacement { old, id, name: spec.name }, args.wait, client, shell).await
}

/// The name of the first version.
fn base(name: &str) -> &str {
    number(name).map_or(name, |(base, _)| base)
}

/// Splits `key.v2` into `key` and 2.
fn number(name: &str) -> Option<(&str, u64)> {
    let (base, digits) = name.rsplit_once(".v")?;
    let number = digits.parse().ok().filter(|number| *number > 1 && !base.is_empty())?;
    Some((base, number))
}

/// All versions of what is named, by number.
fn versions(name: &str, known: Vec<Content>) -> BTreeMap<u64, Content> {
    let first = base(name);
    let of = |content: Content| match number(&content.spec.name) {
        Some((base, number)) if base == first => Some((number, content)),
        _ => (content.spec.name == first).then_some((1, content)),
    };
    known.into_iter().filter_map(of).collect()
}

/// What takes the place of which.
struct Replacement {
    /// Ids of all older versions.
    old: Vec<String>,
    id: String,
    name: String,
}

impl Replacement {
    /// Replaces every older version in a spec; whether there was one.
    fn replace<R: Reference>(&self, spec: &mut ServiceSpec) -> bool {
        let list = R::list(spec).iter_mut().flatten();
        let older: Vec<_> = list.filter(|reference| self.old.iter().any(|id| id == reference.id())).collect();
        let found = !older.is_empty();
        for reference in older {
            reference.set(&self.id, &self.name);
        }
        found
    }
}

/// Gives it to every service that has an older version, then waits for all of them. What fails is told; the
/// others have it.
async fn roll_out(
    kind: Kind,
    new: &Replacement,
    flags: WaitFlags,
    client: &Client,
    shell: &mut Shell,
) -> Result<(), CliError> {
    let mut changed: Vec<Service> = Vec::new();
    let mut failed = false;
    for service in client.services(&Filters::default()).await? {
        let mut spec = service.spec.clone();
        let has = match kind {
            Kind::Secret => new.replace::<SecretReference>(&mut spec),
            Kind::Config => new.replace::<ConfigReference>(&mut spec),
        };
        if !has {
            continue;
        }
        match client.update_service(&service.id, service.version.index, &spec, false).await {
            Ok(()) => changed.push(service),
            Err(error) => {
                shell.note(&format!("{}: {error}", service.spec.name));
                failed = true;
            }
        }
    }
    for service in &changed {
        let name = &service.spec.name;
        shell.note(&format!("{name} gets {}", new.name));
        let before = service.update_status.as_ref();
        let wanted = Wanted { id: &service.id, name, before, ..Wanted::default() };
        converge::wait(&wanted, flags, client, shell).await?;
    }
    if failed { Err(CliError::Told) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn content(name: &str) -> Content {
        let spec = ContentSpec { name: name.to_owned(), ..ContentSpec::default() };
        Content { id: format!("{name}-id"), spec, ..Content::default() }
    }

    #[test]
    fn versions_are_counted_by_their_names() {
        for (name, base_name) in [
            ("key", "key"),
            ("key.v2", "key"),
            ("key.v1", "key.v1"),
            ("key.vx", "key.vx"),
            ("a.v2.v3", "a.v2"),
        ] {
            assert_eq!(base(name), base_name);
        }
        let known = ["key", "key.v10", "key.v9", "keys", "key.v", "other.v3"].map(content);
        let found = versions("key.v9", known.to_vec());
        let found: Vec<_> = found.iter().map(|(number, it)| (*number, it.spec.name.as_str())).collect();
        assert_eq!(found, [(1, "key"), (9, "key.v9"), (10, "key.v10")]);
        assert!(versions("nope", known.to_vec()).is_empty());
    }
}
