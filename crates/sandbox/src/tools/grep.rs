//! `grep`: lines that match a regular expression.

use std::io::{BufRead, BufReader, Read};
use std::path::Path;

use regex::bytes::{Regex, RegexBuilder};
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
    if input.pattern.len() > limits::PATTERN_BYTES {
        return Err(format!("The pattern is longer than {} bytes.", limits::PATTERN_BYTES));
    }
    let built = RegexBuilder::new(&input.pattern).size_limit(limits::REGEX_BYTES).dfa_size_limit(limits::REGEX_BYTES).build();
    let regex = built.map_err(|error| format!("The pattern is not valid: {error}"))?;
    let top = files::resolve(input.path.as_deref().unwrap_or(layout::WORKSPACE))?;
    let meta = std::fs::metadata(&top).map_err(|error| format!("{} cannot be searched: {error}", top.display()))?;
    let mut matches = Matches { regex, lines: String::new(), full: false };
    let complete = if meta.is_dir() {
        find::walk(&top, &[".git"], |path, meta| {
            if meta.is_file() {
                // What cannot be read is passed over, as grep does.
                let _ = matches.search(path);
            }
            !matches.full
        })
    } else {
        matches.search(&top)?;
        true
    };
    Ok(text(matches.shown(complete)))
}

struct Matches {
    regex: Regex,
    lines: String,
    full: bool,
}

impl Matches {
    fn search(&mut self, path: &Path) -> Result<(), String> {
        let (file, _) = files::open(path)?;
        let failed = |error: std::io::Error| format!("{} cannot be read: {error}", path.display());
        let mut reader = BufReader::new(file.take(limits::GREP_FILE_BYTES));
        if files::is_binary(reader.fill_buf().map_err(failed)?) {
            return Ok(());
        }
        let (mut line, mut number) = (Vec::new(), 0_u64);
        while !self.full {
            line.clear();
            if reader.read_until(b'\n', &mut line).map_err(failed)? == 0 {
                break;
            }
            number += 1;
            let line = line.strip_suffix(b"\n").unwrap_or(&line);
            let line = line.strip_suffix(b"\r").unwrap_or(line);
            if self.regex.is_match(line) {
                self.add(path, number, line);
            }
        }
        Ok(())
    }

    fn add(&mut self, path: &Path, number: u64, line: &[u8]) {
        let whole = String::from_utf8_lossy(line);
        let mut shown: String = whole.chars().take(limits::GREP_LINE_CHARS).collect();
        if shown.len() < whole.len() {
            shown.push_str(" [line truncated]");
        }
        let entry = format!("{}:{number}:{shown}\n", path.display());
        if self.lines.len() + entry.len() > limits::GREP_BYTES {
            self.full = true;
        } else {
            self.lines.push_str(&entry);
        }
    }

    fn shown(mut self, complete: bool) -> String {
        if self.full {
            self.lines.push_str("[more matches; give a narrower pattern or path]");
        } else if !complete {
            self.lines.push_str("[not everything was searched; give a narrower path]");
        } else if self.lines.is_empty() {
            return "No matches found.".into();
        }
        self.lines.trim_end_matches('\n').to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    fn grep(path: &Path, pattern: &str) -> Result<String, String> {
        let blocks = run(&Input { pattern: pattern.into(), path: Some(path.to_str().unwrap().into()) })?;
        Ok(blocks[0]["text"].as_str().unwrap().to_owned())
    }

    #[test]
    fn matches_name_path_and_line_and_binary_files_are_passed_over() {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir_all(dir.path().join(".git")).unwrap();
        fs::write(dir.path().join("a"), "one\r\ntwo\n").unwrap();
        fs::write(dir.path().join("b"), "two\0").unwrap();
        fs::write(dir.path().join(".git/c"), "two").unwrap();
        nix::unistd::mkfifo(&dir.path().join("fifo"), nix::sys::stat::Mode::S_IRWXU).unwrap();
        assert_eq!(grep(dir.path(), "^t.o$").unwrap(), format!("{}/a:2:two", dir.path().display()));
        assert_eq!(grep(&dir.path().join("a"), "one$").unwrap(), format!("{}/a:1:one", dir.path().display()));
        assert_eq!(grep(dir.path(), "three").unwrap(), "No matches found.");
        assert!(grep(&dir.path().join("none"), "x").is_err());
        assert!(grep(&dir.path().join("fifo"), "x").unwrap_err().contains("not a regular file"));
    }

    #[test]
    fn long_lines_many_matches_and_exploding_patterns_are_bounded() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("a"), "x".repeat(10_000)).unwrap();
        let text = grep(dir.path(), "x").unwrap();
        assert!(text.ends_with("[line truncated]") && text.len() < 3_000);
        fs::write(dir.path().join("a"), "match\n".repeat(50_000)).unwrap();
        let text = grep(dir.path(), "match").unwrap();
        assert!(text.ends_with("give a narrower pattern or path]") && text.len() < limits::GREP_BYTES + 100);
        assert!(grep(dir.path(), "((a{1000}){1000}){1000}").unwrap_err().contains("not valid"));
    }
}
