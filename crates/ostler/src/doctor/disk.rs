//! The file system below the data directory: which kind, how much room.

use std::path::Path;

use nix::sys::statfs::statfs;
use nix::sys::statvfs::{FsFlags, statvfs};

use super::limits;
use super::report::Finding;

/// What was seen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Disk {
    /// The number by which the kernel knows the kind of file system.
    pub(super) magic: u64,
    pub(super) is_read_only: bool,
    /// Bytes that an ordinary process may still write.
    pub(super) free_bytes: u64,
    /// Files that can still be made; `None` where the file system does not count them.
    pub(super) free_files: Option<u64>,
}

pub(super) fn look(path: &Path) -> Result<Disk, String> {
    let room = statvfs(path).map_err(|error| error.to_string())?;
    let kind = statfs(path).map_err(|error| error.to_string())?;
    Ok(Disk {
        // The kernel's numbers have 32 bits; on some machines they come with a sign.
        magic: u64::from(kind.filesystem_type().0 as u32),
        is_read_only: room.flags().contains(FsFlags::ST_RDONLY),
        free_bytes: room.blocks_available().saturating_mul(room.fragment_size()),
        free_files: (room.files() > 0).then(|| room.files_available()),
    })
}

/// What a kind of file system means for a database.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Local,
    Network,
    Memory,
    Layered,
    Foreign,
    Unknown,
}

/// The numbers of `linux/magic.h` and of file systems that are kept elsewhere.
const KINDS: [(u64, &str, Kind); 21] = [
    (0xef53, "ext4", Kind::Local),
    (0x5846_5342, "xfs", Kind::Local),
    (0x9123_683e, "btrfs", Kind::Local),
    (0x2fc1_2fc1, "zfs", Kind::Local),
    (0xf2f5_2010, "f2fs", Kind::Local),
    (0xca45_1a4e, "bcachefs", Kind::Local),
    (0x6969, "nfs", Kind::Network),
    (0x517b, "smb", Kind::Network),
    (0xff53_4d42, "cifs", Kind::Network),
    (0xfe53_4d42, "smb2", Kind::Network),
    (0x0102_1997, "9p", Kind::Network),
    (0x00c3_6400, "ceph", Kind::Network),
    (0x5346_414f, "afs", Kind::Network),
    (0x0116_1970, "gfs2", Kind::Network),
    (0x7461_636f, "ocfs2", Kind::Network),
    (0x0bd0_0bd0, "lustre", Kind::Network),
    (0x0102_1994, "tmpfs", Kind::Memory),
    (0x8584_58f6, "ramfs", Kind::Memory),
    (0x794c_7630, "overlay", Kind::Layered),
    (0x6573_5546, "fuse", Kind::Foreign),
    (0x4d44, "vfat", Kind::Foreign),
];

impl Disk {
    /// `reserve` is what the server keeps free for running turns, in bytes.
    pub(super) fn judge(&self, reserve: u64) -> Vec<Finding> {
        vec![self.space(reserve), self.kind()]
    }

    fn space(&self, reserve: u64) -> Finding {
        const NAME: &str = "disk_space";
        let mib = |bytes: u64| bytes >> 20;
        let found = format!("{} MiB free", mib(self.free_bytes));
        if self.free_bytes < reserve {
            let remedy = format!("free some space on the disk of the data directory: below {} MiB no turn begins", mib(reserve));
            return Finding::problem(NAME, found, remedy);
        }
        match self.free_files {
            Some(0) => Finding::problem(
                NAME,
                format!("{found}, but no file can be made any more"),
                "delete files on the disk of the data directory: its inodes are used up",
            ),
            Some(files) if files < limits::FEW_FILES => Finding::note(
                NAME,
                format!("{found}, and {files} files can still be made"),
                "delete files on the disk of the data directory: its inodes run out",
            ),
            _ if self.free_bytes < limits::LITTLE_SPACE_BYTES.max(reserve) => Finding::note(
                NAME,
                found,
                format!("free some space on the disk of the data directory before it is below {} MiB", mib(reserve)),
            ),
            _ => Finding::ok(NAME, found),
        }
    }

