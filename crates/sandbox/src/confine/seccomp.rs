//! The system calls that may be made inside: those that are known, without the ones that reach
//! parts of the kernel no agent needs. Refused before the kernel's code for them runs. Installed
//! once, by init; everything inside inherits it.

use std::collections::BTreeMap;
use std::io;
use std::ops::RangeInclusive;

use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter, SeccompRule, TargetArch, apply_filter,
};

type Rules = BTreeMap<i64, Vec<SeccompRule>>;

/// The known numbers. What is newer is refused.
#[cfg(target_arch = "x86_64")]
const KNOWN: [RangeInclusive<i64>; 2] = [0..=334, 424..=LAST_KNOWN];
#[cfg(target_arch = "aarch64")]
const KNOWN: [RangeInclusive<i64>; 2] = [0..=291, 424..=LAST_KNOWN];

const LAST_KNOWN: i64 = 469;
/// Newer numbers that read as not implemented, so that libraries fall back.
const UNKNOWN: RangeInclusive<i64> = LAST_KNOWN + 1..=511;
/// Numbers that the C library's headers do not name yet: security modules, mounts.
const DENIED_BY_NUMBER: [i64; 4] = [459, 460, 461, 467];

const DENIED: &[libc::c_long] = &[
    // Namespaces and mounts.
    libc::SYS_setns,
    libc::SYS_mount,
    libc::SYS_umount2,
    libc::SYS_pivot_root,
    libc::SYS_chroot,
    libc::SYS_open_tree,
    libc::SYS_move_mount,
    libc::SYS_fsopen,
    libc::SYS_fsconfig,
    libc::SYS_fsmount,
    libc::SYS_fspick,
    libc::SYS_mount_setattr,
    // Other processes and files behind the file system's back.
    libc::SYS_ptrace,
    libc::SYS_process_vm_readv,
    libc::SYS_process_vm_writev,
    libc::SYS_process_madvise,
    libc::SYS_process_mrelease,
    libc::SYS_pidfd_getfd,
    libc::SYS_kcmp,
    libc::SYS_name_to_handle_at,
    libc::SYS_open_by_handle_at,
    // Large and seldom needed parts of the kernel.
    libc::SYS_bpf,
    libc::SYS_perf_event_open,
    libc::SYS_io_uring_setup,
    libc::SYS_io_uring_enter,
    libc::SYS_io_uring_register,
    libc::SYS_userfaultfd,
    libc::SYS_fanotify_init,
    libc::SYS_fanotify_mark,
    libc::SYS_memfd_secret,
    libc::SYS_add_key,
    libc::SYS_request_key,
    libc::SYS_keyctl,
    // Memory placement.
    libc::SYS_move_pages,
    libc::SYS_migrate_pages,
    libc::SYS_mbind,
    libc::SYS_set_mempolicy,
    libc::SYS_set_mempolicy_home_node,
    libc::SYS_get_mempolicy,
    // The machine.
    libc::SYS_init_module,
    libc::SYS_finit_module,
    libc::SYS_delete_module,
    libc::SYS_kexec_load,
    libc::SYS_kexec_file_load,
    libc::SYS_reboot,
    libc::SYS_swapon,
    libc::SYS_swapoff,
    libc::SYS_acct,
    libc::SYS_quotactl,
    libc::SYS_quotactl_fd,
    libc::SYS_syslog,
    libc::SYS_vhangup,
    libc::SYS_settimeofday,
    libc::SYS_clock_settime,
    libc::SYS_clock_adjtime,
    libc::SYS_adjtimex,
    libc::SYS_sethostname,
    libc::SYS_setdomainname,
    libc::SYS_nfsservctl,
    libc::SYS_lookup_dcookie,
];

