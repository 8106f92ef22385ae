//! Secrets and configs that a service's tasks get: each is there under the name that the spec has for it, and
//! each becomes a file of its own.

use std::collections::BTreeMap;

use super::refusal::Refusal;
use super::validate::cut;
use crate::content::ContentKind;
use crate::id::{ConfigKind, SecretKind};
use crate::spec::{ContainerSpec, FileTarget, TaskSpec};
use crate::store::{Kind, Store};

/// Most secrets, and most configs, of one service.
pub const REFERENCES_MAX: usize = 256;
/// Longest path of a file.
const PATH_MAX: usize = 4095;
/// Longest name of an owner.
const OWNER_MAX: usize = 32;
/// All permission bits there are.
const MODE_MAX: u32 = 0o7777;
/// Where secrets are whose target is no absolute path.
pub const SECRETS_DIR: &str = "/run/secrets";

/// Checks what does not depend on the cluster's state: the files, and that no two are the same.
pub(super) fn check(spec: &ContainerSpec) -> Result<(), Refusal> {
    for (found, field) in [(spec.secrets.len(), "secrets"), (spec.configs.len(), "configs")] {
        if found > REFERENCES_MAX {
            let reason = format!("{found} entries are more than the {REFERENCES_MAX} allowed");
            return Err(Refusal::invalid(field, reason));
        }
    }
    let secrets = spec.secrets.iter().map(|it| (Kind::Secret, &it.name, &it.file));
    let configs = spec.configs.iter().map(|it| (Kind::Config, &it.name, &it.file));
    let mut taken: BTreeMap<String, &String> = BTreeMap::new();
    for (kind, name, file) in secrets.chain(configs) {
        check_file(kind, name, file)?;
        let path = path_of(kind, file);
        if let Some(first) = taken.insert(path, name) {
            let (first, second) = (first.clone(), name.clone());
            return Err(Refusal::TargetTaken { kind, first, second, target: file.path.clone() });
        }
    }
    Ok(())
}

/// The file's path in the task, from `/`.
pub(super) fn path_of(kind: Kind, file: &FileTarget) -> String {
    let root = if kind == Kind::Secret { SECRETS_DIR } else { "" };
    let whole = match file.path.strip_prefix('/') {
        Some(rest) => rest.to_owned(),
        None => format!("{root}/{}", file.path),
    };
    let parts = whole.split('/').filter(|part| !matches!(*part, "" | "."));
    parts.flat_map(|part| ["/", part]).collect()
}

fn check_file(kind: Kind, name: &str, file: &FileTarget) -> Result<(), Refusal> {
    let field = format!("target of {kind} {}", cut(name));
    let refuse = |reason: String| Err(Refusal::invalid(field.clone(), reason));
    let path = &file.path;
    if path.is_empty() || path.len() > PATH_MAX || path.contains('\0') || path.ends_with('/') {
        return refuse(format!("{:?} is no file name", cut(path)));
    }
    if path.split('/').any(|part| part == "..") {
        return refuse(format!("{:?}: \"..\" is not followed", cut(path)));
    }
    let named = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
    for (owner, what) in [(&file.uid, "uid"), (&file.gid, "gid")] {
        if owner.is_empty() || owner.len() > OWNER_MAX || !owner.bytes().all(named) {
            return refuse(format!("{what} {:?} is neither a number nor a name", cut(owner)));
        }
    }
    if file.mode > MODE_MAX {
        return refuse(format!("mode {:o} has more than permission bits", file.mode));
    }
    Ok(())
}

/// Refuses a task whose secrets or configs are not there under the names that it has for them.
pub(super) fn check_present(store: &Store, spec: &TaskSpec) -> Result<(), Refusal> {
    present::<SecretKind>(store, spec)?;
    present::<ConfigKind>(store, spec)
}

fn present<K: ContentKind>(store: &Store, spec: &TaskSpec) -> Result<(), Refusal> {
    let there = |id, name| K::table(store).get(id).is_some_and(|found| found.spec.name.as_str() == name);
    let missing = K::references(spec).filter(|(id, name)| !there(*id, *name));
    let names: Vec<_> = missing.map(|(_, name)| cut(name)).collect();
    if names.is_empty() { Ok(()) } else { Err(Refusal::ReferencesMissing { kind: K::KIND, names }) }
}
