//! From the bytes of a page to its text, in whatever encoding it says to be.

use encoding_rs::{Encoding, UTF_8};

use crate::limits;

/// The text: by its own mark, else as the host says, else as the page says in its beginning, else UTF-8. What does not fit is replaced.
pub(super) fn decoded(bytes: &[u8], content_type: &str) -> String {
    let said = named(content_type);
    let encoding = said.or_else(|| named(&String::from_utf8_lossy(&bytes[..bytes.len().min(limits::SNIFFED_BYTES)]))).unwrap_or(UTF_8);
    encoding.decode(bytes).0.into_owned()
}

/// The encoding behind the first `charset=`.
fn named(text: &str) -> Option<&'static Encoding> {
    let lower = text.to_ascii_lowercase();
    let rest = lower.split_once("charset=")?.1.trim_start_matches(['"', '\'', ' ']);
    let label = rest.split(|c: char| !c.is_ascii_alphanumeric() && !"-_:.".contains(c)).next()?;
    Encoding::for_label(label.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_encoding_is_the_one_that_is_named() {
        for (bytes, content_type, expected) in [
            (&b"caf\xc3\xa9"[..], "text/html", "caf\u{e9}"),
            (b"caf\xe9", "text/html; Charset=\"ISO-8859-1\"", "caf\u{e9}"),
            (b"<meta charset=windows-1252>\x80", "text/html", "<meta charset=windows-1252>\u{20ac}"),
            (b"<meta charset=windows-1252>\xc3\xa9", "text/html; charset=utf-8", "<meta charset=windows-1252>\u{e9}"),
            (b"\xef\xbb\xbfx", "text/plain; charset=iso-8859-1", "x"),
            (b"\xff\xfex\0", "text/plain", "x"),
            (b"\x93\xfa\x96{", "text/plain; charset=Shift_JIS", "\u{65e5}\u{672c}"),
            (b"a\xff", "text/plain; charset=nonsense", "a\u{fffd}"),
        ] {
            assert_eq!(decoded(bytes, content_type), expected, "{content_type}");
        }
    }
}
