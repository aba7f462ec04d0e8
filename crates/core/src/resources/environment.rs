//! Environments: what a sandbox offers.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use utoipa::ToSchema;

use super::egress::EgressSettings;
use super::hosts;
use super::metadata::{self, EmptyValue, Metadata, MetadataPatch, MetadataPatchSchema, MetadataSchema};
use super::patch;
use super::sandbox::SandboxSettings;
use crate::error::{Refusal, check_chars, check_count};
use crate::limits;

/// `POST /v1/environments`.
#[derive(Debug, Clone, Deserialize, ToSchema)]
pub struct EnvironmentCreateParams {
    /// A name for people.
    pub name: String,
    /// What sandboxes of it are; a cloud sandbox with unrestricted network when left out.
    #[serde(default)]
    pub config: Option<ConfigParams>,
    /// A description for people.
    #[serde(default)]
    pub description: Option<String>,
    /// Key-value pairs.
    #[serde(default)]
    #[schema(value_type = Option<MetadataSchema>)]
    pub metadata: Option<Metadata>,
    /// Who may use it; kept, not interpreted.
    #[serde(default)]
    pub scope: Option<EnvironmentScope>,
    /// Isolation, limits and system of its sandboxes. An extension.
    #[serde(default, deserialize_with = "patch::object")]
    #[schema(value_type = Option<SandboxSettings>)]
    pub sandbox: Option<SandboxSettings>,
    /// Rules and caps of what its sandboxes reach. An extension.
    #[serde(default, deserialize_with = "patch::object")]
    #[schema(value_type = Option<EgressSettings>)]
    pub egress: Option<EgressSettings>,
}

/// `POST /v1/environments/{id}`: absent fields stay.
#[derive(Debug, Clone, Deserialize, ToSchema)]
pub struct EnvironmentUpdateParams {
    /// Replaces the name.
    #[serde(default)]
    pub name: Option<String>,
    /// Merged part by part; its type cannot change.
    #[serde(default)]
    pub config: Option<ConfigParams>,
    /// Replaces the description; null clears.
    #[serde(default, deserialize_with = "patch::field")]
    #[schema(value_type = Option<String>)]
    pub description: Option<Option<String>>,
    /// Merged by key; null or an empty value deletes a key.
    #[serde(default)]
    #[schema(value_type = Option<MetadataPatchSchema>)]
    pub metadata: Option<MetadataPatch>,
    /// Who may use it.
    #[serde(default)]
    pub scope: Option<EnvironmentScope>,
    /// Merged by field into isolation, limits and system of its sandboxes; null clears a field, or all of it. An extension.
    #[serde(default, deserialize_with = "patch::object_or_null")]
    #[schema(value_type = Option<SandboxSettings>)]
    pub sandbox: Option<Option<Map<String, Value>>>,
    /// Merged by field into rules and caps of what its sandboxes reach; null clears a field, or all of it. An extension.
    #[serde(default, deserialize_with = "patch::object_or_null")]
    #[schema(value_type = Option<EgressSettings>)]
    pub egress: Option<Option<Map<String, Value>>>,
}

/// Who may use an environment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum EnvironmentScope {
    /// Everybody in the organization.
    Organization,
    /// One account.
    Account,
}

/// What sandboxes are, as sent.
#[derive(Debug, Clone, PartialEq, Deserialize, ToSchema)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum ConfigParams {
    /// The platform runs them.
    Cloud {
        /// Where they may connect to.
        #[serde(default)]
        networking: Option<NetworkingParams>,
        /// What is installed in them.
        #[serde(default, deserialize_with = "patch::object")]
        #[schema(value_type = Option<PackagesParams>)]
        packages: Option<PackagesParams>,
    },
    /// A worker of the client runs the tools.
    SelfHosted {},
}