#[cfg(target_arch = "x86_64")]
const CREATE_MODULE: libc::c_long = 174;
#[cfg(target_arch = "x86_64")]
const GET_KERNEL_SYMS: libc::c_long = 177;
#[cfg(target_arch = "x86_64")]
const QUERY_MODULE: libc::c_long = 178;
#[cfg(target_arch = "x86_64")]
const DENIED_HERE: &[libc::c_long] = &[
    libc::SYS_iopl,
    libc::SYS_ioperm,
    libc::SYS_modify_ldt,
    libc::SYS_uselib,
    libc::SYS_ustat,
    libc::SYS_sysfs,
    libc::SYS__sysctl,
    CREATE_MODULE,
    GET_KERNEL_SYMS,
    QUERY_MODULE,
    libc::SYS_getpmsg,
    libc::SYS_putpmsg,
    libc::SYS_afs_syscall,
    libc::SYS_tuxcall,
    libc::SYS_security,
    libc::SYS_vserver,
    libc::SYS_epoll_ctl_old,
    libc::SYS_epoll_wait_old,
];
#[cfg(target_arch = "aarch64")]
const DENIED_HERE: &[libc::c_long] = &[];

const NEW_NAMESPACES: u64 = 0x7e02_0000;
const CLONE_NEWTIME: u64 = 0x80;

fn when(argument: u8, length: SeccompCmpArgLen, operator: SeccompCmpOp, value: u64) -> io::Result<SeccompCondition> {
    SeccompCondition::new(argument, length, operator, value).map_err(io::Error::other)
}

fn equals(argument: u8, value: i32) -> io::Result<SeccompCondition> {
    when(argument, SeccompCmpArgLen::Dword, SeccompCmpOp::Eq, u64::from(value.cast_unsigned()))
}

fn all(conditions: Vec<SeccompCondition>) -> io::Result<SeccompRule> {
    SeccompRule::new(conditions).map_err(io::Error::other)
}

fn no_flags(mask: u64) -> io::Result<SeccompRule> {
    all(vec![when(0, SeccompCmpArgLen::Qword, SeccompCmpOp::MaskedEq(mask), 0)?])
}

/// Stream and datagram sockets of the internet and of this machine; no raw ones, no other family.
fn sockets() -> io::Result<Vec<SeccompRule>> {
    const TYPE: u64 = 0xf;
    let mut rules = vec![all(vec![equals(0, libc::AF_UNIX)?])?];
    for family in [libc::AF_INET, libc::AF_INET6] {
        for (kind, protocols) in [(libc::SOCK_STREAM, [0, libc::IPPROTO_TCP]), (libc::SOCK_DGRAM, [0, libc::IPPROTO_UDP])] {
            for protocol in protocols {
                let kind = when(1, SeccompCmpArgLen::Dword, SeccompCmpOp::MaskedEq(TYPE), u64::from(kind.cast_unsigned()))?;
                rules.push(all(vec![equals(0, family)?, kind, equals(2, protocol)?])?);
            }
        }
    }
    Ok(rules)
}

/// Everything but pushing characters into a terminal and loading line disciplines.
fn ioctls() -> io::Result<Vec<SeccompRule>> {
    const TIOCSTI: u64 = 0x5412;
    const TIOCLINUX: u64 = 0x541c;
    const TIOCSETD: u64 = 0x5423;
    let conditions: io::Result<Vec<_>> =
        [TIOCSTI, TIOCLINUX, TIOCSETD].into_iter().map(|request| when(1, SeccompCmpArgLen::Dword, SeccompCmpOp::Ne, request)).collect();
    Ok(vec![all(conditions?)?])
}

