//! Every prefix of the steps, a crash, and the whole again; and keys that the operator keeps.

use std::path::{Path, PathBuf};
use std::sync::Mutex;

use async_trait::async_trait;
use ostler_core::ids::{CredentialId, OrganizationId, VaultId, WorkspaceId};
use ostler_core::scope::{Scope, SystemReason};
use ostler_core::time::Timestamp;
use ostler_egress::{Egress as Opener, EgressConfig, Machine, control};
use ostler_seal::open::{KeyPair, KeyRing};
use ostler_seal::{Binding, Bound, Sealed, seal};
use ostler_store::{Document, Family, SqliteConfig, SqliteStore};
use tokio::net::UnixListener;

use super::*;
use crate::egress::EgressLink;
use crate::vault::Keys;
use crate::vault_key;

const SYSTEM: Scope = Scope::System(SystemReason::Recovery);
const CREDENTIALS: [&str; 3] = ["vcrd_1", "vcrd_2", "vcrd_3"];

/// What outlives a crash: the key and the database.
struct Disk {
    dir: tempfile::TempDir,
    from: VaultKey,
    store: Arc<SqliteStore>,
}

/// What does not: egress, and who gives it keys.
struct Life {
    rotation: Rotation,
    opener: Arc<Opener>,
    said: Arc<Mutex<Vec<String>>>,
}

struct Holder {
    from: VaultKey,
    opener: Arc<Opener>,
    link: Arc<EgressLink>,
}

#[async_trait]
impl KeyHolder for Holder {
    async fn look(&self) -> anyhow::Result<Keys> {
        Ok(Keys::of(&vault_key::read(&self.from)?))
    }

    async fn add(&self, _: &Keys) -> anyhow::Result<Keys> {
        let VaultKey::File(path) = &self.from else { panic!("only a file can be changed") };
        vault_key::replace(path, &vault_key::read(&self.from)?.with_new(KeyPair::generate()?))?;
        self.look().await
    }

    async fn take(&self, keys: &Keys) -> anyhow::Result<()> {
        let ring = vault_key::read(&self.from)?;
        assert_eq!(ring.ids(), keys.ids());
        self.opener.take_keys(ring);
        self.link.await_keys(keys.clone()).await
    }

    async fn drop_former(&self, _: &Keys) -> anyhow::Result<()> {
        let VaultKey::File(path) = &self.from else { panic!("only a file can be changed") };
        vault_key::replace(path, &vault_key::read(&self.from)?.newest_alone())?;
        self.take(&self.look().await?).await
    }
}

fn binding(credential: &str) -> Binding {
    Binding {
        organization: "org_1".parse::<OrganizationId>().unwrap(),
        workspace: "wrkspc_1".parse::<WorkspaceId>().unwrap(),
        vault: "vlt_1".parse::<VaultId>().unwrap(),
        credential: credential.parse::<CredentialId>().unwrap(),
        part: "token".into(),
        version: 1,
        bound: Bound::StaticBearer { url: "https://a.com".into() },
    }
}

