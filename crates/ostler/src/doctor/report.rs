//! What an examination finds, and how it is told.

use std::io::{self, Write};

use serde::Serialize;

use super::limits;
use crate::terminal::{neutral, neutral_json, one_line};

/// How serious a finding is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Status {
    /// As it should be.
    Ok,
    /// Works; worth knowing.
    Note,
    /// Does not work, or is open to others.
    Problem,
}

/// One check.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(super) struct Finding {
    /// Stays the same from release to release.
    pub(super) name: String,
    pub(super) status: Status,
    /// What was seen; never a secret.
    pub(super) found: String,
    /// What a person can do about it.
    pub(super) remedy: Option<String>,
}

impl Finding {
    pub(super) fn ok(name: &str, found: impl Into<String>) -> Self {
        Self { name: name.into(), status: Status::Ok, found: found.into(), remedy: None }
    }

    /// Nothing to do about it.
    pub(super) fn aside(name: &str, found: impl Into<String>) -> Self {
        Self { status: Status::Note, ..Self::ok(name, found) }
    }

    pub(super) fn note(name: &str, found: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self { remedy: Some(remedy.into()), ..Self::aside(name, found) }
    }

    pub(super) fn problem(name: &str, found: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self { status: Status::Problem, ..Self::note(name, found, remedy) }
    }
}

/// Text that the system, a file or somebody's server wrote, as a part of a sentence.
pub(super) fn quote(text: &str) -> String {
    one_line(text.trim(), limits::QUOTE_CHARS)
}

/// Prints the findings; says whether everything will work.
pub(super) fn print(findings: &[Finding], json: bool) -> io::Result<bool> {
    let mut out = io::stdout().lock();
    let width = findings.iter().map(|finding| finding.name.len()).max().unwrap_or(0);
    for finding in findings {
        if json {
            writeln!(out, "{}", neutral_json(&serde_json::to_string(finding)?))?;
        } else {
            write!(out, "{}", lines(finding, width))?;
        }
    }
    let count = |status: Status| findings.iter().filter(|finding| finding.status == status).count();
    let (notes, problems) = (count(Status::Note), count(Status::Problem));
    if !json {
        writeln!(out, "\n{}", summary(notes, problems))?;
    }
    out.flush()?;
    Ok(problems == 0)
}

fn lines(finding: &Finding, width: usize) -> String {
    let status = match finding.status {
        Status::Ok => "ok",
        Status::Note => "note",
        Status::Problem => "PROBLEM",
    };
    let whole = |text: &str| neutral(&text.replace('\n', " "));
    let mut text = format!("{status:7}  {:width$}  {}\n", whole(&finding.name), whole(&finding.found));
    if let Some(remedy) = &finding.remedy {
        text.push_str(&format!("{:7}  {:width$}  -> {}\n", "", "", whole(remedy)));
    }
    text
}

fn summary(notes: usize, problems: usize) -> String {
    let several = |count: usize, what: &str| if count == 1 { format!("1 {what}") } else { format!("{count} {what}s") };
    match (notes, problems) {
        (0, 0) => "All is well.".into(),
        (notes, 0) => format!("It will work; {} to know of.", several(notes, "note")),
        (_, problems) => format!("{}: see the remedies above.", several(problems, "problem")),
    }
}

/// For the tests of judgements.
#[cfg(test)]
#[track_caller]
pub(super) fn assert_finding(findings: &[Finding], name: &str, status: Status, found: &str, remedy: &str) {
    let finding = findings.iter().find(|finding| finding.name == name).unwrap_or_else(|| panic!("no {name} in {findings:#?}"));
    let advice = finding.remedy.as_deref().unwrap_or_default();
    assert!(
        finding.status == status && finding.found.contains(found) && advice.contains(remedy) && (remedy.is_empty() == advice.is_empty()),
        "wanted {status:?} with {found:?} and remedy {remedy:?}, got {finding:#?}"
    );
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_finding_is_one_line_and_its_remedy_another() {
        let shown = lines(&Finding::problem("disk_space", "1\nMiB\u{1b}[2J", "free\nsome"), 12);
        assert_eq!(shown, "PROBLEM  disk_space    1 MiB␛[2J\n                       -> free some\n");
        assert_eq!(lines(&Finding::ok("kernel", "Linux"), 12), "ok       kernel        Linux\n");
    }

    #[test]
    fn the_json_of_a_finding_has_four_fields() {
        let json = |finding: &Finding| serde_json::to_string(finding).unwrap();
        assert_eq!(
            json(&Finding::note("listen", "taken", "free it")),
            r#"{"name":"listen","status":"note","found":"taken","remedy":"free it"}"#
        );
        assert_eq!(json(&Finding::ok("listen", "free")), r#"{"name":"listen","status":"ok","found":"free","remedy":null}"#);
    }

    #[test]
    fn the_last_line_counts() {
        let all = [summary(0, 0), summary(1, 0), summary(2, 0), summary(2, 1), summary(0, 2)];
        let wanted = [
            "All is well.",
            "It will work; 1 note to know of.",
            "It will work; 2 notes to know of.",
            "1 problem: see the remedies above.",
            "2 problems: see the remedies above.",
        ];
        assert_eq!(all, wanted);
    }
}
