//! Answering the server.

use std::io;
use std::net::{TcpListener, UdpSocket};
use std::os::fd::OwnedFd;
use std::sync::Arc;

use nix::unistd::Uid;
use ostler_seal::{Binding, Sealed, seal};
use tokio::net::{UnixListener, UnixStream};
use tokio::time::timeout;

use super::channel;
use super::protocol::{Ask, Told};
use crate::limits;
use crate::oauth::{self, Renewal};
use crate::record::Taken;
use crate::sandboxes::Doors;
use crate::service::Egress;

/// Whether who is at the other end is this user, or root.
pub(crate) fn is_of(stream: &UnixStream, user: Uid) -> bool {
    stream.peer_cred().is_ok_and(|peer| peer.uid() == user.as_raw() || peer.uid() == 0)
}

/// Answers the server, which is this user, for ever. Root is heard as well.
pub async fn serve(egress: Arc<Egress>, listener: UnixListener, server: Uid) {
    loop {
        match listener.accept().await {
            Ok((stream, _)) if is_of(&stream, server) => {
                let egress = Arc::clone(&egress);
                tokio::spawn(async move {
                    match timeout(limits::ASK_TIMEOUT, attend(&egress, stream)).await {
                        Ok(Ok(())) => {}
                        Ok(Err(error)) => tracing::debug!(%error, "a question was not answered"),
                        Err(_) => tracing::warn!("a question took too long"),
                    }
                });
            }
            Ok(_) => tracing::warn!("another user asked, and was not heard"),
            Err(error) => {
                tracing::warn!(%error, "nobody can ask");
                tokio::time::sleep(limits::ACCEPT_PAUSE).await;
            }
        }
    }
}

async fn attend(egress: &Arc<Egress>, mut stream: UnixStream) -> io::Result<()> {
    let (ask, descriptors) = channel::receive(&stream).await?;
    let told = match ask {
        Ask::RenewToken { owner, refresh, refresh_token, client_secret } => {
            renewed(oauth::renew(egress, &owner, &refresh, &refresh_token, client_secret.as_deref()).await)
        }
        ask => answer(egress, ask, descriptors),
    };
    let told = told.unwrap_or_else(|reason| Told::Refused { reason });
    let sent = channel::send(&mut stream, &told, &[]).await;
    if let (Err(_), Told::Records { records, dropped }) = (&sent, told) {
        egress.records.lost(Taken { records, dropped });
    }
    sent
}

fn renewed(renewal: Result<Renewal, String>) -> Result<Told, String> {
    Ok(match renewal? {
        Renewal::Renewed { access_token, refresh_token, expires_in } => Told::RenewedToken {
            access_token: access_token.to_string(),
            refresh_token: refresh_token.map(|token| token.to_string()),
            expires_in,
        },
        Renewal::Failed(answer) => Told::TokenNotRenewed { answer },
    })
}

fn answer(egress: &Arc<Egress>, ask: Ask, descriptors: Vec<OwnedFd>) -> Result<Told, String> {
    Ok(match ask {
        Ask::Hello => {
            let (ring, certificates) = (egress.ring(), egress.certificates());
            Told::Welcome { public_key: ring.public().to_string(), keys: ring.ids(), certificates }
        }
        Ask::Register { session, terms } => {
            let registered = doors(descriptors).and_then(|doors| egress.register(session, terms, doors));
            Told::Terms { unusable: registered.map_err(|error| format!("the doors cannot be used: {error}"))? }
        }
        Ask::Change { session, terms } => match egress.change(&session, terms) {
            Some(unusable) => Told::Terms { unusable },
            None => Told::Unknown,
        },
        Ask::Renew { sessions } => Told::Renewed { unknown: egress.renew(&sessions) },
        Ask::Questions => Told::Questions { waiting: egress.questions() },
        Ask::Settle { session, question, is_allowed } => {
            if egress.settle(&session, question, is_allowed) {
                Told::Settled
            } else {
                Told::Unknown
            }
        }
        Ask::Release { session } => {
            egress.release(&session);
            Told::Released
        }
        Ask::Reseal { sealed, binding } => Told::Sealed { sealed: resealed(egress, &sealed, &binding)? },
        Ask::RenewToken { .. } => return Err("a token is renewed in its own time".into()),
        Ask::Records { most } => {
            let Taken { records, dropped } = egress.take_records(most);
            Told::Records { records, dropped }
        }
    })
}

fn doors(descriptors: Vec<OwnedFd>) -> io::Result<Doors> {
    let [proxy, http, https, dns_udp, dns_tcp]: [OwnedFd; 5] =
        descriptors.try_into().map_err(|_| io::Error::other("there must be five descriptors"))?;
    let listener = TcpListener::from;
    Ok(Doors {
        proxy: listener(proxy),
        http: listener(http),
        https: listener(https),
        dns_udp: UdpSocket::from(dns_udp),
        dns_tcp: listener(dns_tcp),
    })
}

/// Binds a secret anew, within its own credential.
fn resealed(egress: &Egress, sealed: &str, binding: &Binding) -> Result<String, String> {
    let sealed: Sealed = sealed.parse().map_err(|_| "the sealed secret cannot be read".to_owned())?;
    let ring = egress.ring();
    let (before, secret) = ring.open(&sealed).map_err(|error| format!("the secret does not open: {error}"))?;
    let is_same = |of: fn(&Binding) -> String| of(&before) == of(binding);
    let owners: [fn(&Binding) -> String; 5] = [
        |binding| binding.organization.to_string(),
        |binding| binding.workspace.to_string(),
        |binding| binding.vault.to_string(),
        |binding| binding.credential.to_string(),
        |binding| binding.part.clone(),
    ];
    if !owners.into_iter().all(is_same) {
        return Err("the secret is of another credential".into());
    }
    tracing::info!(credential = %binding.credential, part = binding.part, "a secret was bound to something else");
    seal(ring.public(), binding, secret.expose()).map(|sealed| sealed.to_string()).map_err(|error| error.to_string())
}
