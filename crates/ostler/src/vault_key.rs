//! The key that secrets of vaults are sealed for: where it is read, and how the first one is made.

use std::io::{ErrorKind, Read as _, Write as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use ostler_seal::open::{KeyPair, KeyRing};
use zeroize::Zeroizing;

use crate::config::VaultKey;
use crate::limits;
use crate::vault::Keys;

const SHAPE: &str =
    "a vault key is lines that begin with \"ostler-key-1\", as the first start writes them; bring the file back from where you keep it";

/// The key file of a data directory: beside it, so that a copy of the directory has the sealed secrets and not their key.
pub(crate) fn usual_file(data_dir: &Path) -> PathBuf {
    let mut name = data_dir.file_name().unwrap_or_default().to_owned();
    name.push(".key");
    data_dir.with_file_name(name)
}

/// Reads the keys from where the settings say, and makes a first one in a file that is not there yet.
pub(crate) fn read(from: &VaultKey) -> anyhow::Result<KeyRing> {
    match from {
        // Where a variable cannot have several lines, a comma is the end of one.
        VaultKey::Text(text) => {
            let lines = Zeroizing::new(text.expose().replace(',', "\n"));
            KeyRing::parse(text.expose()).or_else(|| KeyRing::parse(&lines)).with_context(|| format!("OSTLER_VAULT_KEY: {SHAPE}"))
        }
        VaultKey::Command(command) => from_command(command, |_| ()),
        VaultKey::File(path) => match from_file(path)? {
            Some(ring) => Ok(ring),
            None => make(path),
        },
    }
}

/// Reads what a command prints, which may be given other surroundings than this process has.
pub(crate) fn from_command(command: &str, surround: impl FnOnce(&mut Command)) -> anyhow::Result<KeyRing> {
    printed(command, surround, limits::KEY_COMMAND)
}

fn printed(command: &str, surround: impl FnOnce(&mut Command), within: Duration) -> anyhow::Result<KeyRing> {
    let mut shell = Command::new("/bin/sh");
    shell.args(["-c", command]).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::inherit());
    surround(&mut shell);
    let mut child = shell.spawn().context("running vault.key_command")?;
    let output = child.stdout.take().context("running vault.key_command")?;
    let (done, read) = mpsc::channel();
    // What the command leaves running may keep its output open for ever.
    std::thread::spawn(move || {
        let mut text = Zeroizing::new(String::new());
        let result = output.take(limits::KEY_FILE_BYTES).read_to_string(&mut text);
        let _ = done.send(result.map(|_| text));
    });
    let until = Instant::now() + within;
    let read = read.recv_timeout(within);
    let status = loop {
        match child.try_wait().context("waiting for vault.key_command")? {
            Some(status) => break Some(status),
            // It may have closed its output and go on.
            None if read.is_err() || Instant::now() >= until => break None,
            None => std::thread::sleep(limits::KEY_COMMAND_LOOK),
        }
    };
    let (Ok(read), Some(status)) = (read, status) else {
        let _ = child.kill();
        let _ = child.wait();
        bail!("vault.key_command did not print a key and end within {} seconds, and was ended", within.as_secs());
    };
    if !status.success() {
        bail!("vault.key_command ended with {status}");
    }
    KeyRing::parse(&read.context("reading what vault.key_command prints")?)
        .with_context(|| format!("what vault.key_command printed is no key: {SHAPE}"))
}

fn from_file(path: &Path) -> anyhow::Result<Option<KeyRing>> {
    // Not followed and not waited for: the place of a key is no link and no fifo.
    let flags = nix::libc::O_NOFOLLOW | nix::libc::O_NONBLOCK | nix::libc::O_CLOEXEC;
    let file = match std::fs::OpenOptions::new().read(true).custom_flags(flags).open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error).with_context(|| format!("reading the vault key {}", path.display())),
    };
    let about = file.metadata()?;
    let owner = nix::unistd::geteuid().as_raw();
    if !about.is_file() || about.uid() != owner || about.mode() & 0o077 != 0 {
        bail!("the vault key {} can be read by others; it must be a file of this user: chmod 600 {}", path.display(), path.display());
    }
    let mut text = Zeroizing::new(String::new());
    file.take(limits::KEY_FILE_BYTES).read_to_string(&mut text).with_context(|| format!("reading the vault key {}", path.display()))?;
    let ring = KeyRing::parse(&text).with_context(|| format!("the vault key {} is damaged: {SHAPE}", path.display()))?;
    Ok(Some(ring))
}

impl Keys {
    /// The public halves of these.
    pub(crate) fn of(ring: &KeyRing) -> Self {
        Self { newest: ring.public().clone(), former: ring.former().cloned().collect() }
    }
}

/// What is there, as text, with a new key in front.
pub(crate) fn with_new(from: &VaultKey) -> anyhow::Result<Zeroizing<String>> {
    let pair = KeyPair::generate().context("no randomness for a vault key")?;
    let ring = match from {
        VaultKey::File(path) if path.symlink_metadata().is_err() => KeyRing::new(pair, Vec::new()),
        from => read(from)?.with_new(pair),
    };
    Ok(ring.to_text())
}