/// Where sandboxes may connect to, as sent.
#[derive(Debug, Clone, PartialEq, Deserialize, ToSchema)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum NetworkingParams {
    /// Everywhere that is public.
    Unrestricted {},
    /// To named hosts.
    Limited {
        /// To the agent's MCP servers, too.
        #[serde(default)]
        allow_mcp_servers: Option<bool>,
        /// To package registries, too.
        #[serde(default)]
        allow_package_managers: Option<bool>,
        /// Bare host names, or `*.` and a host name.
        #[serde(default)]
        allowed_hosts: Option<Vec<String>>,
    },
}

/// What is installed, as sent.
#[derive(Debug, Clone, PartialEq, Default, Deserialize, ToSchema)]
pub struct PackagesParams {
    /// Debian packages.
    #[serde(default)]
    pub apt: Option<Vec<String>>,
    /// Rust packages.
    #[serde(default)]
    pub cargo: Option<Vec<String>>,
    /// Ruby packages.
    #[serde(default)]
    pub gem: Option<Vec<String>>,
    /// Go packages.
    #[serde(default)]
    pub go: Option<Vec<String>>,
    /// Node packages.
    #[serde(default)]
    pub npm: Option<Vec<String>>,
    /// Python packages.
    #[serde(default)]
    pub pip: Option<Vec<String>>,
}

/// What sandboxes are, resolved.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum Config {
    /// The platform runs them.
    Cloud {
        /// Where they may connect to.
        networking: Networking,
        /// What is installed in them.
        packages: Packages,
    },
    /// A worker of the client runs the tools.
    SelfHosted {},
}

/// Where sandboxes may connect to, resolved.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum Networking {
    /// Everywhere that is public.
    Unrestricted {},
    /// To named hosts.
    Limited {
        /// To the agent's MCP servers, too.
        allow_mcp_servers: bool,
        /// To package registries, too.
        allow_package_managers: bool,
        /// Bare host names, or `*.` and a host name.
        allowed_hosts: Vec<String>,
    },
}

/// What is installed, resolved.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, ToSchema)]
pub struct Packages {
    /// Debian packages.
    pub apt: Vec<String>,
    /// Rust packages.
    pub cargo: Vec<String>,
    /// Ruby packages.
    pub gem: Vec<String>,
    /// Go packages.
    pub go: Vec<String>,
    /// Node packages.
    pub npm: Vec<String>,
    /// Python packages.
    pub pip: Vec<String>,
    /// Always `packages`.
    #[serde(rename = "type", default)]
    pub kind: PackagesKind,
}

/// The kinds of package list.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum PackagesKind {
    /// The only one.
    #[default]
    Packages,
}

/// What an environment is, without its identity.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct EnvironmentBody {
    /// What sandboxes of it are.
    pub config: Config,
    /// A description for people.
    pub description: Option<String>,
    /// Key-value pairs.
    #[schema(value_type = MetadataSchema)]
    pub metadata: Metadata,
    /// A name for people.
    pub name: String,
    /// Who may use it.
    pub scope: EnvironmentScope,
    /// Isolation, limits and system of its sandboxes, if something is asked for. An extension.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sandbox: Option<SandboxSettings>,
    /// Rules and caps of what its sandboxes reach, if there are any. An extension.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub egress: Option<EgressSettings>,
}

impl EnvironmentBody {
    /// A new environment from what a client sent.
    pub fn create(params: EnvironmentCreateParams) -> Result<Self, Refusal> {
        let config = match params.config {
            None => resolve(ConfigParams::Cloud { networking: None, packages: None }, None)?,
            Some(config) => resolve(config, None)?,
        };
        let body = Self {
            config,
            description: params.description,
            metadata: params.metadata.unwrap_or_default(),
            name: params.name,
            scope: params.scope.unwrap_or(EnvironmentScope::Organization),
            sandbox: params.sandbox,
            egress: params.egress,
        };
        body.check()?;
        Ok(body)
    }

