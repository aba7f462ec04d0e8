//! `glob`: files by pattern, newest first.

use std::path::{Path, PathBuf};
use std::time::SystemTime;

use globset::GlobBuilder;
use serde::Deserialize;

use super::{ToolResult, files, find, text};
use crate::{layout, limits};

#[derive(Debug, Deserialize)]
pub(super) struct Input {
    pattern: String,
    #[serde(default)]
    path: Option<String>,
}

pub(super) fn run(input: &Input) -> ToolResult {
    if input.pattern.is_empty() || input.pattern.len() > limits::PATTERN_BYTES {
        return Err(format!("The pattern is empty or longer than {} bytes.", limits::PATTERN_BYTES));
    }
    let (top, pattern) = match input.pattern.strip_prefix('/') {
        // An absolute pattern says itself where to search: from the last directory without a wildcard.
        Some(absolute) => fixed_part(absolute),
        None => (files::resolve(input.path.as_deref().unwrap_or(layout::WORKSPACE))?, input.pattern.trim_start_matches("./")),
    };
    if !top.is_dir() {
        return Err(format!("{} is not a directory.", top.display()));
    }
    let glob = GlobBuilder::new(pattern)
        .literal_separator(true)
        .build()
        .map_err(|error| format!("The pattern is not valid: {error}"))?
        .compile_matcher();
    let mut found: Vec<(SystemTime, PathBuf)> = Vec::new();
    let complete = find::walk(&top, &[], |path, meta| {
        if !meta.is_dir() && path.strip_prefix(&top).is_ok_and(|relative| glob.is_match(relative)) {
            found.push((meta.modified().unwrap_or(SystemTime::UNIX_EPOCH), path.to_owned()));
        }
        true
    });
    Ok(text(listed(found, complete)))
}

fn fixed_part(pattern: &str) -> (PathBuf, &str) {
    let wild = pattern.find(['*', '?', '[', '{', '\\']).unwrap_or(pattern.len());
    let cut = pattern[..wild].rfind('/').map_or(0, |slash| slash + 1);
    (Path::new("/").join(&pattern[..cut]), &pattern[cut..])
}

fn listed(mut found: Vec<(SystemTime, PathBuf)>, complete: bool) -> String {
    found.sort_by(|a, b| b.0.cmp(&a.0).then_with(|| a.1.cmp(&b.1)));
    if found.is_empty() {
        return if complete {
            "No files found.".into()
        } else {
            "No files found in the part that was searched; give a narrower path.".into()
        };
    }
    let total = found.len();
    let mut lines: Vec<String> =
        found.into_iter().take(limits::GLOB_RESULTS).map(|(_, path)| path.to_string_lossy().into_owned()).collect();
    if total > limits::GLOB_RESULTS {
        lines.push(format!("[{} of {total} files; give a narrower pattern]", limits::GLOB_RESULTS));
    }
    if !complete {
        lines.push("[not everything was searched; give a narrower path]".into());
    }
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::{self, File};
    use std::time::Duration;

    fn glob(dir: &Path, pattern: &str) -> Vec<String> {
        let blocks = run(&Input { pattern: pattern.into(), path: Some(dir.to_str().unwrap().into()) }).unwrap();
        blocks[0]["text"].as_str().unwrap().lines().map(|line| line.replace(&format!("{}/", dir.display()), "")).collect()
    }

    #[test]
    fn newest_first_across_levels_and_never_through_links() {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir_all(dir.path().join("x/y")).unwrap();
        for (age, name) in ["a.rs", "x/b.rs", "x/y/c.rs", "x/d.txt"].into_iter().enumerate() {
            let file = File::create(dir.path().join(name)).unwrap();
            file.set_modified(SystemTime::UNIX_EPOCH + Duration::from_secs(1_000 - age as u64)).unwrap();
        }
        std::os::unix::fs::symlink(dir.path(), dir.path().join("x/up")).unwrap();
        assert_eq!(glob(dir.path(), "**/*.rs"), ["a.rs", "x/b.rs", "x/y/c.rs"]);
        assert_eq!(glob(dir.path(), "*.rs"), ["a.rs"]);
        assert_eq!(glob(dir.path(), "x/*.{rs,txt}"), ["x/b.rs", "x/d.txt"]);
        assert_eq!(glob(dir.path(), "*.none"), ["No files found."]);
        assert_eq!(glob(Path::new("/"), &format!("{}/x/*/*.rs", dir.path().display())).len(), 1);
        assert!(run(&Input { pattern: "[".into(), path: None }).is_err());
    }

    #[test]
    fn more_than_the_limit_says_so() {
        let dir = tempfile::tempdir().unwrap();
        for number in 0..=limits::GLOB_RESULTS {
            File::create(dir.path().join(number.to_string())).unwrap();
        }
        let lines = glob(dir.path(), "*");
        assert_eq!(lines.len(), limits::GLOB_RESULTS + 1);
        assert!(lines.last().unwrap().starts_with("[200 of 201 files"));
    }
}