impl Disk {
    /// A key, and credentials that are sealed for it.
    async fn new(from: impl Fn(&Path) -> VaultKey) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let ring = vault_key::read(&VaultKey::File(dir.path().join("k"))).unwrap();
        let store = Arc::new(SqliteStore::open(SqliteConfig::new(dir.path().join("data"))).unwrap());
        let disk = Self { from: from(&dir.path().join("k")), dir, store };
        for credential in CREDENTIALS {
            disk.put(credential, &ring).await;
        }
        disk
    }

    fn path(&self) -> PathBuf {
        self.dir.path().join("k")
    }

    fn ring(&self) -> KeyRing {
        vault_key::read(&VaultKey::File(self.path())).unwrap()
    }

    async fn put(&self, credential: &str, ring: &KeyRing) {
        let binding = binding(credential);
        let sealed = seal(ring.public(), &binding, credential.as_bytes()).unwrap();
        let document = Document {
            kind: "vault_credential".into(),
            id: credential.into(),
            organization: binding.organization,
            workspace: binding.workspace,
            version: 1,
            lock: 1,
            created_at: Timestamp(1),
            updated_at: Timestamp(1),
            archived_at: None,
            body: "{}".into(),
            family: Some(Family { parent: binding.vault.to_string(), key: credential.into() }),
            sealed: Some(serde_json::json!({"token": sealed.to_string()}).to_string()),
        };
        self.store.insert_document(&SYSTEM, &document).await.unwrap();
    }

    async fn sealed(&self, credential: &str) -> Sealed {
        let document = self.store.document(&SYSTEM, "vault_credential", credential).await.unwrap().unwrap();
        let parts: serde_json::Value = serde_json::from_str(&document.sealed.unwrap()).unwrap();
        parts["token"].as_str().unwrap().parse().unwrap()
    }

    /// A process begins: it has the keys that are kept.
    async fn begin(&self) -> Life {
        let ring = vault_key::read(&self.from).unwrap();
        let opener = {
            let config = EgressConfig::default();
            Opener::start(ring.clone(), &config, &[], &Machine::read(&config).unwrap()).unwrap()
        };
        let socket = self.dir.path().join("egress.sock");
        let _ = std::fs::remove_file(&socket);
        tokio::spawn(control::serve(Arc::clone(&opener), UnixListener::bind(&socket).unwrap(), nix::unistd::geteuid()));
        let link = Arc::new(EgressLink::connect(socket.clone(), socket, Keys::of(&ring)).await.unwrap().0);
        let said: Arc<Mutex<Vec<String>>> = Arc::default();
        let says = Arc::clone(&said);
        let rotation = Rotation {
            from: self.from.clone(),
            keep_former: false,
            store: Arc::clone(&self.store) as Arc<dyn Store>,
            egress: Arc::clone(&link) as Arc<dyn Egress>,
            holder: Arc::new(Holder { from: self.from.clone(), opener: Arc::clone(&opener), link }),
            router: None,
            say: Arc::new(move |text| says.lock().unwrap().push(text)),
        };
        Life { rotation, opener, said }
    }

    /// Every secret opens, with what is kept and with what runs.
    async fn holds(&self, life: &Life, when: &str) {
        let kept = self.ring();
        for credential in CREDENTIALS {
            let sealed = self.sealed(credential).await;
            for ring in [&kept, life.opener.ring().as_ref()] {
                assert_eq!(ring.open(&sealed).unwrap().1.expose(), credential.as_bytes(), "{when}");
            }
        }
    }
}

#[tokio::test]
async fn whoever_is_killed_after_any_step_is_finished_by_the_next() {
    for count in 0..=Step::ALL.len() {
        let disk = Disk::new(|path| VaultKey::File(path.to_owned())).await;
        let first = disk.ring();
        let life = disk.begin().await;
        for step in &Step::ALL[..count] {
            life.rotation.step(*step).await.unwrap();
            disk.holds(&life, &format!("{count}: after {step:?}")).await;
        }
        // A file that was being written is left as well.
        std::fs::write(disk.path().with_file_name("k.next"), "ostler-key-1 hal").unwrap();
        drop(life);
        let life = disk.begin().await;
        disk.holds(&life, &format!("{count}: begun anew")).await;
        let before = disk.ring();
        life.rotation.run().await.unwrap();
        disk.holds(&life, &format!("{count}: finished")).await;
        let last = disk.ring();
        assert_eq!((last.ids().len(), life.opener.ring().ids()), (1, last.ids()), "{count}");
        assert_ne!(last.ids(), first.ids(), "{count}");
        assert_eq!(last.public() == before.public(), (1..Step::ALL.len()).contains(&count), "{count}: what was begun is finished");
        assert_eq!(last.authority(), first.authority(), "{count}");
        for credential in CREDENTIALS {
            assert_eq!(disk.sealed(credential).await.key(), &last.public().id());
        }
        let files = std::fs::read_dir(disk.dir.path()).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
        assert!(!files.into_iter().any(|name| name.contains("next") || name.starts_with(".ostler-key")), "{count}: a draft is left");
        let said = life.said.lock().unwrap().join("\n");
        assert!(said.contains("done") && !said.contains(last.to_text().split_whitespace().nth(2).unwrap()), "{said}");
    }
}