    /// This environment after an update.
    pub fn updated(&self, params: EnvironmentUpdateParams) -> Result<Self, Refusal> {
        let mut next = self.clone();
        if let Some(config) = params.config {
            next.config = resolve(config, Some(&self.config))?;
        }
        if let Some(name) = params.name {
            next.name = name;
        }
        if let Some(description) = params.description {
            next.description = description;
        }
        if let Some(patch) = params.metadata {
            next.metadata = metadata::patched(&self.metadata, patch, EmptyValue::Deletes)?;
        }
        if let Some(scope) = params.scope {
            next.scope = scope;
        }
        next.sandbox = match params.sandbox {
            None => next.sandbox,
            Some(None) => None,
            Some(Some(patch)) => Some(next.sandbox.unwrap_or_default().patched(patch)?),
        };
        next.egress = match params.egress {
            None => next.egress,
            Some(None) => None,
            Some(Some(patch)) => Some(next.egress.unwrap_or_default().patched(patch)?),
        };
        next.check()?;
        Ok(next)
    }

    /// What a user should know about sandboxes of this environment on this server.
    pub fn notices(&self) -> Vec<String> {
        let Config::Cloud { packages, .. } = &self.config else {
            return vec!["Self-hosted environments are stored but not served yet: no session can use them.".into()];
        };
        let mut notices = Vec::new();
        if packages != &Packages::default() {
            notices.push(
                "Packages are stored but not installed yet; sandboxes offer what their system (the host's, or an image's) has.".into(),
            );
        }
        notices
    }

    fn check(&self) -> Result<(), Refusal> {
        if self.name.trim().is_empty() {
            return Err(Refusal::invalid("name: must not be empty"));
        }
        check_chars("name", &self.name, limits::NAME_CHARS)?;
        check_chars("description", self.description.as_deref().unwrap_or_default(), limits::DESCRIPTION_CHARS)?;
        self.sandbox.as_ref().map_or(Ok(()), SandboxSettings::check)?;
        self.egress.as_ref().map_or(Ok(()), EgressSettings::check)?;
        metadata::check(&self.metadata)
    }
}

/// Fills in what `params` leaves out, from `before` or with defaults.
fn resolve(params: ConfigParams, before: Option<&Config>) -> Result<Config, Refusal> {
    match (params, before) {
        (ConfigParams::SelfHosted {}, None | Some(Config::SelfHosted {})) => Ok(Config::SelfHosted {}),
        (ConfigParams::Cloud { networking, packages }, None) => {
            resolve_cloud(networking, packages, Networking::Unrestricted {}, Packages::default())
        }
        (ConfigParams::Cloud { networking, packages }, Some(Config::Cloud { networking: n, packages: p })) => {
            resolve_cloud(networking, packages, n.clone(), p.clone())
        }
        _ => Err(Refusal::invalid("config.type: cannot change; create another environment").with_code("invalid_config_type_change")),
    }
}

fn resolve_cloud(
    networking: Option<NetworkingParams>,
    packages: Option<PackagesParams>,
    before: Networking,
    installed: Packages,
) -> Result<Config, Refusal> {
    let networking = match networking {
        None => before,
        Some(params) => resolve_networking(params, &before)?,
    };
    let packages = match packages {
        None => installed,
        Some(params) => resolve_packages(params, installed)?,
    };
    let none = packages == Packages::default();
    if !none && matches!(networking, Networking::Limited { allow_package_managers: false, .. }) {
        return Err(Refusal::invalid("config: packages with limited networking need allow_package_managers: true"));
    }
    Ok(Config::Cloud { networking, packages })
}

fn resolve_networking(params: NetworkingParams, before: &Networking) -> Result<Networking, Refusal> {
    let NetworkingParams::Limited { allow_mcp_servers, allow_package_managers, allowed_hosts } = params else {
        return Ok(Networking::Unrestricted {});
    };
    let (mcp, managers, hosts) = match before {
        Networking::Limited { allow_mcp_servers, allow_package_managers, allowed_hosts } => {
            (*allow_mcp_servers, *allow_package_managers, allowed_hosts.clone())
        }
        Networking::Unrestricted {} => (false, false, Vec::new()),
    };
    let allowed_hosts = allowed_hosts.unwrap_or(hosts);
    check_count("config: allowed_hosts", allowed_hosts.len(), limits::ALLOWED_HOSTS)?;
    for host in &allowed_hosts {
        if let Some(why) = hosts::refused(host) {
            return Err(Refusal::invalid(format!("config: allowed_hosts: {host:?} {why}")));
        }
    }
    Ok(Networking::Limited {
        allow_mcp_servers: allow_mcp_servers.unwrap_or(mcp),
        allow_package_managers: allow_package_managers.unwrap_or(managers),
        allowed_hosts,
    })
}