/// Limits and scheduling of the process that asks, and of no other: init has the same user, and
/// without its limits it could not write down results. What is set for a whole user is set for init.
fn of_itself() -> io::Result<Rules> {
    const NEW_LIMIT: u8 = 2;
    const IOPRIO_WHO_PROCESS: i32 = 1;
    const IOPRIO_WHO_PGRP: i32 = 2;
    let itself = || all(vec![equals(0, 0)?]);
    let mut rules = Rules::new();
    let reading = all(vec![when(NEW_LIMIT, SeccompCmpArgLen::Qword, SeccompCmpOp::Eq, 0)?])?;
    rules.insert(libc::SYS_prlimit64, vec![itself()?, reading]);
    for number in [libc::SYS_sched_setscheduler, libc::SYS_sched_setattr, libc::SYS_sched_setparam, libc::SYS_sched_setaffinity] {
        rules.insert(number, vec![itself()?]);
    }
    for (number, kinds) in [
        (libc::SYS_setpriority, [libc::PRIO_PROCESS.cast_signed(), libc::PRIO_PGRP.cast_signed()]),
        (libc::SYS_ioprio_set, [IOPRIO_WHO_PROCESS, IOPRIO_WHO_PGRP]),
    ] {
        let own: io::Result<Vec<_>> = kinds.into_iter().map(|kind| all(vec![equals(0, kind)?, equals(1, 0)?])).collect();
        rules.insert(number, own?);
    }
    Ok(rules)
}

fn allowed() -> io::Result<Rules> {
    let mut rules: Rules = KNOWN.into_iter().flatten().map(|number| (number, Vec::new())).collect();
    for number in DENIED.iter().chain(DENIED_HERE).copied().chain(DENIED_BY_NUMBER) {
        rules.remove(&number);
    }
    rules.insert(libc::SYS_clone, vec![no_flags(NEW_NAMESPACES)?]);
    rules.insert(libc::SYS_unshare, vec![no_flags(NEW_NAMESPACES | CLONE_NEWTIME)?]);
    rules.insert(libc::SYS_socket, sockets()?);
    rules.insert(libc::SYS_socketpair, vec![all(vec![equals(0, libc::AF_UNIX)?])?]);
    rules.insert(libc::SYS_ioctl, ioctls()?);
    rules.extend(of_itself()?);
    // The default, and the question what it is; not the ones that weaken memory protection.
    rules.insert(libc::SYS_personality, vec![all(vec![equals(0, 0)?])?, all(vec![equals(0, -1)?])?]);
    Ok(rules)
}

fn program(rules: Rules, otherwise: SeccompAction, matched: SeccompAction) -> io::Result<BpfProgram> {
    let arch: TargetArch = std::env::consts::ARCH.try_into().map_err(io::Error::other)?;
    let filter = SeccompFilter::new(rules, otherwise, matched, arch).map_err(io::Error::other)?;
    filter.try_into().map_err(io::Error::other)
}

const EPERM: u32 = libc::EPERM.cast_unsigned();
const ENOSYS: u32 = libc::ENOSYS.cast_unsigned();

pub(super) fn install() -> io::Result<()> {
    let allowed = program(allowed()?, SeccompAction::Errno(EPERM), SeccompAction::Allow)?;
    // clone3 hides its flags in memory; without it the C library uses clone, whose flags are seen.
    let missing = UNKNOWN.chain([libc::SYS_clone3]).map(|number| (number, Vec::new())).collect();
    let missing = program(missing, SeccompAction::Allow, SeccompAction::Errno(ENOSYS))?;
    apply_filter(&allowed).map_err(io::Error::other)?;
    // Of two filters that both refuse, the later one's error counts.
    apply_filter(&missing).map_err(io::Error::other)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_denied_is_not_allowed_and_the_programs_fit_the_kernel() {
        let rules = allowed().unwrap();
        for number in [libc::SYS_mount, libc::SYS_ptrace, libc::SYS_bpf, libc::SYS_keyctl, libc::SYS_setns, libc::SYS_io_uring_setup] {
            assert!(!rules.contains_key(&number), "{number}");
        }
        for number in [libc::SYS_read, libc::SYS_execve, libc::SYS_futex, libc::SYS_openat2, libc::SYS_statx] {
            assert!(rules.get(&number).is_some_and(Vec::is_empty), "{number}");
        }
        assert!(!rules[&libc::SYS_clone].is_empty());
        const KERNEL_LIMIT: usize = 4_096;
        assert!(program(rules, SeccompAction::Errno(EPERM), SeccompAction::Allow).unwrap().len() < KERNEL_LIMIT);
    }
}
