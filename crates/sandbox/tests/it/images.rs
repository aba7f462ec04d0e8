//! Images as the system of sandboxes: imported from archives that may be anything.

use std::fs::File;
use std::io::{Seek, Write};
use std::path::Path;

use ostler_sandbox::{SandboxSpec, Trusted};
use serde_json::json;
use sha2::{Digest, Sha256};

use crate::home::{Home, incarnation, session, sh};

fn sha256(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

/// A layer from directories, files and links.
struct Layer(tar::Builder<Vec<u8>>);

impl Layer {
    fn new() -> Self {
        Self(tar::Builder::new(Vec::new()))
    }

    fn header(name: &str, kind: tar::EntryType, mode: u32, size: usize) -> tar::Header {
        let mut header = tar::Header::new_gnu();
        header.as_mut_bytes()[..name.len()].copy_from_slice(name.as_bytes());
        header.set_entry_type(kind);
        header.set_mode(mode);
        header.set_size(size as u64);
        header.set_cksum();
        header
    }

    fn file(mut self, name: &str, mode: u32, bytes: &[u8]) -> Self {
        if name.len() < 100 {
            self.0.append(&Self::header(name, tar::EntryType::Regular, mode, bytes.len()), bytes).unwrap();
        } else {
            let mut header = Self::header("", tar::EntryType::Regular, mode, bytes.len());
            self.0.append_data(&mut header, name, bytes).unwrap();
        }
        self
    }

    fn other(mut self, name: &str, kind: tar::EntryType, link: &str) -> Self {
        let mut header = Self::header(name, kind, 0o755, 0);
        if !link.is_empty() {
            header.set_link_name_literal(link).unwrap();
        }
        header.set_cksum();
        self.0.append(&header, std::io::empty()).unwrap();
        self
    }

    /// A program of the host, with the libraries that it needs.
    fn program(mut self, path: &str) -> Self {
        let listed = std::process::Command::new("ldd").arg(path).output().unwrap();
        let listed = String::from_utf8(listed.stdout).unwrap();
        let libraries = listed.split_whitespace().filter(|word| word.starts_with('/'));
        for path in libraries.chain([path]).map(str::to_owned).collect::<Vec<_>>() {
            let name = path.trim_start_matches('/').replacen("lib/", "usr/lib/", usize::from(path.starts_with("/lib/")));
            let name = name.replacen("lib64/", "usr/lib64/", usize::from(path.starts_with("/lib64/")));
            self = self.file(&name, 0o755, &std::fs::read(Path::new(&path)).unwrap());
        }
        self
    }

    fn bytes(self) -> Vec<u8> {
        self.0.into_inner().unwrap()
    }
}

fn gzipped(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

/// An OCI image layout as one archive.
fn layout(layers: &[Vec<u8>], lie: bool) -> File {
    let mut blobs: Vec<(String, Vec<u8>)> = Vec::new();
    let mut descriptors = Vec::new();
    for layer in layers {
        let digest = sha256(layer);
        descriptors.push(
            json!({"mediaType": "application/vnd.oci.image.layer.v1.tar+gzip", "digest": format!("sha256:{digest}"), "size": layer.len()}),
        );
        blobs.push((digest, if lie { gzipped(b"something else") } else { layer.clone() }));
    }
    let architecture = if cfg!(target_arch = "aarch64") { "arm64" } else { "amd64" };
    let manifest = serde_json::to_vec(&json!({"schemaVersion": 2, "config": {}, "layers": descriptors})).unwrap();
    let digest = sha256(&manifest);
    let index = json!({"schemaVersion": 2, "manifests": [
        {"digest": "sha256:00", "platform": {"os": "windows", "architecture": architecture}},
        {"digest": format!("sha256:{digest}"), "platform": {"os": "linux", "architecture": architecture}},
    ]});
    blobs.push((digest, manifest));
    let mut archive = Layer::new().file("oci-layout", 0o644, b"{}").file("index.json", 0o644, &serde_json::to_vec(&index).unwrap());
    for (digest, bytes) in &blobs {
        archive = archive.file(&format!("blobs/sha256/{digest}"), 0o644, bytes);
    }
    file(&archive.bytes())
}

fn file(bytes: &[u8]) -> File {
    let mut file = tempfile::tempfile().unwrap();
    file.write_all(bytes).unwrap();
    file.rewind().unwrap();
    file
}

fn system() -> Layer {
    let links = ["bin", "lib", "lib64", "sbin"];
    let layer = links.iter().fold(Layer::new(), |layer, name| layer.other(name, tar::EntryType::Symlink, &format!("usr/{name}")));
    let layer = ["bash", "cat", "ls", "stat"].iter().fold(layer, |layer, name| layer.program(&format!("/usr/bin/{name}")));
    layer.file("etc/os-release", 0o600, b"NAME=Ours\n").file("etc/passwd", 0o644, b"root:x:0:0::/:/bin/sh\n")
}

#[tokio::test(flavor = "multi_thread")]
async fn an_image_is_the_system_of_a_sandbox() {
    let home = Home::new().await;
    let first = system().file("usr/bin/suid", 0o6755, b"x").file("etc/ld.so.preload", 0o644, b"/x.so").file("opt/gone", 0o644, b"x").file(
        "opt/old/a",
        0o644,
        b"x",
    );
    let first = first.other("dev/sda", tar::EntryType::Block, "").file("../../escaped", 0o644, b"x").file("data/a", 0o644, b"a");
    let second = Layer::new().file("opt/.wh.gone", 0o644, b"").file("opt/old/.wh..wh..opq", 0o644, b"").file("opt/old/b", 0o644, b"x");
    let second = second.other("data/b", tar::EntryType::Link, "data/a").file("lib/new", 0o644, b"through the link");
    let image = layout(&[gzipped(&first.bytes()), second.bytes()], false);
    let made = home.sandboxes.import_image("ours", image).await.unwrap();
    assert!(made.manifest.as_ref().is_some_and(|digest| digest.starts_with("sha256:")) && made.skipped == 3, "{made:?}");
    assert_eq!(home.sandboxes.list_images().unwrap(), [made]);
    assert!(home.sandboxes.list().await.unwrap().is_empty() && home.sandboxes.import_image("ours", file(b"")).await.is_err());
    let spec = SandboxSpec { image: Some("ours".into()), ..SandboxSpec::default() };
    let id = session();
    let inside = home.sandboxes.create(&id, &incarnation(), &spec).await.unwrap();
    let seen = sh(
        &inside,
        "cat /etc/os-release /data/b /usr/lib/new; echo; stat -c %a /usr/bin/suid; echo /opt/* /opt/old/* /usr/bin/*; ls -A /.image /dev/sda; \
         cat /etc/passwd; echo kept >file; : >/usr/x; true",
    );
    let seen = seen.await;
    assert!(seen.starts_with("NAME=Ours\nathrough the link\n755\n/opt/old /opt/old/b "), "{seen}");
    assert!(!seen.contains("python3") && seen.contains("agent:x:1000") && seen.contains("Read-only file system"), "{seen}");
    // Changed behind the server's back, it is refused by the next one.
    std::fs::write(home.path().join("images/ours/rootfs/data/a"), "b").unwrap();
    let next = home.server(2).await;
    let refused = next.create(&session(), &incarnation(), &spec).await.unwrap_err().to_string();
    assert!(refused.contains("not what was imported"), "{refused}");
    let missing = SandboxSpec { image: Some("none".into()), ..SandboxSpec::default() };
    let refused = next.create(&session(), &incarnation(), &missing).await.unwrap_err().to_string();
    assert!(refused.contains("ostler images import"), "{refused}");
    assert_eq!(sh(&inside, "cat file").await, "kept");
    next.remove_image("ours").await.unwrap();
    assert!(next.list_images().unwrap().is_empty() && next.remove_image("ours").await.is_err());
    home.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn programs_of_an_image_trust_whom_those_of_the_host_do() {
    let home = Home::new().await;
    let own = ["etc/ssl/certs/ca-certificates.crt", "opt/java/openjdk/lib/security/cacerts", "usr/lib/jvm/old/jre/lib/security/cacerts"];
    let image = own.into_iter().fold(system(), |layer, path| layer.file(path, 0o644, b"others")).other(
        "usr/lib/jvm/linked/lib/security/cacerts",
        tar::EntryType::Symlink,
        "/etc/passwd",
    );
    home.sandboxes.import_image("ours", layout(&[image.bytes()], false)).await.unwrap();
    home.sandboxes.trust(&Trusted { pem: "pem\n", java: b"jks\n" }).unwrap();
    let spec = SandboxSpec { image: Some("ours".into()), doors: true, ..SandboxSpec::default() };
    let inside = home.sandboxes.create(&session(), &incarnation(), &spec).await.unwrap();
    assert_eq!(sh(&inside, &format!("cat /{}", own.join(" /"))).await, "pem\njks\njks");
    assert!(
        sh(&inside, "cat /usr/lib/jvm/linked/lib/security/cacerts").await.contains("agent:x:1000"),
        "a link is not followed from outside"
    );
    home.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn archives_that_are_no_images_leave_nothing() {
    let home = Home::new().await;
    let lie = layout(&[gzipped(&system().bytes())], true);
    let error = home.sandboxes.import_image("lie", lie).await.unwrap_err().to_string();
    assert!(error.contains("the blob sha256:"), "{error}");
    // Where the host's root is still the root, a link would be followed into it.
    let link = Layer::new().other("etc", tar::EntryType::Symlink, "/").file("usr/x", 0o644, b"x").bytes();
    let error = home.sandboxes.import_image("link", file(&link)).await.unwrap_err().to_string();
    assert!(error.contains("/etc is no directory"), "{error}");
    assert!(home.sandboxes.import_image("noise", file(&[7; 3_000])).await.is_err());
    assert!(home.sandboxes.import_image("../x", file(b"")).await.unwrap_err().to_string().contains("no name"));
    // What docker save writes, and a plain file system.
    let without = home.sandboxes.import_image("without", file(&Layer::new().file("usr/x", 0o644, b"x").bytes())).await;
    assert!(without.unwrap_err().to_string().contains("no /bin/bash"));
    let inner = Layer::new().file("usr/bin/bash", 0o755, b"x").bytes();
    let saved = Layer::new().file("l/layer.tar", 0o644, &inner).file("manifest.json", 0o644, br#"[{"Layers": ["l/layer.tar"]}]"#);
    assert_eq!(home.sandboxes.import_image("saved", file(&saved.bytes())).await.unwrap().bytes, 1);
    assert_eq!(home.sandboxes.import_image("plain", file(&inner)).await.unwrap().bytes, 1);
    assert!(home.sandboxes.kept().await.unwrap().is_empty());
    home.end().await;
}
