//! Small files of the system, read within a limit.

use std::fs::File;
use std::io::Read;

use super::limits;

/// The file's text; `None` when it cannot be read.
pub(super) fn text(path: impl AsRef<std::path::Path>) -> Option<String> {
    let mut bytes = Vec::new();
    File::open(path).ok()?.take(limits::FILE_BYTES).read_to_end(&mut bytes).ok()?;
    Some(String::from_utf8_lossy(&bytes).into_owned())
}

/// The number that a file of the kernel holds.
pub(super) fn number(path: &str) -> Option<u64> {
    text(path)?.trim().parse().ok()
}

/// The value of a line `Name: value`.
pub(super) fn field<'a>(text: &'a str, name: &str) -> Option<&'a str> {
    text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':')).map(str::trim)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_field_is_found_by_its_whole_name() {
        let status = "Seccomp_filters:\t1\nSeccomp:\t2\n";
        assert_eq!(field(status, "Seccomp"), Some("2"));
        assert_eq!(field(status, "Sec"), None);
    }
}
