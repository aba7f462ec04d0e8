//! The settings of egress: names and addresses that the operator knows better, and as whom it runs.

use std::net::SocketAddr;

use anyhow::{Context, bail};
use ostler_core::resources::egress::EgressSettings;
use ostler_egress::confine::{USUAL_USER, User};
use ostler_egress::{EgressConfig, ResolveConfig};

use super::file;
use super::shown::Origins;

/// Reads them.
pub(super) fn read(file: file::Egress, origins: &mut Origins) -> anyhow::Result<EgressConfig> {
    let address = |name: &str, text: &str| {
        let parsed: Result<SocketAddr, _> = text.parse();
        parsed.with_context(|| format!("[egress] {name}: {text:?} is not ADDRESS:PORT with a numeric address, such as 127.0.0.1:8443"))
    };
    let mut resolve = std::collections::BTreeMap::new();
    for (host, text) in file.resolve {
        origins.push(&format!("egress.resolve.{host:?}"), &text, origins.file());
        resolve.insert(host, address("resolve", &text)?);
    }
    let shown = file.allow_private.join(", ");
    origins.note("egress.allow_private", &shown, None, !file.allow_private.is_empty());
    let allow_private = file.allow_private.iter().map(|text| address("allow_private", text)).collect::<anyhow::Result<_>>()?;
    let shown = file.extra_ca.iter().map(|path| path.display().to_string()).collect::<Vec<_>>().join(", ");
    origins.note("egress.extra_ca", &shown, None, !file.extra_ca.is_empty());
    let extra_ca =
        file.extra_ca.iter().map(|path| std::path::absolute(path).context("[egress] extra_ca")).collect::<anyhow::Result<_>>()?;
    let is_in_file = file.user.is_some();
    let user = match file.user {
        None => User::Usual,
        Some(file::User::Id(0)) => bail!("[egress] user = 0 is root; give egress an id that nobody has, or say user = \"server\""),
        Some(file::User::Id(id)) => User::Own(id),
        Some(file::User::Word(word)) if word == "server" => User::Server,
        Some(file::User::Word(_)) => bail!("[egress] user is the numeric id of a user that nobody else has, or \"server\""),
    };
    let shown = match user {
        User::Usual => USUAL_USER.to_string(),
        User::Own(id) => id.to_string(),
        User::Server => "server".to_owned(),
    };
    origins.note("egress.user", &shown, None, is_in_file);
    Ok(EgressConfig { resolve: ResolveConfig { resolve, allow_private }, extra_ca, user, search: None })
}

/// The most that a sandbox may move. What is not said is not limited.
pub(super) fn most(file: &file::MostEgress, origins: &mut Origins) -> anyhow::Result<EgressSettings> {
    let most = EgressSettings {
        connections: file.connections,
        transfer_mib: file.transfer_mib,
        rate_kib: file.rate_kib,
        ..EgressSettings::default()
    };
    for (name, value, least) in most.numbers() {
        let fits = value.is_none_or(|value| value >= least && value <= u64::from(u32::MAX));
        anyhow::ensure!(fits, "[egress.most] {name} must be {least} to {}", u32::MAX);
        let shown = value.map_or_else(|| "no limit".to_owned(), |value| value.to_string());
        origins.note(&format!("egress.most.{name}"), &shown, None, value.is_some());
    }
    Ok(most)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_numeric_with_a_port() {
        let found = |toml: &str| read(toml::from_str(toml).unwrap(), &mut Origins::new(None));
        let config =
            found("allow_private = [\"127.0.0.1:1\"]\nextra_ca = [\"/ca\"]\n[resolve]\n\"api.test\" = \"127.0.0.1:8443\"\n").unwrap();
        assert_eq!(config.resolve.resolve["api.test"].port(), 8443);
        assert_eq!((config.resolve.allow_private.len(), config.extra_ca.len()), (1, 1));
        for (toml, user) in [("", User::Usual), ("user = 7", User::Own(7)), ("user = \"server\"", User::Server)] {
            assert_eq!(found(toml).unwrap().user, user, "{toml}");
        }
        for wrong in ["user = 0", "user = \"nobody\""] {
            assert!(found(wrong).unwrap_err().to_string().contains("\"server\""), "{wrong}");
        }
        let most = |toml: &str| super::most(&toml::from_str::<file::Egress>(toml).unwrap().most, &mut Origins::new(None));
        assert_eq!(most("[most]\ntransfer_mib = 5\n").unwrap().transfer_mib, Some(5));
        assert!(most("[most]\nrate_kib = 1\n").unwrap_err().to_string().contains("[egress.most] rate_kib must be 16"));
        assert!(found("allow_private = [\"localhost:1\"]").unwrap_err().to_string().contains("numeric"));
    }
}
