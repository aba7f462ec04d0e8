//! From what an environment says of its network to the policy that egress holds its sandboxes to.

use url::Url;

use super::policy::{AllowedHost, Network, Policy};
use crate::resources::egress::{EgressSettings, Inspect};
use crate::resources::environment::{Config, Networking};

/// The hosts that `allow_package_managers` stands for: the registries of well-known package managers, and where they keep files.
pub const PACKAGE_HOSTS: [&str; 41] = [
    "api.github.com",
    "archive.ubuntu.com",
    "auth.docker.io",
    "bitbucket.org",
    "codeload.github.com",
    "crates.io",
    "deb.debian.org",
    "dl-cdn.alpinelinux.org",
    "docker.io",
    "files.pythonhosted.org",
    "ftp.debian.org",
    "ghcr.io",
    "github.com",
    "gitlab.com",
    "golang.org",
    "index.crates.io",
    "index.rubygems.org",
    "nodejs.org",
    "objects.githubusercontent.com",
    "packagist.org",
    "pkg-containers.githubusercontent.com",
    "plugins.gradle.org",
    "ports.ubuntu.com",
    "production.cloudflare.docker.com",
    "proxy.golang.org",
    "pypi.org",
    "raw.githubusercontent.com",
    "registry-1.docker.io",
    "registry.npmjs.org",
    "registry.yarnpkg.com",
    "release-assets.githubusercontent.com",
    "repo.maven.apache.org",
    "repo.packagist.org",
    "repo1.maven.org",
    "rubygems.org",
    "security.debian.org",
    "security.ubuntu.com",
    "services.gradle.org",
    "static.crates.io",
    "static.rust-lang.org",
    "sum.golang.org",
];

impl Policy {
    /// The policy of an environment. `mcp_servers`: the addresses of the agent's MCP servers.
    pub fn of_environment<'a>(config: &Config, settings: Option<&EgressSettings>, mcp_servers: impl IntoIterator<Item = &'a str>) -> Self {
        let Config::Cloud { networking, .. } = config else { return Self::none() };
        let network = match networking {
            Networking::Unrestricted {} => Network::Unrestricted,
            Networking::Limited { allow_mcp_servers, allow_package_managers, allowed_hosts } => {
                let by = |rule: &'static str| move |host: String| AllowedHost { host, rule: rule.to_owned() };
                let mut hosts: Vec<AllowedHost> = allowed_hosts.iter().cloned().map(by("allowed_hosts")).collect();
                if *allow_package_managers {
                    hosts.extend(PACKAGE_HOSTS.map(str::to_owned).map(by("allow_package_managers")));
                }
                if *allow_mcp_servers {
                    let host = |url: &str| Url::parse(url).ok().and_then(|url| url.host_str().map(str::to_owned));
                    hosts.extend(mcp_servers.into_iter().filter_map(host).map(by("allow_mcp_servers")));
                }
                Network::Limited { hosts }
            }
        };
        let rules = settings.map(|settings| settings.rules.clone()).unwrap_or_default();
        Self { network, inspect_all: settings.is_some_and(|settings| settings.inspect == Inspect::All), rules }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limited(mcp: bool, packages: bool) -> Policy {
        let networking =
            Networking::Limited { allow_mcp_servers: mcp, allow_package_managers: packages, allowed_hosts: vec!["api.example.com".into()] };
        Policy::of_environment(
            &Config::Cloud { networking, packages: Default::default() },
            None,
            ["https://mcp.example.com/x", "not an address"],
        )
    }

    #[test]
    fn an_environment_allows_what_it_names() {
        let allowed = |policy: &Policy, host: &str| policy.decide(host, 443).is_allowed;
        let hosts = ["api.example.com", "mcp.example.com", "pypi.org", "other.com"];
        let table = [
            (limited(false, false), [true, false, false, false]),
            (limited(true, false), [true, true, false, false]),
            (limited(false, true), [true, false, true, false]),
            (Policy::of_environment(&Config::SelfHosted {}, None, []), [false; 4]),
        ];
        for (policy, expected) in table {
            assert_eq!(hosts.map(|host| allowed(&policy, host)), expected, "{policy:?}");
        }
        let settings: EgressSettings =
            serde_json::from_value(serde_json::json!({"inspect": "all", "rules": [{"host": "a.test", "action": "deny"}]})).unwrap();
        let policy = Policy::of_environment(&Config::SelfHosted {}, Some(&settings), []);
        assert_eq!(policy, Policy::none(), "what has no sandbox of ours has no rules");
        let cloud = Config::Cloud { networking: Networking::Unrestricted {}, packages: Default::default() };
        let policy = Policy::of_environment(&cloud, Some(&settings), []);
        assert!(policy.inspect_all && policy.rules == settings.rules);
        assert!(PACKAGE_HOSTS.is_sorted() && PACKAGE_HOSTS.iter().all(|host| super::super::policy::normal(host).as_deref() == Some(host)));
    }
}