#[tokio::test]
async fn an_egress_that_did_not_hear_the_end_is_told_and_no_other_key_is_made() {
    let disk = Disk::new(|path| VaultKey::File(path.to_owned())).await;
    let life = disk.begin().await;
    for step in &Step::ALL[..3] {
        life.rotation.step(*step).await.unwrap();
    }
    vault_key::replace(&disk.path(), &disk.ring().newest_alone()).unwrap();
    let kept = disk.ring();
    life.rotation.run().await.unwrap();
    assert_eq!((disk.ring().ids(), life.opener.ring().ids()), (kept.ids(), kept.ids()));
}

#[tokio::test]
async fn former_keys_stay_where_that_is_asked_and_where_something_needs_them() {
    let disk = Disk::new(|path| VaultKey::File(path.to_owned())).await;
    let mut life = disk.begin().await;
    life.rotation.keep_former = true;
    life.rotation.run().await.unwrap();
    assert_eq!(disk.ring().ids().len(), 2);
    // A secret that does not open with its key: nobody knows whether it ever will.
    life.rotation.keep_former = false;
    let former = disk.ring().former().next().unwrap().clone();
    let text = seal(&former, &binding("vcrd_4"), b"x").unwrap().to_string();
    let broken = format!("{}.AAAA", text.rsplit_once('.').unwrap().0);
    disk.put("vcrd_4", &disk.ring()).await;
    let document = disk.store.document(&SYSTEM, "vault_credential", "vcrd_4").await.unwrap().unwrap();
    let changed = Document { lock: 2, sealed: Some(serde_json::json!({"token": broken}).to_string()), ..document };
    assert!(disk.store.replace_document(&SYSTEM, &changed, 1, false).await.unwrap());
    let why = life.rotation.run().await.unwrap_err().to_string();
    assert!(why.contains("vcrd_4") && why.contains("former key stays"), "{why}");
    assert_eq!(disk.ring().ids().len(), 2);
    disk.store.delete_document(&SYSTEM, "vault_credential", "vcrd_4", None).await.unwrap();
    life.rotation.run().await.unwrap();
    assert_eq!(disk.ring().ids().len(), 1);
    disk.holds(&life, "at the end").await;
}

#[tokio::test]
async fn where_a_command_has_the_key_the_operator_is_told_what_to_do() {
    let disk = Disk::new(|path| VaultKey::Command(format!("cat {}", path.display()))).await;
    let life = disk.begin().await;
    let first = disk.ring();
    let why = life.rotation.run().await.unwrap_err().to_string();
    assert!(why.contains("ostler vault new-key") && why.contains("key_command"), "{why}");
    let both = first.with_new(KeyPair::generate().unwrap());
    // In the wrong order nothing happens.
    vault_key::replace(&disk.path(), &both.newest_alone()).unwrap();
    let why = life.rotation.run().await.unwrap_err().to_string();
    assert!(why.contains("3 credentials") && why.contains("put it back"), "{why}");
    assert_eq!(life.opener.ring().ids(), first.ids());
    vault_key::replace(&disk.path(), &both).unwrap();
    life.rotation.run().await.unwrap();
    disk.holds(&life, "with both").await;
    let said = life.said.lock().unwrap().join("\n");
    assert!(said.contains(&format!("ostler-key-1 {} ...", first.public())) && said.contains("again"), "{said}");
    assert_eq!(disk.ring().ids(), both.ids(), "what a command prints is the operator's");
    vault_key::replace(&disk.path(), &both.newest_alone()).unwrap();
    life.rotation.run().await.unwrap();
    assert_eq!(life.opener.ring().ids(), both.newest_alone().ids());
    disk.holds(&life, "with the new one alone").await;
}
