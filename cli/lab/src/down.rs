//! `lab down`: every process, namespace, mount, pin and file of a lab removed, also of one that was left
//! half-made.

use std::fs;
use std::path::Path;

use nix::mount::{MntFlags, umount2};

use crate::cgroup;
use crate::error::LabError;
use crate::fabric;
use crate::layout::Layout;
use crate::space::{Space, mounts_below};

/// Removes a lab that is up, or what is left of one.
pub fn run(layout: &Layout) -> Result<(), LabError> {
    if !layout.run().exists() && !layout.disks().exists() {
        return Err(LabError::NotUp { name: layout.name.clone() });
    }
    sweep(layout)
}

/// Removes whatever there is; each error is collected and told at the end.
pub fn sweep(layout: &Layout) -> Result<(), LabError> {
    let mut left = Vec::new();
    if let Err(error) = cgroup::kill(&layout.cgroup()) {
        left.push(error.to_string());
    }
    left.extend(fabric::remove(layout));
    left.extend(remove_spaces(&layout.run().join("ns")));
    left.extend(unmount_all(&layout.run()));
    left.extend(cgroup::remove(&layout.cgroup()));
    for dir in [layout.run(), layout.disks()] {
        remove_dir(&dir, &mut left);
    }
    if left.is_empty() { Ok(()) } else { Err(LabError::Leftovers(left)) }
}

fn remove_spaces(dir: &Path) -> Vec<String> {
    let Ok(entries) = fs::read_dir(dir) else { return Vec::new() };
    entries
        .flatten()
        .filter(|entry| entry.path().is_dir())
        .flat_map(|entry| Space::at(entry.path()).remove())
        .collect()
}

/// Detaches every mount at or below `dir`, the deepest first.
fn unmount_all(dir: &Path) -> Vec<String> {
    let parent = dir.parent().unwrap_or(Path::new("/"));
    mounts_below(parent)
        .iter()
        .rev()
        .filter(|point| point.starts_with(dir))
        .filter_map(|point| {
            umount2(point, MntFlags::MNT_DETACH).err().map(|error| format!("{}: {error}", point.display()))
        })
        .collect()
}

fn remove_dir(dir: &Path, left: &mut Vec<String>) {
    match fs::remove_dir_all(dir) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            left.push(format!("{}: {error}", dir.display()));
        }
        _ => {}
    }
    // Folders that labs share go with the last of them: removing one that is in use fails, and may.
    for parent in dir.ancestors().skip(1).take(2) {
        let _ = fs::remove_dir(parent);
    }
}
