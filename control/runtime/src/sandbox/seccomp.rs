//! System calls that no task makes: the ones Docker's default profile refuses for the capabilities that are
//! left to tasks. They fail with EPERM; what is not listed is allowed.

use std::io;

use nix::libc;
use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter, SeccompRule,
    TargetArch, apply_filter,
};

use super::{SetupError, step};

/// Refused whatever their arguments are.
const DENIED: &[libc::c_long] = &[
    // the system as a whole
    libc::SYS_acct,
    libc::SYS_bpf,
    libc::SYS_clock_adjtime,
    libc::SYS_clock_settime,
    libc::SYS_adjtimex,
    libc::SYS_delete_module,
    libc::SYS_finit_module,
    libc::SYS_init_module,
    libc::SYS_kexec_file_load,
    libc::SYS_kexec_load,
    libc::SYS_lookup_dcookie,
    libc::SYS_nfsservctl,
    libc::SYS_perf_event_open,
    libc::SYS_quotactl,
    libc::SYS_quotactl_fd,
    libc::SYS_reboot,
    libc::SYS_settimeofday,
    libc::SYS_swapoff,
    libc::SYS_swapon,
    libc::SYS_syslog,
    libc::SYS_vhangup,
    // keys, which no namespace divides
    libc::SYS_add_key,
    libc::SYS_keyctl,
    libc::SYS_request_key,
    // mounts and namespaces
    libc::SYS_fsconfig,
    libc::SYS_fsmount,
    libc::SYS_fsopen,
    libc::SYS_fspick,
    libc::SYS_mount,
    libc::SYS_mount_setattr,
    libc::SYS_move_mount,
    libc::SYS_open_tree,
    libc::SYS_pivot_root,
    libc::SYS_setns,
    libc::SYS_umount2,
    libc::SYS_unshare,
    libc::SYS_open_by_handle_at,
    libc::SYS_fanotify_init,
    // other processes' memory, and large attack surfaces
    libc::SYS_io_uring_enter,
    libc::SYS_io_uring_register,
    libc::SYS_io_uring_setup,
    libc::SYS_kcmp,
    libc::SYS_mbind,
    libc::SYS_migrate_pages,
    libc::SYS_move_pages,
    libc::SYS_process_vm_readv,
    libc::SYS_process_vm_writev,
    libc::SYS_ptrace,
    libc::SYS_set_mempolicy,
    libc::SYS_userfaultfd,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_ioperm,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_iopl,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_modify_ldt,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_sysfs,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_uselib,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_ustat,
];

/// Flags of clone(2) that make namespaces.
const NAMESPACES: libc::c_int = libc::CLONE_NEWNS
    | libc::CLONE_NEWUTS
    | libc::CLONE_NEWIPC
    | libc::CLONE_NEWUSER
    | libc::CLONE_NEWPID
    | libc::CLONE_NEWNET
    | libc::CLONE_NEWCGROUP;

/// Address families that reach outside the task's network namespace or into rarely used kernel code.
const FAMILIES: [libc::c_int; 2] = [libc::AF_VSOCK, libc::AF_ALG];

#[cfg(target_arch = "x86_64")]
const ARCH: TargetArch = TargetArch::x86_64;
#[cfg(target_arch = "aarch64")]
const ARCH: TargetArch = TargetArch::aarch64;

/// Puts the filters on the calling process, which must have `no_new_privs` set. Calls of another
/// architecture (32-bit ones) end the process.
pub fn install() -> Result<(), SetupError> {
    for filter in filters().map_err(step("build the seccomp filter"))? {
        apply_filter(&filter).map_err(|error| step("set the seccomp filter")(io::Error::other(error)))?;
    }
    Ok(())
}