/// Puts other keys into the file, whole or not at all: whoever reads it finds the former ones or these.
pub(crate) fn replace(path: &Path, ring: &KeyRing) -> anyhow::Result<()> {
    // Always the same name, so that a draft with keys in it is not left by one who is killed here.
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(".next");
    let draft = path.with_file_name(name);
    let write = || -> std::io::Result<()> {
        match std::fs::remove_file(&draft) {
            Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let mut file = std::fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&draft)?;
        file.write_all(HEADER.as_bytes())?;
        file.write_all(ring.to_text().as_bytes())?;
        file.sync_all()?;
        std::fs::rename(&draft, path)?;
        std::fs::File::open(path.parent().unwrap_or(Path::new("/")))?.sync_all()
    };
    write().with_context(|| {
        format!(
            "writing the vault key {}; its directory must be this user's to write, or put what `ostler vault new-key` prints into the file and run this again",
            path.display()
        )
    })
}

/// Makes the first key, whole or not at all, and never over one that somebody else made meanwhile.
fn make(path: &Path) -> anyhow::Result<KeyRing> {
    let ring = KeyRing::new(KeyPair::generate().context("no randomness for a vault key")?, Vec::new());
    let write = || -> std::io::Result<()> {
        let dir = path.parent().unwrap_or(Path::new("/"));
        std::fs::create_dir_all(dir)?;
        let draft = tempfile::Builder::new().prefix(".ostler-key-").tempfile_in(dir)?;
        draft.as_file().write_all(HEADER.as_bytes())?;
        draft.as_file().write_all(ring.to_text().as_bytes())?;
        draft.as_file().sync_all()?;
        draft.persist_noclobber(path).map_err(|error| error.error)?;
        std::fs::File::open(dir)?.sync_all()
    };
    match write() {
        Ok(()) => {
            tracing::info!(path = %path.display(), "made the key of vaults; keep a copy of it where the backups are not");
            Ok(ring)
        }
        Err(error) if error.kind() == ErrorKind::AlreadyExists => {
            from_file(path)?.with_context(|| format!("the vault key {} was taken away", path.display()))
        }
        Err(error) => Err(error).with_context(|| {
            format!("writing the vault key {}; another place can be set as key_file in [vault] of the settings", path.display())
        }),
    }
}

const HEADER: &str = "\
# The key of Ostler's vaults. Whoever has it and the database can read every stored secret; without it nobody can.
# Keep a copy apart from the backups of the data directory. The first line seals, all lines open.
";

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn the_first_start_makes_a_key_that_later_ones_find() {
        let dir = tempfile::tempdir().unwrap();
        let path = usual_file(&dir.path().join("data"));
        assert_eq!(path, dir.path().join("data.key"));
        let first = read(&VaultKey::File(path.clone())).unwrap();
        assert_eq!(std::fs::metadata(&path).unwrap().mode() & 0o777, 0o600);
        let again = read(&VaultKey::File(path.clone())).unwrap();
        assert_eq!(first.public(), again.public());
        let text = VaultKey::Text(crate::config::Secret::new(std::fs::read_to_string(&path).unwrap()));
        assert_eq!(read(&text).unwrap().public(), first.public());
        let command = VaultKey::Command(format!("cat {}", path.display()));
        assert_eq!(read(&command).unwrap().public(), first.public());
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1, "no draft is left");
    }

    #[test]
    fn other_keys_take_the_place_of_the_former_ones_whole() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("k");
        let first = read(&VaultKey::File(path.clone())).unwrap();
        let both = first.with_new(KeyPair::generate().unwrap());
        // What one left who was killed is no obstacle, and does not stay.
        std::fs::write(dir.path().join("k.next"), "half a ke").unwrap();
        replace(&path, &both).unwrap();
        assert_eq!(std::fs::metadata(&path).unwrap().mode() & 0o777, 0o600);
        assert_eq!(read(&VaultKey::File(path.clone())).unwrap().ids(), both.ids());
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1, "no draft is left");
        let one_line = both.to_text().trim().replace('\n', ",");
        assert_eq!(read(&VaultKey::Text(crate::config::Secret::new(one_line))).unwrap().ids(), both.ids());
        assert!(replace(&dir.path().join("none/k"), &both).unwrap_err().to_string().contains("new-key"));
    }

    #[test]
    fn a_key_that_others_read_a_link_and_a_damaged_one_are_refused() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("k");
        read(&VaultKey::File(path.clone())).unwrap();
        let said = |path: &Path| read(&VaultKey::File(path.to_owned())).unwrap_err().to_string();
        std::os::unix::fs::symlink(&path, dir.path().join("link")).unwrap();
        assert!(said(&dir.path().join("link")).contains("reading the vault key"));
        std::fs::set_permissions(&path, PermissionsExt::from_mode(0o640)).unwrap();
        assert!(said(&path).contains("chmod 600"));
        std::fs::set_permissions(&path, PermissionsExt::from_mode(0o600)).unwrap();
        std::fs::write(&path, "ostler-key-1 a b\n").unwrap();
        assert!(said(&path).contains("damaged"));
        assert!(read(&VaultKey::Command("exit 3".into())).unwrap_err().to_string().contains("ended with"));
        let late = printed("exec sleep 1000", |_| (), Duration::from_millis(50));
        assert!(late.unwrap_err().to_string().contains("was ended"));
        let silent = printed("exec >&-; exec sleep 1000", |_| (), Duration::from_millis(50));
        assert!(silent.unwrap_err().to_string().contains("was ended"));
    }
}
