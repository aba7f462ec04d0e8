//! System calls that no crate wraps safely. Each function is one call with its safety argument;
//! policy is elsewhere.
#![expect(unsafe_code, reason = "the calls here have no safe wrapper; every block says why it is sound")]

use std::ffi::{CStr, CString, OsStr};
use std::io;
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::ffi::OsStrExt;

use nix::unistd::Pid;

pub(crate) mod loops;

/// Proof that this process has one thread, so that a forked child may do anything.
#[derive(Debug)]
pub(crate) struct Alone(());

impl Alone {
    /// Checks it. A process that holds this must not start threads.
    pub(crate) fn check() -> io::Result<Self> {
        match std::fs::read_dir("/proc/self/task")?.count() {
            1 => Ok(Self(())),
            threads => Err(io::Error::other(format!("this process has {threads} threads and needs to have one"))),
        }
    }

    /// For a test that forks nothing.
    #[cfg(test)]
    pub(crate) fn for_test() -> Self {
        Self(())
    }
}

/// Which side of a fork this is.
#[derive(Debug)]
pub(crate) enum Side<T> {
    /// The parent, with what it knows of the child.
    Parent(T),
    /// The child.
    Child,
}

/// Forks.
pub(crate) fn fork(_alone: &Alone) -> io::Result<Side<Pid>> {
    // SAFETY: there is one thread, so no lock is held by a thread that the child lacks.
    match unsafe { nix::unistd::fork() }? {
        nix::unistd::ForkResult::Parent { child } => Ok(Side::Parent(child)),
        nix::unistd::ForkResult::Child => Ok(Side::Child),
    }
}

/// Forks into new namespaces; the parent gets the child's pid and a descriptor of it.
pub(crate) fn clone_into(_alone: &Alone, namespaces: libc::c_int) -> io::Result<Side<(Pid, OwnedFd)>> {
    let mut pidfd: RawFd = -1;
    let flags = libc::c_long::from(namespaces | libc::CLONE_PIDFD | libc::SIGCHLD);
    // SAFETY: without CLONE_VM and with no stack this is a fork; there is one thread, so no lock is
    // held by another; `pidfd` outlives the call.
    let pid = unsafe { libc::syscall(libc::SYS_clone, flags, 0, &raw mut pidfd, 0, 0) };
    match pid {
        -1 => Err(io::Error::last_os_error()),
        0 => Ok(Side::Child),
        pid => {
            // SAFETY: the kernel has just made this descriptor for us.
            let pidfd = unsafe { OwnedFd::from_raw_fd(pidfd) };
            let pid = i32::try_from(pid).map_err(io::Error::other)?;
            Ok(Side::Parent((Pid::from_raw(pid), pidfd)))
        }
    }
}

/// Forks into new namespaces as another user of the host, whose they are then, and in whose name the kernel counts
/// what is made in them: of what root may have, sandboxes take nothing. The caller is root and stays it.
pub(crate) fn clone_as(alone: &Alone, namespaces: libc::c_int, user: u32) -> io::Result<Side<(Pid, OwnedFd)>> {
    nix::unistd::seteuid(nix::unistd::Uid::from_raw(user))?;
    // Whatever root may do here is still needed where ordinary users may make no namespaces.
    let cloned = raise_capabilities().and_then(|()| clone_into(alone, namespaces));
    if !matches!(cloned, Ok(Side::Child)) {
        nix::unistd::seteuid(nix::unistd::Uid::from_raw(0))?;
    }
    cloned
}

/// Ends this process at once, without running anything.
pub(crate) fn exit_now(code: i32) -> ! {
    // SAFETY: `_exit` does not return and touches no memory.
    unsafe { libc::_exit(code) }
}

fn checked(result: libc::c_long) -> io::Result<libc::c_long> {
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result) }
}

