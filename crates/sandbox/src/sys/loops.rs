//! Loop devices: files as block devices. See loop(4) and `linux/loop.h`.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::MetadataExt;

use super::checked;

const LOOP_CONFIGURE: libc::c_ulong = 0x4C0A;
const LOOP_GET_STATUS64: libc::c_ulong = 0x4C05;
const LOOP_CTL_GET_FREE: libc::c_ulong = 0x4C82;
const LO_FLAGS_AUTOCLEAR: u32 = 4;
const BLOCK_BYTES: u32 = 4_096;

/// `struct loop_info64`.
#[repr(C)]
#[derive(Clone, Copy)]
struct Info {
    device: u64,
    inode: u64,
    rdevice: u64,
    offset: u64,
    size_limit: u64,
    number: u32,
    encrypt_type: u32,
    encrypt_key_size: u32,
    flags: u32,
    file_name: [u8; 64],
    crypt_name: [u8; 64],
    encrypt_key: [u8; 32],
    init: [u64; 2],
}

/// `struct loop_config`.
#[repr(C)]
struct Config {
    fd: u32,
    block_size: u32,
    info: Info,
    reserved: [u64; 8],
}

fn empty() -> Info {
    Info {
        device: 0,
        inode: 0,
        rdevice: 0,
        offset: 0,
        size_limit: 0,
        number: 0,
        encrypt_type: 0,
        encrypt_key_size: 0,
        flags: 0,
        file_name: [0; 64],
        crypt_name: [0; 64],
        encrypt_key: [0; 32],
        init: [0; 2],
    }
}

/// The path of a loop device.
pub(crate) fn path(number: u32) -> String {
    format!("/dev/loop{number}")
}

fn open(number: u32) -> io::Result<File> {
    OpenOptions::new().read(true).write(true).open(path(number))
}

/// The device, if it holds this file. While it is open it holds it.
pub(crate) fn holding(number: u32, backing: &File) -> io::Result<Option<File>> {
    let device = open(number)?;
    let mut info = empty();
    // SAFETY: the kernel writes one `loop_info64` into a struct of that size, which outlives the call.
    let asked = checked(libc::c_long::from(unsafe { libc::ioctl(device.as_raw_fd(), LOOP_GET_STATUS64, &raw mut info) }));
    match asked {
        Err(error) if error.raw_os_error() == Some(libc::ENXIO) => return Ok(None),
        other => other?,
    };
    let meta = backing.metadata()?;
    Ok((info.device == meta.dev() && info.inode == meta.ino()).then_some(device))
}

/// Has a free device hold the file, until nobody uses the device any more.
pub(crate) fn hold(backing: &File) -> io::Result<(u32, File)> {
    const TRIES: u32 = 64;
    let control = OpenOptions::new().read(true).write(true).open("/dev/loop-control")?;
    let mut last = io::Error::from(io::ErrorKind::ResourceBusy);
    for _ in 0..TRIES {
        // SAFETY: takes no argument and answers with a number.
        let number = checked(libc::c_long::from(unsafe { libc::ioctl(control.as_raw_fd(), LOOP_CTL_GET_FREE) }))?;
        let number = u32::try_from(number).map_err(io::Error::other)?;
        let device = open(number)?;
        let fd = u32::try_from(backing.as_raw_fd()).map_err(io::Error::other)?;
        let info = Info { flags: LO_FLAGS_AUTOCLEAR, ..empty() };
        let config = Config { fd, block_size: BLOCK_BYTES, info, reserved: [0; 8] };
        // SAFETY: the kernel reads one `loop_config` from a struct of that size, which outlives the call.
        match checked(libc::c_long::from(unsafe { libc::ioctl(device.as_raw_fd(), LOOP_CONFIGURE, &raw const config) })) {
            Ok(_) => return Ok((number, device)),
            // Somebody else took it in between.
            Err(error) if error.raw_os_error() == Some(libc::EBUSY) => last = error,
            Err(error) => return Err(error),
        }
    }
    Err(last)
}
