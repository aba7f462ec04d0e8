//! What a sandbox gets: what the server gives to all of them, changed as its environment asks, within what the
//! server allows.

use ostler_core::error::Refusal;
use ostler_core::resources::egress::EgressSettings;
use ostler_core::resources::sandbox::{IsolationFloor, SandboxSettings};
use ostler_sandbox::SandboxSpec;

/// The server's side of it.
#[derive(Debug, Clone, Default)]
pub struct SandboxPolicy {
    /// What a sandbox has if nothing is asked.
    pub usual: SandboxSpec,
    /// The most that an environment may ask, in its own units; a number that is missing is not limited.
    pub most: SandboxSettings,
    /// The most that a sandbox may move, and the connections that it may have; a number that is missing is not limited.
    pub most_egress: EgressSettings,
}

const MIB: u64 = 1 << 20;
const KIB: u64 = 1 << 10;
const SECOND_MS: u64 = 1_000;

impl SandboxPolicy {
    /// Whether an environment may ask for this.
    ///
    /// # Errors
    /// Which setting is too much, and how much there may be.
    pub fn check(&self, asked: &SandboxSettings) -> Result<(), Refusal> {
        for ((name, asked, _), (_, most, _)) in asked.numbers().into_iter().zip(self.most.numbers()) {
            if let (Some(asked), Some(most)) = (asked, most)
                && asked > most
            {
                return Err(Refusal::invalid(format!(
                    "sandbox.{name}: this server allows {most} at most; its operator can raise sandbox.most.{name}"
                )));
            }
        }
        Ok(())
    }

    /// Whether an environment may ask for these caps.
    ///
    /// # Errors
    /// Which cap is too much, and how much there may be.
    pub fn check_egress(&self, asked: &EgressSettings) -> Result<(), Refusal> {
        for ((name, asked, _), (_, most, _)) in asked.numbers().into_iter().zip(self.most_egress.numbers()) {
            if let (Some(asked), Some(most)) = (asked, most)
                && asked > most
            {
                return Err(Refusal::invalid(format!(
                    "egress.{name}: this server allows {most} at most; its operator can raise egress.most.{name}"
                )));
            }
        }
        Ok(())
    }

    /// What a sandbox of an environment that asks for this gets. The server may allow less than it did when the
    /// environment was made.
    pub(crate) fn spec(&self, asked: Option<&SandboxSettings>) -> SandboxSpec {
        let mut spec = self.usual.clone();
        let Some(asked) = asked else { return spec };
        let most = &self.most;
        let set = |at: &mut u64, asked: Option<u64>, most: Option<u64>, unit: u64| {
            if let Some(asked) = asked {
                *at = asked.min(most.unwrap_or(u64::MAX)).saturating_mul(unit);
            }
        };
        set(&mut spec.max_memory_bytes, asked.memory_mib, most.memory_mib, MIB);
        set(&mut spec.max_processes, asked.processes, most.processes, 1);
        set(&mut spec.max_cpu_percent, asked.cpu_percent, most.cpu_percent, 1);
        set(&mut spec.disk_bytes, asked.disk_mib, most.disk_mib, MIB);
        set(&mut spec.disk_inodes, asked.files, most.files, 1);
        set(&mut spec.max_open_files, asked.open_files, most.open_files, 1);
        set(&mut spec.max_output_bytes, asked.output_kib, most.output_kib, KIB);
        set(&mut spec.max_command_ms, asked.command_seconds, most.command_seconds, SECOND_MS);
        set(&mut spec.max_life_ms, asked.life_seconds, most.life_seconds, SECOND_MS);
        spec.max_file_bytes = spec.max_file_bytes.max(spec.disk_bytes);
        spec.image = asked.image.clone().or(spec.image);
        spec.required.isolation = spec.required.isolation.max(asked.isolation.unwrap_or_default());
        spec.required.hard_limits |= asked.hard_limits.unwrap_or_default();
        spec
    }
}

/// Several tenants on one machine are not one user outside of their sandboxes.
pub(crate) fn for_several_workspaces(spec: &mut SandboxSpec) {
    spec.required.isolation = spec.required.isolation.max(IsolationFloor::OwnIds);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_environment_gets_what_it_asks_up_to_the_most() {
        let most = SandboxSettings { memory_mib: Some(1_000), ..SandboxSettings::default() };
        let policy = SandboxPolicy { most, ..SandboxPolicy::default() };
        let asked = SandboxSettings {
            memory_mib: Some(2_000),
            disk_mib: Some(9_000),
            hard_limits: Some(true),
            isolation: Some(IsolationFloor::OwnIds),
            ..SandboxSettings::default()
        };
        assert!(policy.check(&asked).unwrap_err().message.contains("sandbox.memory_mib: this server allows 1000 at most"));
        let spec = policy.spec(Some(&asked));
        assert_eq!((spec.max_memory_bytes, spec.disk_bytes, spec.max_processes), (1_000 << 20, 9_000 << 20, 512));
        let egress = |rate_kib| EgressSettings { rate_kib, ..EgressSettings::default() };
        let policy = SandboxPolicy { most_egress: egress(Some(100)), ..policy };
        assert!(policy.check_egress(&egress(Some(101))).unwrap_err().message.contains("egress.rate_kib: this server allows 100"));
        assert!(policy.check_egress(&egress(Some(100))).is_ok() && policy.check_egress(&egress(None)).is_ok());
        assert!(spec.required.hard_limits && spec.required.isolation == IsolationFloor::OwnIds && spec.max_file_bytes == 9_000 << 20);
        assert_eq!(policy.spec(None), policy.usual);
    }
}
