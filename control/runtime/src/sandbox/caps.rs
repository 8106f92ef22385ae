//! Capabilities of tasks: Docker's default set less `CAP_MKNOD`, for root; none for other users. No device
//! cgroup guards the host's devices, so a task must not be able to make a node for one.

use rustix::thread::{
    CapabilitySet, CapabilitySets, capability_is_in_bounding_set, clear_ambient_capability_set,
    remove_capability_from_bounding_set, set_capabilities,
};

use super::{SetupError, step};

/// What is left to a task's root.
const KEPT: CapabilitySet = CapabilitySet::CHOWN
    .union(CapabilitySet::DAC_OVERRIDE)
    .union(CapabilitySet::FSETID)
    .union(CapabilitySet::FOWNER)
    .union(CapabilitySet::NET_RAW)
    .union(CapabilitySet::SETGID)
    .union(CapabilitySet::SETUID)
    .union(CapabilitySet::SETFCAP)
    .union(CapabilitySet::SETPCAP)
    .union(CapabilitySet::NET_BIND_SERVICE)
    .union(CapabilitySet::SYS_CHROOT)
    .union(CapabilitySet::KILL)
    .union(CapabilitySet::AUDIT_WRITE);

/// Highest number that any kernel could have (they are bits of a u64).
const LAST: u32 = 63;

/// Takes everything else out of the bounding set, so that no program of the image can bring it back. Needs
/// `CAP_SETPCAP`, hence comes before the change of user.
pub fn bound() -> Result<(), SetupError> {
    let others = (0..=LAST).map(|bit| CapabilitySet::from_bits_retain(1 << bit));
    for capability in others.filter(|capability| !KEPT.contains(*capability)) {
        // EINVAL: this kernel does not know so many.
        if capability_is_in_bounding_set(capability) == Ok(true) {
            remove_capability_from_bounding_set(capability).map_err(step("drop a capability"))?;
        }
    }
    Ok(())
}

/// Reduces what the process has now; `root` keeps the default set as far as this host has it.
pub fn reduce(root: bool) -> Result<(), SetupError> {
    clear_ambient_capability_set().map_err(step("drop ambient capabilities"))?;
    let permitted = rustix::thread::capabilities(None).map_err(step("read capabilities"))?.permitted;
    let left = if root { KEPT & permitted } else { CapabilitySet::empty() };
    let sets = CapabilitySets { effective: left, permitted: left, inheritable: CapabilitySet::empty() };
    set_capabilities(None, sets).map_err(step("set capabilities"))
}