fn owned(result: libc::c_long) -> io::Result<OwnedFd> {
    let fd = i32::try_from(checked(result)?).map_err(io::Error::other)?;
    // SAFETY: the kernel has just made this descriptor for us.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

fn c_path(path: &OsStr) -> io::Result<CString> {
    CString::new(path.as_bytes()).map_err(io::Error::other)
}

const OPEN_TREE_CLONE: libc::c_long = 1;
const MOVE_MOUNT_F_EMPTY_PATH: libc::c_long = 4;
/// Attributes of a mount, as the kernel numbers them.
pub(crate) const MOUNT_RDONLY: u64 = 0x1;
/// Set-user-id bits have no effect.
pub(crate) const MOUNT_NOSUID: u64 = 0x2;
/// Device nodes cannot be opened.
pub(crate) const MOUNT_NODEV: u64 = 0x4;
/// Programs cannot be run.
pub(crate) const MOUNT_NOEXEC: u64 = 0x8;

/// A detached copy of the mount at `path` (with those below it, if asked), held by its descriptor.
pub(crate) fn open_tree(path: &OsStr, recursive: bool) -> io::Result<OwnedFd> {
    let path = c_path(path)?;
    let deep = if recursive { libc::AT_RECURSIVE } else { 0 };
    let flags = OPEN_TREE_CLONE | libc::c_long::from(libc::O_CLOEXEC | deep | libc::AT_SYMLINK_NOFOLLOW);
    // SAFETY: `path` is a C string that outlives the call.
    owned(unsafe { libc::syscall(libc::SYS_open_tree, libc::c_long::from(libc::AT_FDCWD), path.as_ptr(), flags) })
}

#[repr(C)]
struct MountAttr {
    attr_set: u64,
    attr_clr: u64,
    propagation: u64,
    userns_fd: u64,
}

/// Adds attributes to the mount that the descriptor stands for, and cuts it off from what is
/// mounted elsewhere later.
pub(crate) fn set_mount_attributes(mount: &impl AsFd, set: u64, recursive: bool) -> io::Result<()> {
    let attributes = MountAttr { attr_set: set, attr_clr: 0, propagation: libc::MS_PRIVATE, userns_fd: 0 };
    let deep = if recursive { libc::AT_RECURSIVE } else { 0 };
    let flags = libc::c_long::from(libc::AT_EMPTY_PATH | deep);
    let fd = libc::c_long::from(mount.as_fd().as_raw_fd());
    // SAFETY: the path is a constant C string, and the struct has the size that is given and outlives the call.
    let result = unsafe { libc::syscall(libc::SYS_mount_setattr, fd, c"".as_ptr(), flags, &raw const attributes, size_of::<MountAttr>()) };
    checked(result).map(drop)
}

/// Attaches a detached mount at `target`.
pub(crate) fn move_mount(mount: &impl AsFd, target: &OsStr) -> io::Result<()> {
    let target = c_path(target)?;
    let (from, at) = (libc::c_long::from(mount.as_fd().as_raw_fd()), libc::c_long::from(libc::AT_FDCWD));
    // SAFETY: both paths are C strings that outlive the call.
    let result = unsafe { libc::syscall(libc::SYS_move_mount, from, c"".as_ptr(), at, target.as_ptr(), MOVE_MOUNT_F_EMPTY_PATH) };
    checked(result).map(drop)
}

/// Closes every descriptor from 3 on that is not in `keep`.
pub(crate) fn close_all_but(keep: &[RawFd]) -> io::Result<()> {
    let mut keep: Vec<u32> = keep.iter().filter_map(|fd| u32::try_from(*fd).ok()).filter(|fd| *fd >= 3).collect();
    keep.sort_unstable();
    keep.dedup();
    let mut next = 3;
    for fd in keep.into_iter().chain([u32::MAX]) {
        if fd > next {
            let last = if fd == u32::MAX { fd } else { fd - 1 };
            // SAFETY: closes numbers only; callers do this where no owner of such a descriptor is used again.
            checked(unsafe { libc::syscall(libc::SYS_close_range, libc::c_ulong::from(next), libc::c_ulong::from(last), 0) })?;
        }
        next = fd.saturating_add(1);
    }
    Ok(())
}

/// Puts a copy of `fd` at exactly `number`, inherited by programs.
pub(crate) fn dup_to(fd: &impl AsFd, number: RawFd) -> io::Result<()> {
    let raw = fd.as_fd().as_raw_fd();
    if raw == number {
        // SAFETY: changes a flag of an open descriptor.
        return checked(libc::c_long::from(unsafe { libc::fcntl(raw, libc::F_SETFD, 0) })).map(drop);
    }
    // SAFETY: replaces what is at `number`; used for standard streams and in children about to exec, where nothing owns it.
    checked(libc::c_long::from(unsafe { libc::dup2(raw, number) })).map(drop)
}

/// Signals the process that a descriptor stands for.
pub(crate) fn kill_pidfd(pidfd: &impl AsFd) -> io::Result<()> {
    let fd = libc::c_long::from(pidfd.as_fd().as_raw_fd());
    // SAFETY: passes numbers and a null pointer, which the call allows.
    let result = unsafe { libc::syscall(libc::SYS_pidfd_send_signal, fd, libc::c_long::from(libc::SIGKILL), 0, 0) };
    checked(result).map(drop)
}

/// A descriptor of a process that need not be a child.
pub(crate) fn pidfd_open(pid: Pid) -> io::Result<OwnedFd> {
    // SAFETY: passes numbers only.
    owned(unsafe { libc::syscall(libc::SYS_pidfd_open, libc::c_long::from(pid.as_raw()), 0) })
}

#[repr(C)]
struct CapabilityHeader {
    version: u32,
    pid: i32,
}

const CAPABILITY_VERSION_3: u32 = 0x2008_0522;

/// Makes effective again what this process may have and lost with its effective user.
fn raise_capabilities() -> io::Result<()> {
    let header = CapabilityHeader { version: CAPABILITY_VERSION_3, pid: 0 };
    // Two of effective, permitted and inheritable each.
    let mut sets = [0_u32; 6];
    // SAFETY: version 3 reads a header and writes two triples of u32, all of which outlive the call.
    checked(unsafe { libc::syscall(libc::SYS_capget, &raw const header, sets.as_mut_ptr()) })?;
    (sets[0], sets[3]) = (sets[1], sets[4]);
    // SAFETY: version 3 reads a header and two triples of u32, all of which outlive the call.
    checked(unsafe { libc::syscall(libc::SYS_capset, &raw const header, sets.as_ptr()) }).map(drop)
}

/// Gives up every capability of this process.
pub(crate) fn drop_capabilities() -> io::Result<()> {
    let header = CapabilityHeader { version: CAPABILITY_VERSION_3, pid: 0 };
    let none = [0_u32; 6];
    // SAFETY: version 3 reads a header and two triples of u32, all of which outlive the call.
    checked(unsafe { libc::syscall(libc::SYS_capset, &raw const header, none.as_ptr()) }).map(drop)
}

/// Empties the bounding and the ambient set, so that no program can get a capability back.
pub(crate) fn drop_capability_sets() -> io::Result<()> {
    for capability in 0..64_u64 {
        // SAFETY: passes numbers only.
        let result = unsafe { libc::prctl(libc::PR_CAPBSET_DROP, capability, 0, 0, 0) };
        if result < 0 {
            let error = io::Error::last_os_error();
            if error.raw_os_error() == Some(libc::EINVAL) {
                break; // Beyond the last capability that this kernel knows.
            }
            return Err(error);
        }
    }
    // SAFETY: passes numbers only.
    checked(libc::c_long::from(unsafe { libc::prctl(libc::PR_CAP_AMBIENT, libc::PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0) })).map(drop)
}

/// Brings the loopback interface of this network namespace up.
pub(crate) fn loopback_up() -> io::Result<()> {
    // SAFETY: passes numbers only.
    let socket = owned(libc::c_long::from(unsafe { libc::socket(libc::AF_INET, libc::SOCK_DGRAM | libc::SOCK_CLOEXEC, 0) }))?;
    // SAFETY: all zeros is a valid `ifreq`.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    request.ifr_name[0] = b'l'.cast_signed();
    request.ifr_name[1] = b'o'.cast_signed();
    request.ifr_ifru.ifru_flags = libc::c_short::try_from(libc::IFF_UP | libc::IFF_RUNNING).map_err(io::Error::other)?;
    // SAFETY: the request names an interface in a terminated array and outlives the call.
    checked(libc::c_long::from(unsafe { libc::ioctl(socket.as_raw_fd(), libc::SIOCSIFFLAGS, &raw const request) })).map(drop)
}

/// Takes over a descriptor that was left open for this process by who started it. Programs that it starts do not get it.
///
/// # Errors
/// When it is not open, or was opened by this process itself: what that opens is closed for other programs.
pub fn inherited(number: RawFd) -> io::Result<OwnedFd> {
    // SAFETY: passes numbers only.
    let flags = checked(libc::c_long::from(unsafe { libc::fcntl(number, libc::F_GETFD) }))?;
    if number <= libc::STDERR_FILENO || flags & libc::c_long::from(libc::FD_CLOEXEC) != 0 {
        return Err(io::Error::from(io::ErrorKind::InvalidInput));
    }
    // SAFETY: passes numbers only.
    checked(libc::c_long::from(unsafe { libc::fcntl(number, libc::F_SETFD, libc::FD_CLOEXEC) }))?;
    // SAFETY: it is open. Nothing in this process owns it: it was there before, and is taken over once, since it is marked now.
    Ok(unsafe { OwnedFd::from_raw_fd(number) })
}

/// The descriptors that came beside a message.
pub(crate) fn descriptors_in(message: nix::sys::socket::ControlMessageOwned) -> Vec<OwnedFd> {
    let nix::sys::socket::ControlMessageOwned::ScmRights(numbers) = message else { return Vec::new() };
    // SAFETY: the kernel has made these for this process when it received the message, which is used up here.
    numbers.into_iter().map(|number| unsafe { OwnedFd::from_raw_fd(number) }).collect()
}

/// Gives the loopback interface an address and all others of its network; it must be up.
pub(crate) fn add_loopback_address(address: std::net::Ipv4Addr, mask: std::net::Ipv4Addr) -> io::Result<()> {
    // SAFETY: passes numbers only.
    let socket = owned(libc::c_long::from(unsafe { libc::socket(libc::AF_INET, libc::SOCK_DGRAM | libc::SOCK_CLOEXEC, 0) }))?;
    for (what, value) in [(libc::SIOCSIFADDR, address), (libc::SIOCSIFNETMASK, mask)] {
        // SAFETY: all zeros is a valid `ifreq`.
        let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
        for (to, from) in request.ifr_name.iter_mut().zip(b"lo:1") {
            *to = from.cast_signed();
        }
        let number = libc::in_addr { s_addr: u32::from(value).to_be() };
        let family = libc::sa_family_t::try_from(libc::AF_INET).map_err(io::Error::other)?;
        let socket_address = libc::sockaddr_in { sin_family: family, sin_port: 0, sin_addr: number, sin_zero: [0; 8] };
        // SAFETY: both are plain data of the same size, and the kernel reads it as `sin_family` says.
        request.ifr_ifru.ifru_addr = unsafe { std::mem::transmute::<libc::sockaddr_in, libc::sockaddr>(socket_address) };
        // SAFETY: the request names an interface in a terminated array and outlives the call.
        checked(libc::c_long::from(unsafe { libc::ioctl(socket.as_raw_fd(), what, &raw const request) }))?;
    }
    Ok(())
}

/// Gives a signal its default action back, as programs expect it.
pub(crate) fn default_signal(signal: nix::sys::signal::Signal) -> io::Result<()> {
    // SAFETY: the default action runs no code of ours.
    unsafe { nix::sys::signal::signal(signal, nix::sys::signal::SigHandler::SigDfl) }?;
    Ok(())
}

/// Limits a resource, soft and hard alike.
pub(crate) fn limit(resource: nix::sys::resource::Resource, most: u64) -> io::Result<()> {
    let (_, hard) = nix::sys::resource::getrlimit(resource)?;
    let most = most.min(hard);
    nix::sys::resource::setrlimit(resource, most, most)?;
    Ok(())
}

/// Lets this process open as many files as it may at most.
pub(crate) fn raise_open_files() -> io::Result<()> {
    let (_, hard) = nix::sys::resource::getrlimit(nix::sys::resource::Resource::RLIMIT_NOFILE)?;
    nix::sys::resource::setrlimit(nix::sys::resource::Resource::RLIMIT_NOFILE, hard, hard)?;
    Ok(())
}

/// Milliseconds of the clock that also counts while the machine sleeps.
pub(crate) fn boot_ms() -> u64 {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: `time` outlives the call; this clock always exists.
    unsafe { libc::clock_gettime(libc::CLOCK_BOOTTIME, &raw mut time) };
    u64::try_from(time.tv_sec).unwrap_or(0) * 1_000 + u64::try_from(time.tv_nsec).unwrap_or(0) / 1_000_000
}

/// Becomes another program.
pub(crate) fn exec(program: &CStr, args: &[&CStr], environment: &[&CStr]) -> io::Error {
    match nix::unistd::execve(program, args, environment) {
        Ok(never) => match never {},
        Err(error) => error.into(),
    }
}

/// Random bytes of the kernel.
pub(crate) fn random<const N: usize>() -> io::Result<[u8; N]> {
    let mut bytes = [0_u8; N];
    // SAFETY: writes at most `N` bytes into an array of `N` bytes.
    let got = checked(unsafe { libc::syscall(libc::SYS_getrandom, bytes.as_mut_ptr(), N, 0) })?;
    if usize::try_from(got).is_ok_and(|got| got == N) { Ok(bytes) } else { Err(io::Error::other("the kernel gave too few random bytes")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_was_left_open_is_taken_over() {
        let own = std::fs::File::open("/dev/null").unwrap();
        for number in [own.as_raw_fd(), libc::STDERR_FILENO, -1, 1_000_000] {
            assert!(inherited(number).is_err(), "{number}");
        }
    }
}
