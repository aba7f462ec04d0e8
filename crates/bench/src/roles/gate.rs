//! The real egress with some sandboxes, whose networks are this machine's loopback. It does not confine itself.

use std::net::{Ipv4Addr, TcpListener, UdpSocket};
use std::path::Path;
use std::sync::Arc;

use anyhow::Context as _;
use ostler_core::egress::{Caps, SealedGrant};
use ostler_core::ids::{CredentialId, IdSource, OrganizationId, SessionId, VaultId, WorkspaceId};
use ostler_egress::policy::{AllowedHost, Network, Policy};
use ostler_egress::{Doors, Egress, EgressConfig, Machine, ResolveConfig, Terms};
use ostler_seal::open::{KeyPair, KeyRing};
use ostler_seal::{Binding, Bound, Hosts, Places};

use crate::{limits, outside};

/// Serves the sandboxes, renews their leases and takes what is recorded, as the server would.
pub(super) async fn serve(place: &Path) -> anyhow::Result<()> {
    let resolve = serde_json::from_slice(&std::fs::read(place.join(outside::HOSTS))?)?;
    let config = EgressConfig {
        resolve: ResolveConfig { resolve, ..ResolveConfig::default() },
        extra_ca: vec![place.join(outside::CA)],
        ..EgressConfig::default()
    };
    let ring = KeyRing::new(KeyPair::generate()?, Vec::new());
    let egress = Egress::start(ring, &config, &[], &Machine::read(&config)?)?;
    let mut ids = IdSource::new(1, 1);
    let terms = terms(&egress, &mut ids)?;
    let (mut sessions, mut proxies) = (Vec::new(), Vec::new());
    for _ in 0..limits::GATED {
        let (doors, session) = (doors()?, SessionId::mint(&mut ids));
        proxies.push(doors.proxy.local_addr()?);
        let unusable = egress.register(session.clone(), terms.clone(), doors)?;
        anyhow::ensure!(unusable.is_empty(), "{unusable:?}");
        sessions.push(session);
    }
    std::fs::write(place.join(outside::EGRESS_CA), egress.certificate())?;
    std::fs::write(place.join(outside::PROXIES), serde_json::to_vec(&proxies)?)?;
    super::announce(*proxies.first().context("there is a sandbox")?)?;
    loop {
        tokio::time::sleep(limits::RENEWAL).await;
        egress.renew(&sessions);
        while !egress.take_records(limits::RECORDS_AT_ONCE).records.is_empty() {}
    }
}

/// The two hosts, and a secret for the second one.
fn terms(egress: &Arc<Egress>, ids: &mut IdSource) -> anyhow::Result<Terms> {
    let hosts = [outside::CLOSED, outside::OPENED].map(|host| AllowedHost { host: host.into(), rule: "allowed_hosts".into() });
    let policy = Policy { network: Network::Limited { hosts: hosts.into() }, inspect_all: false, rules: Vec::new() };
    let (organization, workspace) = (OrganizationId::mint(ids), WorkspaceId::mint(ids));
    let credential = CredentialId::mint(ids);
    let binding = Binding {
        organization: organization.clone(),
        workspace: workspace.clone(),
        vault: VaultId::mint(ids),
        credential: credential.clone(),
        part: "secret_value".into(),
        version: 1,
        bound: Bound::EnvironmentVariable {
            name: "TOKEN".into(),
            hosts: Hosts::Only(vec![outside::OPENED.into()]),
            places: Places { header: true, body: false },
        },
    };
    let sealed = ostler_seal::seal(&egress.public_key(), &binding, outside::SECRET.as_bytes())?.to_string();
    let grants = vec![SealedGrant { placeholder: outside::PLACEHOLDER.into(), credential, sealed }];
    Ok(Terms { organization, workspace, policy, grants, answers: Vec::new(), caps: Caps::default() })
}

fn doors() -> std::io::Result<Doors> {
    let listener = || TcpListener::bind((Ipv4Addr::LOCALHOST, 0));
    Ok(Doors {
        proxy: listener()?,
        http: listener()?,
        https: listener()?,
        dns_udp: UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?,
        dns_tcp: listener()?,
    })
}
