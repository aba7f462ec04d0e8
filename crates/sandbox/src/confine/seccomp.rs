//! The system calls that may be made inside: those that are known, without the ones that reach
//! parts of the kernel no agent needs. Refused before the kernel's code for them runs. Installed
//! once, by init; everything inside inherits it.

use std::collections::BTreeMap;
use std::io;
use std::ops::RangeInclusive;

use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter, SeccompRule, TargetArch, apply_filter,
    sock_filter,
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
/// The number of the call and the architecture in `struct seccomp_data`.
const NUMBER_AT: u32 = 0;
const ARCHITECTURE_AT: u32 = 4;
#[cfg(target_arch = "x86_64")]
const ARCHITECTURE: u32 = 0xc000_003e;
#[cfg(target_arch = "aarch64")]
const ARCHITECTURE: u32 = 0xc000_00b7;

/// The numbers that are answered without a look at arguments, as ranges.
fn ranges(numbers: impl IntoIterator<Item = i64>) -> Vec<RangeInclusive<i64>> {
    let mut ranges: Vec<RangeInclusive<i64>> = Vec::new();
    for number in numbers {
        match ranges.last_mut() {
            Some(last) if *last.end() + 1 == number => *last = *last.start()..=number,
            _ => ranges.push(number..=number),
        }
    }
    ranges
}

/// One program for all: first, in ranges, the calls that are allowed or missing whatever their arguments are, which
/// are most; then, by the library, those that depend on them; everything else is refused. A program of the library
/// alone is five times as long, and the kernel checks every instruction at every installation.
fn whole() -> io::Result<BpfProgram> {
    let (free, conditional): (Rules, Rules) = allowed()?.into_iter().partition(|(_, rules)| rules.is_empty());
    let number = |number: i64| u32::try_from(number).map_err(io::Error::other);
    let statement = |code: u32, k: u32| Ok(instruction(code, 0, 0, k));
    let (load, jump_if) = (libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, libc::BPF_JMP | libc::BPF_K);
    let answer = libc::BPF_RET | libc::BPF_K;
    let mut program: Vec<io::Result<sock_filter>> = vec![
        statement(load, ARCHITECTURE_AT),
        Ok(instruction(jump_if | libc::BPF_JEQ, 1, 0, ARCHITECTURE)),
        statement(answer, libc::SECCOMP_RET_KILL_PROCESS),
        statement(load, NUMBER_AT),
    ];
    // clone3 hides its flags in memory; without it the C library uses clone, whose flags are seen.
    // The contexts of io_setup are the host's: one sandbox could take all that there are.
    let missing = [libc::SYS_clone3..=libc::SYS_clone3, libc::SYS_io_setup..=libc::SYS_io_setup, UNKNOWN];
    let missing = missing.into_iter().map(|range| (range, libc::SECCOMP_RET_ERRNO | ENOSYS));
    let free = ranges(free.into_keys().filter(|number| ![libc::SYS_clone3, libc::SYS_io_setup].contains(number)));
    for (range, answered) in missing.chain(free.into_iter().map(|range| (range, libc::SECCOMP_RET_ALLOW))) {
        program.push(number(*range.start()).map(|first| instruction(jump_if | libc::BPF_JGE, 0, 2, first)));
        program.push(number(*range.end()).map(|last| instruction(jump_if | libc::BPF_JGT, 1, 0, last)));
        program.push(statement(answer, answered));
    }
    let mut program = program.into_iter().collect::<io::Result<BpfProgram>>()?;
    program.extend(self::program(conditional, SeccompAction::Errno(EPERM), SeccompAction::Allow)?);
    Ok(program)
}

fn instruction(code: u32, jump_true: u8, jump_false: u8, k: u32) -> sock_filter {
    // The codes fit: they are made of bits of one byte.
    sock_filter { code: u16::try_from(code).unwrap_or(u16::MAX), jt: jump_true, jf: jump_false, k }
}

pub(super) fn install() -> io::Result<()> {
    apply_filter(&whole()?).map_err(io::Error::other)
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
        let (short, long) = (whole().unwrap().len(), program(rules, SeccompAction::Errno(EPERM), SeccompAction::Allow).unwrap().len());
        assert!(short * 2 < long, "{short} of {long}");
    }

    /// Runs a program as the kernel does, for a call without a look at its arguments.
    fn answered(program: &BpfProgram, number: i64) -> u32 {
        let (mut at, mut loaded) = (0, 0);
        loop {
            let sock_filter { code, jt, jf, k } = program[at].clone();
            let code = u32::from(code);
            at += 1;
            let jump = |is: bool| usize::from(if is { jt } else { jf });
            match code & 0x07 {
                libc::BPF_LD => {
                    loaded = match k {
                        NUMBER_AT => u32::try_from(number).unwrap(),
                        ARCHITECTURE_AT => ARCHITECTURE,
                        _ => u32::MAX,
                    };
                }
                libc::BPF_ALU => loaded &= k,
                libc::BPF_JMP => match code & 0xf0 {
                    libc::BPF_JEQ => at += jump(loaded == k),
                    libc::BPF_JGE => at += jump(loaded >= k),
                    libc::BPF_JGT => at += jump(loaded > k),
                    0 => at += k as usize,
                    other => panic!("a jump of kind {other}"),
                },
                libc::BPF_RET => return k,
                other => panic!("an instruction of class {other}"),
            }
        }
    }

    #[test]
    fn every_number_is_answered_as_the_rules_say() {
        let (rules, program) = (allowed().unwrap(), whole().unwrap());
        for number in 0..700 {
            let expected = match rules.get(&number) {
                _ if [libc::SYS_clone3, libc::SYS_io_setup].contains(&number) || UNKNOWN.contains(&number) => {
                    libc::SECCOMP_RET_ERRNO | ENOSYS
                }
                Some(conditions) if conditions.is_empty() => libc::SECCOMP_RET_ALLOW,
                // With arguments that fit no condition.
                _ => libc::SECCOMP_RET_ERRNO | EPERM,
            };
            let found = answered(&program, number);
            let depends = rules.get(&number).is_some_and(|conditions| !conditions.is_empty());
            assert!(found == expected || (depends && found == libc::SECCOMP_RET_ALLOW), "{number}: {found:x}, not {expected:x}");
        }
    }
}