    fn kind(&self) -> Finding {
        const NAME: &str = "file_system";
        let elsewhere = "choose a directory on a disk of this machine with --data-dir";
        let (name, kind) = KINDS
            .iter()
            .find(|(magic, ..)| *magic == self.magic)
            .map_or(("of an unknown kind", Kind::Unknown), |(_, name, kind)| (*name, *kind));
        if self.is_read_only {
            return Finding::problem(
                NAME,
                format!("{name}, mounted read-only"),
                format!("mount -o remount,rw its file system, or {elsewhere}"),
            );
        }
        match kind {
            Kind::Local => Finding::ok(NAME, name),
            Kind::Network => {
                Finding::note(NAME, format!("{name}: over a network the database's locks and shared memory cannot be relied on"), elsewhere)
            }
            Kind::Memory => Finding::note(NAME, format!("{name}: in memory, so all is gone when the machine restarts"), elsewhere),
            Kind::Layered => Finding::note(
                NAME,
                format!("{name}: a container's own layer, so all is gone with the container"),
                "mount a volume and name it with --data-dir",
            ),
            Kind::Foreign => {
                Finding::note(NAME, format!("{name}: its locks, owners and modes may not be what the server relies on"), elsewhere)
            }
            Kind::Unknown => {
                Finding::note(NAME, format!("{name} (0x{:x})", self.magic), "make sure that it has locks, shared memory mappings and fsync")
            }
        }
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::super::report::{Status, assert_finding};
    use super::*;

    const RESERVE: u64 = 64 << 20;

    pub(in super::super) fn good() -> Disk {
        Disk { magic: 0xef53, is_read_only: false, free_bytes: 10 << 30, free_files: Some(1_000_000) }
    }

    #[test]
    fn a_good_disk_has_nothing_to_be_said_of() {
        assert!(good().judge(RESERVE).iter().all(|finding| finding.status == Status::Ok));
        assert!(Disk { free_files: None, ..good() }.judge(RESERVE).iter().all(|finding| finding.status == Status::Ok));
    }

    #[test]
    fn little_room_is_a_note_and_less_than_the_reserve_a_problem() {
        let bytes = |free_bytes| Disk { free_bytes, ..good() };
        assert_finding(&bytes(0).judge(RESERVE), "disk_space", Status::Problem, "0 MiB free", "below 64 MiB");
        assert_finding(&bytes(RESERVE - 1).judge(RESERVE), "disk_space", Status::Problem, "63 MiB free", "below 64 MiB");
        assert_finding(&bytes(RESERVE).judge(RESERVE), "disk_space", Status::Note, "64 MiB free", "free some space");
        assert_finding(&bytes(1 << 30).judge(RESERVE), "disk_space", Status::Ok, "1024 MiB free", "");
        assert_finding(&bytes(1 << 30).judge(2 << 30), "disk_space", Status::Problem, "1024 MiB free", "below 2048 MiB");
        let files = |free| Disk { free_files: Some(free), ..good() };
        assert_finding(&files(0).judge(RESERVE), "disk_space", Status::Problem, "no file can be made", "inodes");
        assert_finding(&files(9_999).judge(RESERVE), "disk_space", Status::Note, "9999 files", "inodes");
    }

    #[test]
    fn file_systems_that_forget_or_do_not_lock_are_told() {
        let table = [
            (0x6969, Status::Note, "nfs", "--data-dir"),
            (0xfe53_4d42, Status::Note, "smb2", "--data-dir"),
            (0x0102_1994, Status::Note, "tmpfs", "--data-dir"),
            (0x794c_7630, Status::Note, "overlay", "volume"),
            (0x6573_5546, Status::Note, "fuse", "--data-dir"),
            (0x1234, Status::Note, "0x1234", "locks"),
            (0x5846_5342, Status::Ok, "xfs", ""),
        ];
        for (magic, status, found, remedy) in table {
            assert_finding(&Disk { magic, ..good() }.judge(RESERVE), "file_system", status, found, remedy);
        }
        assert_finding(&Disk { is_read_only: true, ..good() }.judge(RESERVE), "file_system", Status::Problem, "read-only", "remount,rw");
    }
}
