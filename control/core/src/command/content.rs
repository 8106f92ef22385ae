//! Secrets and configs: create, change the labels, remove.

use std::collections::BTreeSet;

use super::refusal::Refusal;
use super::{cluster, validate};
use crate::content::{Content, ContentKind, ContentSpec, Data};
use crate::id::{Entropy, Id};
use crate::object::{Meta, Task, TaskState};
use crate::spec::Labels;
use crate::store::{Expect, LookupError, Store, Transaction, Write};
use crate::time::Timestamp;

/// Makes a secret or config.
pub fn create_content<K: ContentKind>(
    store: &Store,
    spec: ContentSpec,
    now: Timestamp,
    entropy: &mut dyn Entropy,
) -> Result<(Id<K>, Transaction), Refusal> {
    cluster::current(store)?;
    validate::labels(&spec.labels, "labels")?;
    if !(1..=K::DATA_MAX).contains(&spec.data.len()) {
        return Err(Refusal::ContentSize { rule: K::DATA_RULE });
    }
    if K::table(store).by_name(spec.name.as_str()).is_some() {
        return Err(Refusal::ContentExists { kind: K::KIND, name: spec.name.to_string() });
    }
    let content = Content::<K> { id: Id::new(entropy), meta: Meta::default(), spec };
    let id = content.id;
    Ok((id, Transaction { at: now, writes: vec![Write::create(content.into())] }))
}

/// Changes the labels of a secret or config that was read at `version`. A name or data that is given as well has
/// to be the one that it has.
pub fn update_content<K: ContentKind>(
    store: &Store,
    id: Id<K>,
    version: u64,
    name: &str,
    data: Option<&Data>,
    labels: Labels,
    now: Timestamp,
) -> Result<Transaction, Refusal> {
    let old = find(store, id)?;
    if old.meta.version != version {
        return Err(Refusal::OutOfSequence);
    }
    if name != old.spec.name.as_str() || data.is_some_and(|data| *data != old.spec.data) {
        return Err(Refusal::OnlyLabels);
    }
    validate::labels(&labels, "labels")?;
    let content = Content { spec: ContentSpec { labels, ..old.spec.clone() }, ..old.clone() };
    Ok(Transaction { at: now, writes: vec![Write::update(content.into())] })
}

/// Removes a secret or config that no service needs.
pub fn remove_content<K: ContentKind>(
    store: &Store,
    id: Id<K>,
    now: Timestamp,
) -> Result<Transaction, Refusal> {
    let content = find(store, id)?;
    let services = users(store, id);
    if !services.is_empty() {
        let name = content.spec.name.to_string();
        return Err(Refusal::ContentInUse { kind: K::KIND, name, services: services.into_iter().collect() });
    }
    let expect = Expect::Version(content.meta.version);
    Ok(Transaction { at: now, writes: vec![Write::Delete { key: K::key(id), expect }] })
}

/// Names of the services that need it, or have a task that may still be started with it.
fn users<K: ContentKind>(store: &Store, id: Id<K>) -> BTreeSet<String> {
    let services = K::table(store).users(id);
    let tasks = store.tasks().filter(|task| is_wanted(task) && gets(task, id)).map(|task| task.service);
    let names = services.chain(tasks).filter_map(|service| store.service(service));
    names.map(|service| service.spec.name.to_string()).collect()
}

fn is_wanted(task: &Task) -> bool {
    task.desired_state <= TaskState::Running && !task.status.state.is_final()
}

fn gets<K: ContentKind>(task: &Task, id: Id<K>) -> bool {
    K::references(&task.spec).any(|(other, _)| other == id)
}

fn find<K: ContentKind>(store: &Store, id: Id<K>) -> Result<&Content<K>, Refusal> {
    let missing = || LookupError::NotFound { kind: K::KIND, text: id.to_string() };
    Ok(K::table(store).get(id).ok_or_else(missing)?)
}
