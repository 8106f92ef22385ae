//! Secrets and configs, by id and by name, with the services that need each.

use std::sync::Arc;

use imbl::{OrdMap, OrdSet};

use super::lookup::pick;
use super::{Claim, Conflict, Key, LookupError};
use crate::content::{Content, ContentKind};
use crate::id::{Id, ServiceId};
use crate::object::{Service, UpdateState};
use crate::spec::TaskSpec;

/// All secrets, or all configs.
#[derive(Debug, Clone)]
pub struct ContentTable<K> {
    pub(super) all: OrdMap<Id<K>, Arc<Content<K>>>,
    names: OrdMap<String, Id<K>>,
    users: OrdSet<(Id<K>, ServiceId)>,
}

impl<K> Default for ContentTable<K> {
    fn default() -> Self {
        Self { all: OrdMap::new(), names: OrdMap::new(), users: OrdSet::new() }
    }
}

impl<K: ContentKind> ContentTable<K> {
    /// How many there are.
    pub fn len(&self) -> usize {
        self.all.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.all.is_empty()
    }

    /// Each of them, by id.
    pub fn iter(&self) -> impl Iterator<Item = &Arc<Content<K>>> {
        self.all.values()
    }

    /// One by id.
    pub fn get(&self, id: Id<K>) -> Option<&Arc<Content<K>>> {
        self.all.get(&id)
    }

    /// One by name, compared without case.
    pub fn by_name(&self, name: &str) -> Option<&Arc<Content<K>>> {
        self.names.get(&name.to_ascii_lowercase()).and_then(|id| self.all.get(id))
    }

    /// The one with this id, name, or unambiguous beginning of an id.
    pub fn find(&self, text: &str) -> Result<&Arc<Content<K>>, LookupError> {
        let named = self.by_name(text).into_iter();
        pick(K::KIND, text, &self.all, named, |content| content.id.to_string())
    }

    /// The services that need it, now or should their update fail.
    pub fn users(&self, id: Id<K>) -> impl Iterator<Item = ServiceId> {
        let range = (id, ServiceId::from_bits(0))..=(id, ServiceId::from_bits(u128::MAX));
        self.users.range(range).map(|(_, service)| *service)
    }

    pub(super) fn check_name(&self, new: &Content<K>) -> Result<(), Conflict> {
        match self.names.get(&new.spec.name.as_str().to_ascii_lowercase()) {
            Some(owner) if *owner != new.id => Err(Conflict::Taken {
                key: K::key(new.id),
                what: Claim::Name(new.spec.name.to_string()),
                owner: K::key(*owner),
            }),
            _ => Ok(()),
        }
    }

    pub(super) fn check_unused(&self, id: Id<K>) -> Result<(), Conflict> {
        match self.users(id).next() {
            Some(user) => Err(Conflict::InUse { key: K::key(id), user: Key::Service(user) }),
            None => Ok(()),
        }
    }

    /// Refuses a service whose tasks would get what is not there.
    pub(super) fn check_present(&self, service: &Service) -> Result<(), Conflict> {
        match K::references(&service.spec.task).find(|(id, _)| !self.all.contains_key(id)) {
            Some((missing, _)) => {
                Err(Conflict::Dangling { key: Key::Service(service.id), target: K::key(missing) })
            }
            None => Ok(()),
        }
    }

    pub(super) fn index(&mut self, old: Option<&Content<K>>, new: Option<&Content<K>>) {
        if let Some(old) = old {
            self.names.remove(&old.spec.name.as_str().to_ascii_lowercase());
        }
        if let Some(new) = new {
            self.names.insert(new.spec.name.as_str().to_ascii_lowercase(), new.id);
        }
    }

    pub(super) fn index_user(&mut self, old: Option<&Service>, new: Option<&Service>) {
        for user in old.into_iter().flat_map(uses) {
            self.users.remove(&user);
        }
        for user in new.into_iter().flat_map(uses) {
            self.users.insert(user);
        }
    }
}

/// What a service's tasks get, or would get again if the update that is under way failed.
fn uses<K: ContentKind>(service: &Service) -> impl Iterator<Item = (Id<K>, ServiceId)> {
    let updating = service.update.as_ref().is_some_and(|update| update.state == UpdateState::Updating);
    let before = service.previous_spec.as_ref().filter(|_| updating).map(|spec| &spec.task);
    let specs: [Option<&TaskSpec>; 2] = [Some(&service.spec.task), before];
    specs.into_iter().flatten().flat_map(|spec| K::references(spec)).map(|(id, _)| (id, service.id))
}
