//! Answering on the server's side.

use std::path::Path;
use std::sync::Arc;

use anyhow::Context;
use ostler_runtime::egress::Egress;
use ostler_runtime::router::SessionRouter;
use ostler_store::Store;
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::{Mutex, mpsc};
use tokio::task::JoinHandle;
use tokio::time::timeout;

use super::{Ask, Told, socket};
use crate::config::VaultKey;
use crate::limits;
use crate::vault::{KeyHolder, Rotation};

/// What is needed to answer.
pub(crate) struct Admin {
    pub(crate) vault_key: VaultKey,
    pub(crate) store: Arc<dyn Store>,
    pub(crate) egress: Arc<dyn Egress>,
    pub(crate) holder: Arc<dyn KeyHolder>,
    pub(crate) router: SessionRouter,
}

/// Listens until the task is aborted. What was begun then goes on until it is done, or the process ends.
pub(crate) fn serve(data_dir: &Path, admin: Admin) -> anyhow::Result<JoinHandle<()>> {
    let path = socket(data_dir);
    // The directory is held, so whoever left it is gone.
    let _ = std::fs::remove_file(&path);
    let listener = UnixListener::bind(&path).with_context(|| format!("listening on {}", path.display()))?;
    std::fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o600))?;
    let (admin, turn) = (Arc::new(admin), Arc::new(Mutex::new(())));
    Ok(tokio::spawn(async move {
        loop {
            match listener.accept().await {
                Ok((stream, _)) if is_own(&stream) => {
                    tokio::spawn(attend(Arc::clone(&admin), Arc::clone(&turn), stream));
                }
                Ok(_) => tracing::warn!("another user asked, and was not heard"),
                Err(error) => {
                    tracing::warn!(%error, "nobody can ask");
                    tokio::time::sleep(limits::ADMIN_ASK).await;
                }
            }
        }
    }))
}

fn is_own(stream: &UnixStream) -> bool {
    let own = nix::unistd::geteuid().as_raw();
    stream.peer_cred().is_ok_and(|peer| peer.uid() == own || peer.uid() == 0)
}

async fn attend(admin: Arc<Admin>, turn: Arc<Mutex<()>>, mut stream: UnixStream) {
    let (told, mut says) = mpsc::unbounded_channel();
    let mut line = String::new();
    let mut question = BufReader::new((&mut stream).take(limits::ADMIN_BYTES));
    if !matches!(timeout(limits::ADMIN_ASK, question.read_line(&mut line)).await, Ok(Ok(_))) {
        return;
    }
    // By itself, so that it goes on when whoever asked went away.
    tokio::spawn(async move {
        let last = match turn.try_lock() {
            Err(_) => Told::Failed { reason: "the server is being asked already; wait until that is done".into() },
            Ok(_turn) => match perform(&admin, &line, told.clone()).await {
                Ok(()) => Told::Done,
                Err(error) => {
                    tracing::error!(error = format!("{error:#}"), "what the operator asked failed");
                    Told::Failed { reason: format!("{error:#}") }
                }
            },
        };
        let _ = told.send(last);
    });
    while let Some(told) = says.recv().await {
        let Ok(mut line) = serde_json::to_vec(&told) else { return };
        line.push(b'\n');
        if stream.write_all(&line).await.is_err() {
            return;
        }
    }
}

async fn perform(admin: &Admin, line: &str, told: mpsc::UnboundedSender<Told>) -> anyhow::Result<()> {
    match serde_json::from_str(line).context("the question cannot be read")? {
        Ask::RotateVaultKey { keep_former } => {
            let rotation = Rotation {
                from: admin.vault_key.clone(),
                keep_former,
                store: Arc::clone(&admin.store),
                egress: Arc::clone(&admin.egress),
                holder: Arc::clone(&admin.holder),
                router: Some(admin.router.clone()),
                say: Arc::new(move |text| drop(told.send(Told::Progress { text }))),
            };
            rotation.run().await
        }
    }
}