fn filters() -> io::Result<Vec<BpfProgram>> {
    let unwanted = |action: libc::c_int| SeccompAction::Errno(action.unsigned_abs());
    let mut rules: Vec<(libc::c_long, Vec<SeccompRule>)> =
        DENIED.iter().map(|call| (*call, Vec::new())).collect();
    let new_namespace = (0..31)
        .map(|bit| 1u64 << bit)
        .filter(|flag| u64::from(NAMESPACES.unsigned_abs()) & flag != 0)
        .map(|flag| condition(0, SeccompCmpOp::MaskedEq(flag), flag));
    rules.push((libc::SYS_clone, new_namespace.collect::<io::Result<_>>()?));
    let families = FAMILIES.map(|family| condition(0, SeccompCmpOp::Eq, u64::from(family.unsigned_abs())));
    rules.push((libc::SYS_socket, families.into_iter().collect::<io::Result<_>>()?));
    let denied = program(rules, unwanted(libc::EPERM))?;
    // Its flags are in memory, where a filter cannot look; ENOSYS makes libraries use clone instead.
    let unseen = program(vec![(libc::SYS_clone3, Vec::new())], unwanted(libc::ENOSYS))?;
    let mut filters = vec![denied, unseen];
    #[cfg(target_arch = "x86_64")]
    filters.push(no_x32());
    Ok(filters)
}

/// The x32 ABI has the same architecture number and other call numbers, which the lists above would miss.
/// A kernel that has it tells them by bit 30.
#[cfg(target_arch = "x86_64")]
fn no_x32() -> BpfProgram {
    let instruction = |code: u32, jump_false: u8, k: u32| seccompiler::sock_filter {
        code: u16::try_from(code).unwrap_or_default(),
        jt: 0,
        jf: jump_false,
        k,
    };
    vec![
        instruction(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, 0, 0),
        instruction(libc::BPF_JMP | libc::BPF_JGE | libc::BPF_K, 1, 0x4000_0000),
        instruction(libc::BPF_RET | libc::BPF_K, 0, libc::SECCOMP_RET_ERRNO | libc::EPERM.unsigned_abs()),
        instruction(libc::BPF_RET | libc::BPF_K, 0, libc::SECCOMP_RET_ALLOW),
    ]
}

fn condition(argument: u8, operator: SeccompCmpOp, value: u64) -> io::Result<SeccompRule> {
    let condition = SeccompCondition::new(argument, SeccompCmpArgLen::Dword, operator, value);
    let rule = condition.and_then(|condition| SeccompRule::new(vec![condition]));
    rule.map_err(io::Error::other)
}

fn program(rules: Vec<(libc::c_long, Vec<SeccompRule>)>, refused: SeccompAction) -> io::Result<BpfProgram> {
    let filter = SeccompFilter::new(rules.into_iter().collect(), SeccompAction::Allow, refused, ARCH);
    filter.and_then(BpfProgram::try_from).map_err(io::Error::other)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_denied_fails_and_the_rest_works() {
        use nix::errno::Errno;
        use nix::sched::{CloneFlags, unshare};
        use nix::sys::socket::{AddressFamily, SockFlag, SockType, socket};

        // A filter is for the thread that sets it and those it makes.
        let filtered = std::thread::spawn(|| {
            nix::sys::prctl::set_no_new_privs().expect("no_new_privs");
            install().expect("install");
            assert_eq!(unshare(CloneFlags::CLONE_NEWUTS), Err(Errno::EPERM));
            assert_eq!(unshare(CloneFlags::CLONE_NEWUSER), Err(Errno::EPERM));
            assert_eq!(nix::mount::umount("/proc"), Err(Errno::EPERM));
            let open = |family| socket(family, SockType::Stream, SockFlag::empty(), None).err();
            assert_eq!(open(AddressFamily::Vsock), Some(Errno::EPERM));
            assert_eq!(open(AddressFamily::Inet), None);
            let output =
                std::process::Command::new("/bin/echo").arg("threads, forks").output().expect("fork");
            assert!(output.status.success());
            std::thread::spawn(|| std::fs::read("/proc/self/stat").is_ok()).join().expect("a thread")
        });
        assert!(filtered.join().expect("joined"));
    }

    #[test]
    fn the_filters_fit_into_the_kernels_limit() {
        let filters = filters().expect("build");
        assert_eq!(filters.len(), if cfg!(target_arch = "x86_64") { 3 } else { 2 });
        // BPF_MAXINSNS
        assert!(filters.iter().all(|filter| !filter.is_empty() && filter.len() <= 4096));
    }
}
