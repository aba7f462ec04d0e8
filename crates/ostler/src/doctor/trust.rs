//! Whom egress trusts: the authorities of the machine, and those that the settings add.

use ostler_egress::{EgressConfig, Machine};

use super::report::Finding;
use crate::config::Settings;

/// What egress would find; the error says which file it is and why it cannot be read.
#[derive(Debug)]
pub(super) struct Trust(Result<usize, String>);

pub(super) fn look(settings: &Settings) -> Trust {
    of(&settings.egress)
}

fn of(config: &EgressConfig) -> Trust {
    Trust(Machine::read(config).map(|machine| machine.authorities()).map_err(|error| error.to_string()))
}

impl Trust {
    pub(super) fn judge(&self) -> Finding {
        const NAME: &str = "egress_trust";
        match &self.0 {
            Ok(count) => Finding::ok(NAME, format!("{count} authorities")),
            Err(why) => {
                let remedy = "name files with certificates in PEM that this user can read in extra_ca of [egress], or leave it out";
                Finding::problem(NAME, format!("{why}, so egress will not start"), remedy)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::report::{Status, assert_finding};
    use super::*;

    #[test]
    fn files_that_cannot_be_read_are_a_problem() {
        let with = |extra_ca| of(&EgressConfig { extra_ca, ..EgressConfig::default() }).judge();
        assert_finding(&[with(Vec::new())], "egress_trust", Status::Ok, "authorities", "");
        let missing = with(vec!["/none/ca.pem".into()]);
        assert_finding(&[missing], "egress_trust", Status::Problem, "/none/ca.pem", "extra_ca");
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(&file, "-----BEGIN CERTIFICATE-----\nnot base64!\n-----END CERTIFICATE-----\n").unwrap();
        let damaged = with(vec![file.path().to_owned()]);
        assert_finding(&[damaged], "egress_trust", Status::Problem, "will not start", "extra_ca");
    }
}
