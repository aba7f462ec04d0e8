//! Paths of requests as rules compare them: one form for each, and none where two servers could read two paths in it.

/// The only form of a path, without the query: dot segments are followed, doubled slashes are one, and nothing is encoded that need
/// not be.
///
/// # Errors
/// Why it has none: servers differ in what they make of it.
pub(crate) fn normal(path: &str) -> Result<String, &'static str> {
    let rest = path.strip_prefix('/').ok_or("it is no path from the root")?;
    let mut kept: Vec<String> = Vec::new();
    let mut ends_in_slash = false;
    for segment in rest.split('/') {
        let segment = decoded(segment)?;
        ends_in_slash = matches!(&segment[..], "" | "." | "..");
        match &segment[..] {
            "" | "." => {}
            ".." => {
                kept.pop().ok_or("it leads above the root")?;
            }
            // Some servers cut these off, and what is left has another meaning.
            dots if dots.trim_end_matches(['.', ' ']).is_empty() => return Err("a segment has nothing but dots and spaces"),
            _ => kept.push(encoded(&segment)),
        }
    }
    let mut normal = format!("/{}", kept.join("/"));
    if ends_in_slash && !kept.is_empty() {
        normal.push('/');
    }
    Ok(normal)
}

fn decoded(segment: &str) -> Result<String, &'static str> {
    let mut bytes = Vec::with_capacity(segment.len());
    let mut rest = segment.bytes();
    while let Some(byte) = rest.next() {
        let plain = match byte {
            b'%' => hex(rest.next(), rest.next()).ok_or("it has a percent sign that encodes nothing")?,
            0x21..=0x7e => byte,
            _ => return Err("it has characters that must be encoded"),
        };
        match plain {
            b'/' => return Err("it has an encoded slash"),
            b'\\' => return Err("it has a backslash, which some take for a slash"),
            b';' => return Err("it has a semicolon, at which some cut a segment off"),
            0..0x20 | 0x7f => return Err("it has a control character"),
            _ => bytes.push(plain),
        }
    }
    let is_encoded_twice = bytes.windows(3).any(|three| three[0] == b'%' && hex(Some(three[1]), Some(three[2])).is_some());
    if is_encoded_twice {
        return Err("it is encoded twice");
    }
    String::from_utf8(bytes).map_err(|_| "it is not UTF-8")
}

fn hex(high: Option<u8>, low: Option<u8>) -> Option<u8> {
    let digit = |byte: Option<u8>| char::from(byte?).to_digit(16);
    u8::try_from(digit(high)? * 16 + digit(low)?).ok()
}

fn encoded(segment: &str) -> String {
    use std::fmt::Write as _;

    let mut out = String::with_capacity(segment.len());
    for byte in segment.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~!$&'()*+,=:@".contains(&byte) {
            out.push(char::from(byte));
        } else {
            let _ = write!(out, "%{byte:02X}");
        }
    }
    out
}

/// Why something is no pattern of a path, if it is none.
pub(crate) fn refused(pattern: &str) -> Option<String> {
    let Some(rest) = pattern.strip_prefix('/') else { return Some("must begin with a slash".into()) };
    let last = rest.split('/').count() - 1;
    for (at, segment) in rest.split('/').enumerate() {
        match segment {
            "*" => {}
            "**" if at == last => {}
            "**" => return Some("may have `**` at its end only".into()),
            starred if starred.contains('*') => return Some("may have `*` for a whole segment only".into()),
            "" if at == last => {}
            "" | "." | ".." => return Some("must not have empty or dot segments".into()),
            queried if queried.contains(['?', '#']) => return Some("must be without a query: queries are not compared".into()),
            _ => match normal(&format!("/{segment}")) {
                Ok(same) if same[1..] == *segment => {}
                Ok(other) => return Some(format!("has a segment {segment:?} that requests are compared as {:?}", &other[1..])),
                Err(why) => return Some(format!("has a segment {segment:?} that no request can have: {why}")),
            },
        }
    }
    None
}