fn resolve_packages(params: PackagesParams, before: Packages) -> Result<Packages, Refusal> {
    let packages = Packages {
        apt: params.apt.unwrap_or(before.apt),
        cargo: params.cargo.unwrap_or(before.cargo),
        gem: params.gem.unwrap_or(before.gem),
        go: params.go.unwrap_or(before.go),
        npm: params.npm.unwrap_or(before.npm),
        pip: params.pip.unwrap_or(before.pip),
        kind: PackagesKind::Packages,
    };
    for list in [&packages.apt, &packages.cargo, &packages.gem, &packages.go, &packages.npm, &packages.pip] {
        check_count("config: packages", list.len(), limits::PACKAGES_PER_MANAGER)?;
        for package in list {
            if package.trim().is_empty() || package.starts_with('-') || package.chars().any(char::is_control) {
                return Err(Refusal::invalid(format!("config: packages: {package:?} is not a package")));
            }
            check_chars("config: packages", package, limits::PACKAGE_CHARS)?;
        }
    }
    Ok(packages)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn create(config: Value) -> Result<EnvironmentBody, Refusal> {
        EnvironmentBody::create(serde_json::from_value(json!({"name": "e", "config": config})).unwrap())
    }

    fn update(body: &EnvironmentBody, value: Value) -> Result<EnvironmentBody, Refusal> {
        body.updated(serde_json::from_value(value).unwrap())
    }

    #[test]
    fn everything_is_filled_in() {
        let body = create(Value::Null).unwrap();
        assert_eq!(
            serde_json::to_value(&body.config).unwrap(),
            json!({"type": "cloud", "networking": {"type": "unrestricted"},
                   "packages": {"type": "packages", "apt": [], "cargo": [], "gem": [], "go": [], "npm": [], "pip": []}})
        );
    }

    #[test]
    fn parts_that_are_left_out_stay() {
        let body = create(json!({"type": "cloud", "networking": {"type": "limited", "allowed_hosts": ["a.com"], "allow_package_managers": true}, "packages": {"pip": ["six"]}})).unwrap();
        let next =
            update(&body, json!({"config": {"type": "cloud", "networking": {"type": "limited", "allow_mcp_servers": true}}})).unwrap();
        let Config::Cloud { networking, packages } = next.config else { panic!() };
        assert_eq!(
            networking,
            Networking::Limited { allow_mcp_servers: true, allow_package_managers: true, allowed_hosts: vec!["a.com".into()] }
        );
        assert_eq!(packages.pip, ["six"]);
    }

    #[test]
    fn what_cannot_be_is_refused() {
        for host in ["https://example.com", "example.com:443", "example.com/path", "", "*."] {
            assert!(create(json!({"type": "cloud", "networking": {"type": "limited", "allowed_hosts": [host]}})).is_err(), "{host}");
        }
        assert!(create(json!({"type": "cloud", "networking": {"type": "limited"}, "packages": {"pip": ["six"]}})).is_err());
        assert!(create(json!({"type": "cloud", "packages": {"pip": ["--index-url=x"]}})).is_err());
        let list = json!({"name": "e", "config": {"type": "cloud", "packages": [null, null]}});
        assert!(serde_json::from_value::<EnvironmentCreateParams>(list).is_err());
        let body = create(Value::Null).unwrap();
        assert_eq!(update(&body, json!({"config": {"type": "self_hosted"}})).unwrap_err().code, Some("invalid_config_type_change"));
    }

    #[test]
    fn an_empty_metadata_value_deletes_the_key() {
        let mut body = create(Value::Null).unwrap();
        body.metadata.insert("a".into(), "1".into());
        assert!(update(&body, json!({"metadata": {"a": ""}})).unwrap().metadata.is_empty());
    }
}
