//! `edit`: replaces text that must be there, and be there once unless told otherwise.

use std::io::Read;

use serde::Deserialize;

use super::{ToolResult, files, text, write};
use crate::limits;

#[derive(Debug, Deserialize)]
pub(super) struct Input {
    file_path: String,
    old_string: String,
    new_string: String,
    #[serde(default)]
    replace_all: bool,
}

pub(super) fn run(input: &Input) -> ToolResult {
    let path = files::resolve(&input.file_path)?;
    let (file, meta) = files::open(&path)?;
    if meta.len() > limits::TEXT_FILE_BYTES {
        return Err(format!("{} is larger than {} bytes; use bash to change it.", path.display(), limits::TEXT_FILE_BYTES));
    }
    let mut bytes = Vec::new();
    file.take(limits::TEXT_FILE_BYTES).read_to_end(&mut bytes).map_err(|error| format!("{} cannot be read: {error}", path.display()))?;
    let old = String::from_utf8(bytes).map_err(|_| format!("{} is not UTF-8 text; use bash to change it.", path.display()))?;
    let (new, count) = replaced(&old, input)?;
    if new.len() as u64 > limits::TEXT_FILE_BYTES {
        return Err(format!("The file would become larger than {} bytes.", limits::TEXT_FILE_BYTES));
    }
    write::replace(&path, new.as_bytes())?;
    Ok(text(format!("Replaced {count} occurrence{} in {}.", if count == 1 { "" } else { "s" }, path.display())))
}

fn replaced(old: &str, input: &Input) -> Result<(String, usize), String> {
    if input.old_string.is_empty() {
        return Err("old_string is empty; use write to make a file.".into());
    }
    if input.old_string == input.new_string {
        return Err("old_string and new_string are the same.".into());
    }
    match old.matches(&input.old_string).count() {
        0 => Err("old_string was not found; it must be exactly as it is in the file, with its spaces.".into()),
        count if count > 1 && !input.replace_all => {
            Err(format!("old_string occurs {count} times; give more of its surroundings, or set replace_all."))
        }
        count => {
            let grown = input.new_string.len().saturating_mul(count);
            if grown as u64 > limits::TEXT_FILE_BYTES {
                return Err(format!("The file would become larger than {} bytes.", limits::TEXT_FILE_BYTES));
            }
            Ok((old.replace(&input.old_string, &input.new_string), count))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn edit(old: &str, from: &str, to: &str, replace_all: bool) -> Result<String, String> {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), old).unwrap();
        run(&Input { file_path: file.path().to_str().unwrap().into(), old_string: from.into(), new_string: to.into(), replace_all })?;
        Ok(std::fs::read_to_string(file.path()).unwrap())
    }

    #[test]
    fn one_occurrence_is_replaced_and_more_only_when_asked() {
        assert_eq!(edit("a b c", "b", "x", false).unwrap(), "a x c");
        assert_eq!(edit("b b", "b", "", true).unwrap(), " ");
        assert!(edit("b b", "b", "x", false).unwrap_err().contains("occurs 2 times"));
        assert!(edit("a", "b", "x", true).unwrap_err().contains("not found"));
        assert!(edit("a", "", "x", true).unwrap_err().contains("empty"));
        assert!(edit("a", "a", "a", true).unwrap_err().contains("the same"));
    }
}