/// Whether a pattern means this path, which is in its normal form. `*` is one segment, `**` at the end any number of them.
pub(crate) fn matches(pattern: &str, path: &str) -> bool {
    let mut segments = path.split('/');
    for wanted in pattern.split('/') {
        match (wanted, segments.next()) {
            ("**", _) => return true,
            ("*", Some(segment)) if !segment.is_empty() => {}
            (wanted, Some(segment)) if wanted == segment => {}
            _ => return false,
        }
    }
    segments.next().is_none()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_path_has_one_form_or_none() {
        let table = [
            ("/", Some("/")),
            ("/a/b", Some("/a/b")),
            ("/a/", Some("/a/")),
            ("//a///b", Some("/a/b")),
            ("/a/./b/../c", Some("/a/c")),
            ("/a/%2e%2E/b", Some("/b")),
            ("/a/..", Some("/")),
            ("/a/b/.", Some("/a/b/")),
            ("/%61%7E", Some("/a~")),
            ("/a%21b%20c", Some("/a!b%20c")),
            ("/%c3%a4", Some("/%C3%A4")),
            ("/100%25", Some("/100%25")),
            ("/.git/...x", Some("/.git/...x")),
            ("", None),
            ("*", None),
            ("a/b", None),
            ("/..", None),
            ("/a/../../b", None),
            ("/a%2fb", None),
            ("/a%5Cb", None),
            ("/a\\b", None),
            ("/a;x=1/b", None),
            ("/..;/b", None),
            ("/a%3bx", None),
            ("/a%00", None),
            ("/a%0a", None),
            ("/%", None),
            ("/%4", None),
            ("/%zz", None),
            ("/%252e%252e/b", None),
            ("/%c0%ae%c0%ae/b", None),
            ("/a/.../b", None),
            ("/a/..%20/b", None),
            ("/ä", None),
            ("/a b", None),
        ];
        for (path, expected) in table {
            assert_eq!(normal(path).ok().as_deref(), expected, "{path}");
        }
    }

    #[test]
    fn what_patterns_mean() {
        let table = [
            ("/a/b", "/a/b", true),
            ("/a/b", "/a/b/", false),
            ("/a/b", "/a/bc", false),
            ("/a/*", "/a/b", true),
            ("/a/*", "/a/", false),
            ("/a/*", "/a", false),
            ("/a/*", "/a/b/c", false),
            ("/a/*/c", "/a/b/c", true),
            ("/a/**", "/a", true),
            ("/a/**", "/a/", true),
            ("/a/**", "/a/b/c", true),
            ("/a/**", "/ab", false),
            ("/**", "/", true),
            ("/**", "/x/y", true),
            ("/", "/", true),
            ("/", "/a", false),
            ("/A", "/a", false),
        ];
        for (pattern, path, expected) in table {
            assert_eq!(refused(pattern), None, "{pattern}");
            assert_eq!(matches(pattern, path), expected, "{pattern} {path}");
        }
        for bad in ["", "a", "/a*", "/**/a", "/a//b", "/a/../b", "/a/%2f", "/%61", "/a b", "/a?b", "/./a", "/a;b"] {
            assert!(refused(bad).is_some(), "{bad}");
        }
    }

    proptest! {
        #[test]
        fn normal_forms_are_their_own(path in "/([a-c./;~ä!]|%2[eEfF1]|%5c|%61|%25){0,24}") {
            if let Ok(once) = normal(&path) {
                prop_assert_eq!(normal(&once), Ok(once.clone()));
                prop_assert!(once.starts_with('/') && !once.contains("//") && !once.contains('\\') && !once.contains(';'));
                prop_assert!(once.split('/').all(|segment| segment != "." && segment != ".."));
                prop_assert!(refused(&once.replace('*', "x")).is_none());
            }
        }

        #[test]
        fn what_is_encoded_without_need_is_the_same_path(path in "(/[a-z~._-]{1,6}){1,4}", all in any::<bool>()) {
            let encoded: String = path
                .bytes()
                .enumerate()
                .map(|(at, byte)| if byte != b'/' && (all || at % 2 == 0) { format!("%{byte:02x}") } else { char::from(byte).to_string() })
                .collect();
            prop_assert_eq!(normal(&encoded), normal(&path));
        }
    }
}
