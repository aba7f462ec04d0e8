//! What arguments stand for: the text itself, a file, standard input.

use std::io::Read;
use std::os::unix::fs::FileTypeExt;
use std::path::Path;

use serde_json::Value;

use crate::client::Usage;
use crate::limits;

/// Whether somebody feeds standard input: a pipe or a file, no terminal and no /dev/null.
pub(crate) fn is_piped() -> bool {
    std::fs::metadata("/proc/self/fd/0").is_ok_and(|stdin| stdin.is_file() || stdin.file_type().is_fifo())
}

/// All of standard input.
pub(crate) fn stdin() -> anyhow::Result<String> {
    read(std::io::stdin(), "standard input")
}

/// The text itself, `@FILE` for a file's, `-` for standard input's, `@@` for a text that begins with @.
pub(super) fn text(argument: &str) -> anyhow::Result<String> {
    match argument.strip_prefix('@') {
        _ if argument == "-" => stdin(),
        None => Ok(argument.to_owned()),
        Some(rest) if rest.starts_with('@') => Ok(rest.to_owned()),
        Some(path) => match std::fs::File::open(path) {
            Ok(file) => read(file, path),
            Err(error) => {
                Err(Usage(format!("@{path} means the text of a file, and: {error}; for a text that begins with @ write @@")).into())
            }
        },
    }
}

/// JSON from a file; `-` is standard input.
pub(super) fn json_file(path: &Path) -> anyhow::Result<Value> {
    let name = path.display().to_string();
    let text = match path.as_os_str() == "-" {
        true => stdin()?,
        false => read(std::fs::File::open(path).map_err(|error| Usage(format!("{name}: {error}")))?, &name)?,
    };
    json(&text, &name)
}

/// JSON from a text that came from somewhere.
pub(super) fn json(text: &str, from: &str) -> anyhow::Result<Value> {
    serde_json::from_str(text).map_err(|error| Usage(format!("{from} is not valid JSON: {error}")).into())
}

fn read(source: impl Read, name: &str) -> anyhow::Result<String> {
    let mut text = String::new();
    let read = source.take(limits::INPUT_BYTES + 1).read_to_string(&mut text).map_err(|error| Usage(format!("{name}: {error}")))?;
    if u64::try_from(read).is_ok_and(|read| read > limits::INPUT_BYTES) {
        return Err(Usage(format!("{name} has more than {} MiB", limits::INPUT_BYTES >> 20)).into());
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_argument_is_a_text_or_names_a_file() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("prompt.md");
        std::fs::write(&path, "from a file\n").unwrap();
        assert_eq!(text("plain").unwrap(), "plain");
        assert_eq!(text(&format!("@{}", path.display())).unwrap(), "from a file\n");
        assert_eq!(text("@@alice look").unwrap(), "@alice look");
        let told = text("@alice look").unwrap_err();
        assert!(told.to_string().contains("@@") && told.is::<Usage>());
    }

    #[test]
    fn broken_json_says_where() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("agent.json");
        std::fs::write(&path, "{\"name\": }").unwrap();
        let told = json_file(&path).unwrap_err().to_string();
        assert!(told.contains("agent.json") && told.contains("line 1"), "{told}");
    }
}
