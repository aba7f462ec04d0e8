//! What an environment asks of its sandboxes beyond the reference: isolation, limits, system. An extension.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use utoipa::ToSchema;

use super::patch;
use crate::error::{Refusal, check_chars};
use crate::limits;

/// How far sandboxes are to be kept from the host and from each other. Each level has what those before it have.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum IsolationFloor {
    /// Namespaces, filters and all other layers; outside, all sandboxes may be one user.
    #[default]
    SharedIds,
    /// Each sandbox has user ids of its own.
    OwnIds,
    /// Each sandbox has a kernel of its own, such as gVisor's or that of a virtual machine.
    OwnKernel,
}

/// What is asked of the sandboxes of an environment. What is left out is as the server has it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct SandboxSettings {
    /// The least isolation; where it cannot be had, sessions fail and say why.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub isolation: Option<IsolationFloor>,
    /// Whether the kernel must hold the limits of memory, processes, processor and disk. Otherwise a watcher
    /// does where the kernel cannot.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hard_limits: Option<bool>,
    /// The system in sandboxes: the name of an image that the server knows. Left out: the host's own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub image: Option<String>,
    /// MiB of memory, `/tmp` included.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(minimum = 64)]
    pub memory_mib: Option<u64>,
    /// Processes and threads.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(minimum = 16)]
    pub processes: Option<u64>,
    /// Processor time in percent of one processor.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(minimum = 1)]
    pub cpu_percent: Option<u64>,
    /// MiB of the workspace, the home directory and the outputs together. Fixed at a session's first start.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(minimum = 16)]
    pub disk_mib: Option<u64>,
    /// Files in the same places. Fixed at a session's first start.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(minimum = 64)]
    pub files: Option<u64>,
    /// Open files of one process.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(minimum = 256)]
    pub open_files: Option<u64>,
    /// KiB of a command's output that are kept.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(minimum = 64)]
    pub output_kib: Option<u64>,
    /// The longest time of a command, in seconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(minimum = 1, maximum = 600)]
    pub command_seconds: Option<u64>,
    /// The longest life of a sandbox, in seconds; the next command starts another with the same files.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(minimum = 1)]
    pub life_seconds: Option<u64>,
}

impl SandboxSettings {
    /// The numbers, with their names and the least that makes sense.
    pub fn numbers(&self) -> [(&'static str, Option<u64>, u64); 9] {
        [
            ("memory_mib", self.memory_mib, 64),
            ("processes", self.processes, 16),
            ("cpu_percent", self.cpu_percent, 1),
            ("disk_mib", self.disk_mib, 16),
            ("files", self.files, 64),
            ("open_files", self.open_files, 256),
            ("output_kib", self.output_kib, 64),
            ("command_seconds", self.command_seconds, 1),
            ("life_seconds", self.life_seconds, 1),
        ]
    }

    /// The same with the fields of a patch; null clears one.
    pub(super) fn patched(&self, patch: Map<String, Value>) -> Result<Self, Refusal> {
        patch::merged("sandbox", self, patch)
    }

    pub(super) fn check(&self) -> Result<(), Refusal> {
        patch::check_numbers("sandbox", self.numbers())?;
        if self.command_seconds.is_some_and(|seconds| seconds > limits::COMMAND_SECONDS) {
            return Err(Refusal::invalid(format!("sandbox.command_seconds: must be at most {}", limits::COMMAND_SECONDS)));
        }
        if let Some(image) = &self.image {
            check_chars("sandbox.image", image, limits::NAME_CHARS)?;
            let fits = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
            if image.is_empty() || image.starts_with('.') || !image.chars().all(fits) {
                return Err(Refusal::invalid("sandbox.image: must be letters, digits, -, _ and . only; `ostler images list` names them"));
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn a_patch_changes_what_it_names() {
        let patch = |text: &str| serde_json::from_str(text).unwrap();
        let before = SandboxSettings { memory_mib: Some(100), disk_mib: Some(64), ..SandboxSettings::default() };
        let after = before.patched(patch(r#"{"processes": 64, "disk_mib": null}"#)).unwrap();
        assert_eq!(after, SandboxSettings { memory_mib: Some(100), processes: Some(64), ..SandboxSettings::default() });
        assert!(before.patched(patch(r#"{"memory": 1}"#)).unwrap_err().message.contains("unknown field"));
        assert!(before.patched(patch(r#"{"memory_mib": "much"}"#)).is_err());
    }

    use super::*;

    #[test]
    fn what_makes_no_sense_is_refused() {
        let of = |text: &str| serde_json::from_str::<SandboxSettings>(text).unwrap().check();
        assert!(of("{}").is_ok());
        assert!(of(r#"{"memory_mib": 64, "image": "debian-12", "isolation": "own_kernel"}"#).is_ok());
        for bad in
            [r#"{"memory_mib": 1}"#, r#"{"files": 99999999999}"#, r#"{"command_seconds": 601}"#, r#"{"image": "../x"}"#, r#"{"image": ""}"#]
        {
            assert!(of(bad).is_err(), "{bad}");
        }
        assert!(IsolationFloor::OwnKernel > IsolationFloor::OwnIds);
    }
}
