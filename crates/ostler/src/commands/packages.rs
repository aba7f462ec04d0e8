//! `ostler environments packages`.

use serde_json::{Value, json};

use super::Asker;
use super::output::{field, time};
use crate::client::{Kind, Request};
use crate::limits;

/// What is to be done beside looking.
#[derive(Debug, Clone, Copy)]
pub(super) struct Wishes {
    /// Have them installed now.
    pub(super) build: bool,
    /// Wait until they are, or cannot be.
    pub(super) wait: bool,
}

/// The exit status where packages could not be installed.
const FAILED: u8 = 1;

/// Shows how it stands with the packages of an environment.
pub(super) async fn run(asker: &Asker, environment: &str, wishes: Wishes) -> anyhow::Result<u8> {
    let request = || Request::to("x").about(Kind::Environment, environment).then("environments").then(environment).then("packages");
    // Who waits for what nobody does would wait for ever.
    let mut answer = if wishes.build || wishes.wait {
        asker.client.post_text(request(), &json!({})).await?
    } else {
        asker.client.get_text(request()).await?
    };
    let mut packages: Value = serde_json::from_str(&answer)?;
    while wishes.wait && packages["state"] == "building" {
        tokio::time::sleep(limits::PACKAGES_LOOK).await;
        answer = asker.client.get_text(request()).await?;
        packages = serde_json::from_str(&answer)?;
    }
    show(asker, &answer, &packages)?;
    Ok(if packages["state"] == "failed" { FAILED } else { 0 })
}

fn show(asker: &Asker, answer: &str, packages: &Value) -> anyhow::Result<u8> {
    const MIB: u64 = 1 << 20;
    let size = packages["size_bytes"].as_u64().map(|bytes| format!("{} MiB", bytes.div_ceil(MIB))).unwrap_or_default();
    let retry = packages["retry_seconds"].as_u64().map(|seconds| format!("by the next session, after {seconds} s")).unwrap_or_default();
    let fields = [
        ("environment", field(packages, "/environment_id")),
        ("state", field(packages, "/state")),
        ("step", field(packages, "/step")),
        ("size", size),
        ("digest", field(packages, "/digest")),
        ("installed", time(packages, "/built_at")),
        ("error", packages["error"].as_str().unwrap_or_default().to_owned()),
        ("tried again", retry),
    ];
    asker.out.object(answer, &fields)
}
