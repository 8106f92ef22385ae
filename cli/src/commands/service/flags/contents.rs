//! Secrets and configs of a service: `--secret` of a new one, `--secret-add` and `--secret-rm` of one that exists.

use std::collections::BTreeMap;

use clap::Args;
use mesh_api::engine::content::{ConfigReference, FileTarget, SecretReference};
use mesh_api::engine::filter::Filters;
use mesh_api::engine::service::ServiceSpec;

use crate::client::Client;
use crate::commands::content::Kind;
use crate::error::CliError;
use crate::parse::content::{config, secret};

/// Flags of `service create`.
#[derive(Debug, Default, Args)]
pub struct ContentFlags {
    /// Secret that tasks get, as NAME or source=NAME,target=FILE,uid=0,gid=0,mode=0444
    #[arg(long = "secret", value_name = "SECRET", value_parser = secret)]
    secrets: Vec<SecretReference>,
    /// Config that tasks get, as NAME or source=NAME,target=FILE,uid=0,gid=0,mode=0444
    #[arg(long = "config", value_name = "CONFIG", value_parser = config)]
    configs: Vec<ConfigReference>,
}

/// Flags of `service update`.
#[derive(Debug, Default, Args)]
pub struct ContentChanges {
    /// Give tasks a secret, as NAME or source=NAME,target=FILE,uid=0,gid=0,mode=0444
    #[arg(long = "secret-add", value_name = "SECRET", value_parser = secret)]
    secrets_added: Vec<SecretReference>,
    /// Give tasks a secret no more
    #[arg(long = "secret-rm", value_name = "NAME")]
    secrets_removed: Vec<String>,
    /// Give tasks a config, as NAME or source=NAME,target=FILE,uid=0,gid=0,mode=0444
    #[arg(long = "config-add", value_name = "CONFIG", value_parser = config)]
    configs_added: Vec<ConfigReference>,
    /// Give tasks a config no more
    #[arg(long = "config-rm", value_name = "NAME")]
    configs_removed: Vec<String>,
}

impl ContentFlags {
    /// Adds what was given to the spec, with the ids that the names stand for.
    pub async fn change(&self, spec: &mut ServiceSpec, client: &Client) -> Result<(), CliError> {
        add(spec, &self.secrets, client).await?;
        add(spec, &self.configs, client).await
    }
}

impl ContentChanges {
    /// Removes what was given from the spec, then adds.
    pub async fn change(&self, spec: &mut ServiceSpec, client: &Client) -> Result<(), CliError> {
        remove::<SecretReference>(spec, &self.secrets_removed);
        remove::<ConfigReference>(spec, &self.configs_removed);
        add(spec, &self.secrets_added, client).await?;
        add(spec, &self.configs_added, client).await
    }
}

/// What secrets and configs of a service have alike.
pub trait Reference: Clone {
    /// Which of them it is.
    const KIND: Kind;
    /// Those of a service.
    fn list(spec: &mut ServiceSpec) -> &mut Option<Vec<Self>>;
    /// What it refers to.
    fn id(&self) -> &str;
    /// The name of that.
    fn name(&self) -> &str;
    /// The file that it becomes.
    fn file(&self) -> Option<&FileTarget>;
    /// Refers to something else, with the same file.
    fn set(&mut self, id: &str, name: &str);
}

impl Reference for SecretReference {
    const KIND: Kind = Kind::Secret;
    fn list(spec: &mut ServiceSpec) -> &mut Option<Vec<Self>> {
        &mut spec.task_template.container_spec.get_or_insert_default().secrets
    }
    fn id(&self) -> &str {
        &self.secret_id
    }
    fn name(&self) -> &str {
        &self.secret_name
    }
    fn file(&self) -> Option<&FileTarget> {
        self.file.as_ref()
    }
    fn set(&mut self, id: &str, name: &str) {
        id.clone_into(&mut self.secret_id);
        name.clone_into(&mut self.secret_name);
    }
}

impl Reference for ConfigReference {
    const KIND: Kind = Kind::Config;
    fn list(spec: &mut ServiceSpec) -> &mut Option<Vec<Self>> {
        &mut spec.task_template.container_spec.get_or_insert_default().configs
    }
    fn id(&self) -> &str {
        &self.config_id
    }
    fn name(&self) -> &str {
        &self.config_name
    }
    fn file(&self) -> Option<&FileTarget> {
        self.file.as_ref()
    }
    fn set(&mut self, id: &str, name: &str) {
        id.clone_into(&mut self.config_id);
        name.clone_into(&mut self.config_name);
    }
}

fn remove<R: Reference>(spec: &mut ServiceSpec, names: &[String]) {
    if let Some(list) = R::list(spec) {
        list.retain(|reference| !names.iter().any(|name| name == reference.name()));
    }
}

async fn add<R: Reference>(spec: &mut ServiceSpec, added: &[R], client: &Client) -> Result<(), CliError> {
    if added.is_empty() {
        return Ok(());
    }
    let word = R::KIND.word();
    for (at, reference) in added.iter().enumerate() {
        let target = |reference: &R| reference.file().map(|file| file.name.clone());
        if added[..at].iter().any(|other| target(other) == target(reference)) {
            let reason = format!("duplicate {word} target for {} not allowed", reference.name());
            return Err(CliError::Usage(reason));
        }
    }
    let ids = ids(R::KIND, added.iter().map(R::name), client).await?;
    let list = R::list(spec).get_or_insert_default();
    for reference in added {
        let missing = || CliError::Refused(format!("{word} not found: {}", reference.name()));
        let id = ids.get(reference.name()).ok_or_else(missing)?;
        let mut known = reference.clone();
        known.set(id, reference.name());
        list.push(known);
    }
    Ok(())
}

/// Ids by name.
async fn ids(
    kind: Kind,
    names: impl Iterator<Item = &str>,
    client: &Client,
) -> Result<BTreeMap<String, String>, CliError> {
    let mut filters = Filters::default();
    names.for_each(|name| filters.add("names", name));
    let found = client.contents(kind, &filters).await?;
    Ok(found.into_iter().map(|content| (content.spec.name, content.id)).collect())
}
