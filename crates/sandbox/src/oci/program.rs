//! The program that becomes init in a container, with its loader and libraries beside it, so that it runs whatever
//! system the container has.

use std::ffi::OsString;
use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// Where it is inside.
pub(super) const INSIDE: &str = "/run/ostler-init";
const LOADER: &str = "loader";
const PROGRAM: &str = "program";

/// Copies program, loader and libraries below the directory, once for each build.
pub(super) fn install(dir: &Path, program: &Path) -> io::Result<PathBuf> {
    let meta = fs::metadata(program)?;
    let place = dir.join(format!("init-{}-{}", meta.len(), meta.mtime()));
    if place.exists() {
        return Ok(place);
    }
    let next = place.with_extension("next");
    let _ = fs::remove_dir_all(&next);
    fs::create_dir_all(&next)?;
    fs::copy(program, next.join(PROGRAM))?;
    for library in libraries()? {
        let name = library.file_name().ok_or_else(|| io::Error::other("a library has no name"))?;
        let is_loader = name.to_str().is_some_and(|name| name.starts_with("ld-"));
        fs::copy(&library, if is_loader { next.join(LOADER) } else { next.join(name) })?;
    }
    match fs::rename(&next, &place) {
        // Another server of this build was faster.
        Err(_) if place.exists() => fs::remove_dir_all(next)?,
        done => done?,
    }
    Ok(place)
}

/// The libraries of this process, which is linked as the program is.
fn libraries() -> io::Result<Vec<PathBuf>> {
    let maps = fs::read_to_string("/proc/self/maps")?;
    let mut found: Vec<PathBuf> = maps
        .lines()
        .filter_map(|line| line.split_once('/').map(|(_, path)| PathBuf::from(format!("/{path}"))))
        .filter(|path| path.file_name().and_then(|name| name.to_str()).is_some_and(|name| name.contains(".so")))
        .collect();
    found.sort();
    found.dedup();
    Ok(found)
}

/// How it is started inside.
pub(super) fn command(args: &[OsString]) -> Vec<String> {
    let start = [format!("{INSIDE}/{LOADER}"), "--library-path".into(), INSIDE.into(), format!("{INSIDE}/{PROGRAM}")];
    let args = args.iter().map(|arg| arg.to_string_lossy().into_owned());
    start.into_iter().chain(args).chain([super::entry::ROLE.to_owned()]).collect()
}
