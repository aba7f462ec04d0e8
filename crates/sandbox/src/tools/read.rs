//! `read`: text, whole or in part, images and PDFs.

use std::io::{BufRead, BufReader, Read};
use std::path::Path;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;
use serde_json::{Value, json};

use super::{ToolResult, files, text};
use crate::limits;

#[derive(Debug, Deserialize)]
pub(super) struct Input {
    file_path: String,
    #[serde(default)]
    view_range: Option<Vec<i64>>,
}

enum Kind {
    Image(&'static str),
    Pdf,
    Binary,
    Text,
}

fn kind(beginning: &[u8]) -> Kind {
    match beginning {
        [0x89, b'P', b'N', b'G', b'\r', b'\n', 0x1a, b'\n', ..] => Kind::Image("image/png"),
        [0xff, 0xd8, 0xff, ..] => Kind::Image("image/jpeg"),
        [b'G', b'I', b'F', b'8', b'7' | b'9', b'a', ..] => Kind::Image("image/gif"),
        [b'R', b'I', b'F', b'F', _, _, _, _, b'W', b'E', b'B', b'P', ..] => Kind::Image("image/webp"),
        [b'%', b'P', b'D', b'F', b'-', ..] => Kind::Pdf,
        other if files::is_binary(other) => Kind::Binary,
        _ => Kind::Text,
    }
}

pub(super) fn run(input: &Input) -> ToolResult {
    let path = files::resolve(&input.file_path)?;
    let (file, meta) = files::open(&path)?;
    let mut reader = BufReader::new(file);
    let beginning = reader.fill_buf().map_err(|error| failed(&path, &error))?;
    match kind(beginning) {
        Kind::Image(media_type) => {
            let most = limits::IMAGE_BASE64_BYTES as u64 / 4 * 3;
            let bytes = whole(&mut reader, &path, meta.len(), most)?;
            Ok(vec![block("image", media_type, &bytes)])
        }
        Kind::Pdf => {
            let bytes = whole(&mut reader, &path, meta.len(), limits::PDF_BYTES)?;
            Ok(vec![block("document", "application/pdf", &bytes)])
        }
        Kind::Binary => Err(format!("{} is a binary file of {} bytes; use bash to look into it.", path.display(), meta.len())),
        Kind::Text => match &input.view_range {
            Some(range) => lines(reader, &path, range),
            None => {
                let hint = |error: String| format!("{error} Read it in parts with view_range.");
                let bytes = whole(&mut reader, &path, meta.len(), limits::READ_TEXT_BYTES as u64).map_err(hint)?;
                Ok(text(if bytes.is_empty() { "(the file is empty)".into() } else { String::from_utf8_lossy(&bytes) }))
            }
        },
    }
}

fn failed(path: &Path, error: &std::io::Error) -> String {
    format!("{} cannot be read: {error}", path.display())
}

fn block(kind: &str, media_type: &str, bytes: &[u8]) -> Value {
    json!({"type": kind, "source": {"type": "base64", "media_type": media_type, "data": STANDARD.encode(bytes)}})
}

/// Everything, if it is not more than allowed; the size that the file states is not relied on.
fn whole(reader: &mut impl Read, path: &Path, stated: u64, most: u64) -> Result<Vec<u8>, String> {
    let too_large = || format!("{} is larger than the {most} bytes that can be read at once.", path.display());
    if stated > most {
        return Err(too_large());
    }
    let mut bytes = Vec::new();
    reader.take(most + 1).read_to_end(&mut bytes).map_err(|error| failed(path, &error))?;
    if bytes.len() as u64 > most { Err(too_large()) } else { Ok(bytes) }
}

fn lines(reader: impl BufRead, path: &Path, range: &[i64]) -> ToolResult {
    let &[first, last] = range else { return Err("Invalid input: view_range is a list of two line numbers.".into()) };
    let first = u64::try_from(first.max(1)).unwrap_or(1);
    let last = u64::try_from(last).ok().filter(|last| *last > 0).unwrap_or(u64::MAX);
    if last < first {
        return Err(format!("Invalid input: view_range ends before it begins ({first} to {last})."));
    }
    let mut reader = reader.take(limits::TEXT_FILE_BYTES);
    let (mut shown, mut line, mut number) = (Vec::new(), Vec::new(), 0_u64);
    while number < last {
        line.clear();
        if reader.read_until(b'\n', &mut line).map_err(|error| failed(path, &error))? == 0 {
            break;
        }
        number += 1;
        if number < first {
            continue;
        }
        if shown.len() + line.len() > limits::READ_TEXT_BYTES {
            let room = limits::READ_TEXT_BYTES - shown.len();
            shown.extend_from_slice(&line[..room]);
            shown.extend_from_slice(format!("\n[truncated in line {number}: more than {} bytes]", limits::READ_TEXT_BYTES).as_bytes());
            break;
        }
        shown.extend_from_slice(&line);
    }
    if number < first {
        return Err(format!("{} has {number} lines, so there is no line {first}.", path.display()));
    }
    Ok(text(String::from_utf8_lossy(&shown)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    fn read(path: &Path, view_range: Option<Vec<i64>>) -> Result<Value, String> {
        run(&Input { file_path: path.to_str().unwrap().into(), view_range }).map(|blocks| blocks[0].clone())
    }

    #[test]
    fn ranges_count_from_one_and_include_both_ends() {
        let file = tempfile::NamedTempFile::new().unwrap();
        fs::write(file.path(), "a\nb\nc").unwrap();
        let range = |first, last| read(file.path(), Some(vec![first, last])).map(|block| block["text"].as_str().unwrap().to_owned());
        assert_eq!(range(1, 2).unwrap(), "a\nb\n");
        assert_eq!(range(2, 0).unwrap(), "b\nc");
        assert_eq!(range(3, -1).unwrap(), "c");
        assert_eq!(range(0, 1).unwrap(), "a\n");
        assert_eq!(range(2, i64::MAX).unwrap(), "b\nc");
        assert!(range(4, 5).unwrap_err().contains("has 3 lines"));
        assert!(range(3, 2).unwrap_err().contains("ends before"));
        assert!(read(file.path(), Some(vec![1])).unwrap_err().contains("two line numbers"));
    }

    #[test]
    fn large_sparse_and_binary_files_are_refused_with_what_to_do() {
        let file = tempfile::NamedTempFile::new().unwrap();
        fs::write(file.path(), vec![b'x'; limits::READ_TEXT_BYTES + 1]).unwrap();
        assert!(read(file.path(), None).unwrap_err().contains("view_range"));
        assert!(read(file.path(), Some(vec![1, 1])).unwrap()["text"].as_str().unwrap().contains("truncated in line 1"));
        file.as_file().set_len(1 << 40).unwrap();
        assert!(read(file.path(), None).unwrap_err().contains("larger than"));
        fs::write(file.path(), b"x\0y").unwrap();
        assert!(read(file.path(), None).unwrap_err().contains("binary file of 3 bytes"));
    }

    #[test]
    fn images_and_pdfs_come_as_blocks_whatever_they_are_called() {
        let file = tempfile::NamedTempFile::with_suffix(".txt").unwrap();
        fs::write(file.path(), b"\x89PNG\r\n\x1a\nrest").unwrap();
        let block = read(file.path(), None).unwrap();
        assert_eq!((block["type"].as_str(), block["source"]["media_type"].as_str()), (Some("image"), Some("image/png")));
        assert_eq!(STANDARD.decode(block["source"]["data"].as_str().unwrap()).unwrap(), b"\x89PNG\r\n\x1a\nrest");
        fs::write(file.path(), b"%PDF-1.7").unwrap();
        assert_eq!(read(file.path(), None).unwrap()["type"], "document");
        let mut large = b"GIF89a".to_vec();
        large.resize(limits::IMAGE_BASE64_BYTES, 0);
        fs::write(file.path(), large).unwrap();
        assert!(read(file.path(), None).unwrap_err().contains("larger than"));
    }
}
