//! Generic resources: what a node has of them, what its tasks hold, and what the next task is given.

use std::collections::BTreeMap;

use super::load::lower;
use crate::object::{Node, Task};
use crate::spec::GenericAmount;

/// What the tasks of a node hold, by kind.
#[derive(Debug, Default)]
pub(super) struct Used {
    pieces: BTreeMap<String, u64>,
    names: BTreeMap<(String, String), u32>,
}

impl Used {
    pub(super) fn add(&mut self, held: &BTreeMap<String, GenericAmount>) {
        for (kind, amount) in held {
            match amount {
                GenericAmount::Discrete(pieces) => {
                    let used = self.pieces.entry(kind.clone()).or_default();
                    *used = used.saturating_add(*pieces);
                }
                GenericAmount::Named(names) => {
                    let keys = names.iter().map(|name| (kind.clone(), name.clone()));
                    keys.for_each(|key| *self.names.entry(key).or_default() += 1);
                }
            }
        }
    }

    pub(super) fn subtract(&mut self, held: &BTreeMap<String, GenericAmount>) {
        for (kind, amount) in held {
            match amount {
                GenericAmount::Discrete(pieces) => {
                    if let Some(used) = self.pieces.get_mut(kind) {
                        *used = used.saturating_sub(*pieces);
                    }
                    self.pieces.retain(|_, used| *used > 0);
                }
                GenericAmount::Named(names) => {
                    let keys = names.iter().map(|name| (kind.clone(), name.clone()));
                    keys.for_each(|key| lower(&mut self.names, key));
                }
            }
        }
    }

    /// What a task that wants this many of a kind gets of what is left; `None` when that is too little.
    fn give(&self, kind: &str, has: &GenericAmount, wants: u64) -> Option<GenericAmount> {
        match has {
            GenericAmount::Discrete(pieces) => {
                let used = self.pieces.get(kind).copied().unwrap_or(0);
                (pieces.saturating_sub(used) >= wants).then_some(GenericAmount::Discrete(wants))
            }
            GenericAmount::Named(names) => {
                let wants = usize::try_from(wants).ok()?;
                let free = |name: &&String| !self.names.contains_key(&(kind.to_owned(), (*name).clone()));
                let given: std::collections::BTreeSet<_> =
                    names.iter().filter(free).take(wants).cloned().collect();
                (given.len() == wants).then_some(GenericAmount::Named(given))
            }
        }
    }
}

/// The generic resources that a task gets on a node, all that it wants; `None` when something is too little.
pub(super) fn claim(node: &Node, used: &Used, task: &Task) -> Option<BTreeMap<String, GenericAmount>> {
    let wants = task.spec.resources.generic.iter().filter(|(_, wants)| **wants > 0);
    let give = |(kind, wants): (&String, &u64)| {
        let has = node.description.generic.get(kind)?;
        Some((kind.clone(), used.give(kind, has, *wants)?))
    };
    wants.map(give).collect()
}
