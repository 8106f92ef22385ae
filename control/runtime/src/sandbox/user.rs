//! Who a task runs as, by the image's own passwd and group files.

use std::fs;
use std::io;

use nix::unistd::{Gid, Uid, setgid, setgroups, setresgid, setresuid};

use super::{SetupError, step};
use crate::state::Record;

/// A user as the kernel and the environment know it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    /// User id.
    pub uid: u32,
    /// Group id.
    pub gid: u32,
    /// Further groups.
    pub groups: Vec<u32>,
    /// Home directory.
    pub home: String,
}

/// The identity of the task's processes. The process must be in the task's root file system.
pub fn resolve(record: &Record) -> Result<Identity, SetupError> {
    let image = record.image.config.user.as_str();
    let wanted = record.launch.user.as_deref().unwrap_or(image);
    identity(wanted, &text("/etc/passwd")?, &text("/etc/group")?)
}

fn text(path: &str) -> Result<String, SetupError> {
    match fs::read(path) {
        Ok(bytes) => Ok(String::from_utf8_lossy(&bytes).into_owned()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(String::new()),
        Err(error) => Err(step(format!("read {path}"))(error)),
    }
}

/// `uid[:gid]`, either by number or name, as Docker reads it; empty is root.
fn identity(wanted: &str, passwd: &str, group: &str) -> Result<Identity, SetupError> {
    let (user, named_group) = match wanted.split_once(':') {
        Some((user, group)) => (user, Some(group)),
        None => (wanted, None),
    };
    let user = if user.is_empty() { "0" } else { user };
    let entry = passwd.lines().find_map(|line| {
        let fields: Vec<_> = line.split(':').collect();
        let known = fields.first() == Some(&user) || fields.get(2) == Some(&user);
        known.then_some(fields).filter(|fields| fields.len() >= 6)
    });
    let number = |field: Option<&&str>| field.and_then(|text| text.parse::<u32>().ok());
    let uid = user.parse().ok().or_else(|| number(entry.as_ref()?.get(2)));
    let unknown = || SetupError::NoUser { kind: "user", name: user.to_owned(), file: "passwd" };
    let uid = uid.ok_or_else(unknown)?;
    let name = entry.as_ref().and_then(|fields| fields.first()).copied();
    let home = entry.as_ref().and_then(|fields| fields.get(5)).filter(|home| !home.is_empty());
    let (gid, groups) = if let Some(wanted) = named_group {
        (group_id(wanted, group)?, Vec::new())
    } else {
        let own = entry.as_ref().and_then(|fields| number(fields.get(3)));
        (own.unwrap_or(0), name.map(|name| member_of(name, group)).unwrap_or_default())
    };
    Ok(Identity { uid, gid, groups, home: (*home.unwrap_or(&"/")).to_owned() })
}

fn group_id(wanted: &str, group: &str) -> Result<u32, SetupError> {
    let by_name = || {
        group.lines().find_map(|line| {
            let mut fields = line.split(':');
            (fields.next() == Some(wanted)).then(|| fields.nth(1))??.parse().ok()
        })
    };
    let unknown = || SetupError::NoUser { kind: "group", name: wanted.to_owned(), file: "group" };
    wanted.parse().ok().or_else(by_name).ok_or_else(unknown)
}

fn member_of(user: &str, group: &str) -> Vec<u32> {
    let groups = group.lines().filter_map(|line| {
        let mut fields = line.split(':');
        let gid = fields.nth(2)?.parse().ok()?;
        fields.next()?.split(',').any(|member| member == user).then_some(gid)
    });
    groups.collect()
}

/// Takes the identity on, for good.
pub fn assume(identity: &Identity) -> Result<(), SetupError> {
    let groups: Vec<_> = identity.groups.iter().map(|gid| Gid::from_raw(*gid)).collect();
    let (uid, gid) = (Uid::from_raw(identity.uid), Gid::from_raw(identity.gid));
    setgroups(&groups).map_err(step("set groups"))?;
    setgid(gid).map_err(step("set the group"))?;
    setresgid(gid, gid, gid).map_err(step("set the group"))?;
    setresuid(uid, uid, uid).map_err(step("set the user"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const PASSWD: &str = "root:x:0:0:root:/root:/bin/sh\nweb:x:33:44:web:/srv:/bin/false\nbroken\n";
    const GROUP: &str = "root:x:0:\nlogs:x:50:web,other\nstaff:x:51:other\n";

    fn found(wanted: &str) -> (u32, u32, Vec<u32>, String) {
        let identity = identity(wanted, PASSWD, GROUP).expect(wanted);
        (identity.uid, identity.gid, identity.groups, identity.home)
    }

    #[test]
    fn users_are_found_by_name_and_number() {
        assert_eq!(found(""), (0, 0, vec![], "/root".into()));
        assert_eq!(found("web"), (33, 44, vec![50], "/srv".into()));
        assert_eq!(found("33"), (33, 44, vec![50], "/srv".into()));
        assert_eq!(found("web:staff"), (33, 51, vec![], "/srv".into()));
        assert_eq!(found("1000"), (1000, 0, vec![], "/".into()));
        assert_eq!(found("1000:1001"), (1000, 1001, vec![], "/".into()));
    }

    #[test]
    fn unknown_names_are_refused_with_dockers_words() {
        let error = identity("nobody-here", PASSWD, GROUP).expect_err("user");
        assert_eq!(error.to_string(), "unable to find user nobody-here: no matching entries in passwd file");
        let error = identity("web:none", PASSWD, GROUP).expect_err("group");
        assert_eq!(error.to_string(), "unable to find group none: no matching entries in group file");
    }
}
