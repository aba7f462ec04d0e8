//! Everything that is no route: parts of the protocol that are not built yet are named, the rest is
//! not found.

use http::Uri;
use ostler_core::error::Refusal;

use crate::error::ApiError;
use crate::limits;

/// The first segments of what is not built, and how people call it.
const GROUPS: [(&str, &str); 9] = [
    ("memory_stores", "memory stores"),
    ("files", "files"),
    ("skills", "skills"),
    ("deployments", "deployments"),
    ("deployment_runs", "deployment runs"),
    ("dreams", "dreams"),
    ("messages", "messages"),
    ("user_profiles", "user profiles"),
    ("tunnels", "tunnels"),
];

/// What answers where no route does.
pub(crate) async fn fallback(uri: Uri) -> ApiError {
    refusal(uri.path()).into()
}

fn refusal(path: &str) -> Refusal {
    match group(path) {
        Some(what) => Refusal::not_found(format!("{what} are not supported by this server yet")),
        None => {
            let shown: String = path.chars().take(limits::REPEATED_CHARS).collect();
            Refusal::not_found(format!("there is nothing at {shown:?}"))
        }
    }
}

fn group(path: &str) -> Option<&'static str> {
    let segments: Vec<&str> = path.strip_prefix("/v1/")?.splitn(4, '/').collect();
    match segments.as_slice() {
        ["sessions", _, "resources", ..] => Some("resources of sessions"),
        ["environments", _, "work", ..] => Some("self-hosted environments"),
        ["organizations", ..] => Some("organization endpoints"),
        [first, ..] => GROUPS.iter().find(|(segment, _)| segment == first).map(|(_, what)| *what),
        [] => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_built_is_named() {
        let table = [
            ("/v1/files", "files are not supported by this server yet"),
            ("/v1/memory_stores/memstore_1/memories", "memory stores are not supported by this server yet"),
            ("/v1/sessions/sesn_1/resources", "resources of sessions are not supported by this server yet"),
            ("/v1/environments/env_1/work/poll", "self-hosted environments are not supported by this server yet"),
            ("/v1/no_such_collection", "there is nothing at \"/v1/no_such_collection\""),
            ("/v1/", "there is nothing at \"/v1/\""),
            ("/", "there is nothing at \"/\""),
        ];
        for (path, message) in table {
            assert_eq!(refusal(path).message, message);
        }
    }
}
