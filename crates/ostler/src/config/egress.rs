//! The settings of egress: names and addresses that the operator knows better.

use std::net::SocketAddr;

use anyhow::Context;
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
    Ok(EgressConfig { resolve: ResolveConfig { resolve, allow_private }, extra_ca, search: None })
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
        assert!(found("allow_private = [\"localhost:1\"]").unwrap_err().to_string().contains("numeric"));
    }
}
