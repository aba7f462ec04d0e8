//! `/etc` of a sandbox: a few files of its own and, read-only, those of the host that programs need
//! and that hold no secret. Everything not named here does not exist inside.

use std::fs;
use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use super::{Trees, mounts, packages};
use crate::layout::{self, AGENT_ID};
use crate::spec::SandboxSpec;
use crate::{limits, sys};

/// What is our own, with the user that everything runs as.
pub(crate) fn own(uid: u32) -> [(&'static str, String); 5] {
    let nobody = "nobody:x:65534:65534:nobody:/nonexistent:/usr/sbin/nologin";
    [
        ("passwd", format!("root:x:0:0:root:/root:/usr/sbin/nologin\nagent:x:{uid}:{uid}:agent:/home/agent:/bin/bash\n{nobody}\n")),
        ("group", format!("root:x:0:\nagent:x:{uid}:\nnogroup:x:65534:\n")),
        ("nsswitch.conf", "passwd: files\ngroup: files\nhosts: files dns\n".into()),
        ("shells", "/bin/sh\n/bin/bash\n".into()),
        ("bash.bashrc", String::new()),
    ]
}

/// What a container engine has of its own as well.
const OF_THE_NETWORK: [(&str, &str); 3] =
    [("hosts", "127.0.0.1 localhost sandbox\n::1 localhost\n"), ("hostname", "sandbox\n"), ("resolv.conf", "")];

const OF_THE_HOST: [&str; 18] = [
    "ld.so.cache",
    "ld.so.conf",
    "ld.so.conf.d",
    "alternatives",
    "ssl/certs",
    "ssl/openssl.cnf",
    "ca-certificates",
    "ca-certificates.conf",
    "localtime",
    "timezone",
    "mime.types",
    "magic",
    "os-release",
    "debian_version",
    "terminfo",
    "perl",
    "protocols",
    "services",
];
/// Directories of language runtimes, whose names carry versions.
const OF_THE_HOST_BY_PREFIX: [&str; 2] = ["java-", "python3"];

pub(super) fn build(spec: &SandboxSpec, trees: &Trees) -> io::Result<()> {
    mounts::directory("etc")?;
    if trees.build.is_some() {
        packages::own_etc()?;
    }
    for (name, text) in own(AGENT_ID) {
        fs::write(Path::new("etc").join(name), text)?;
    }
    for (name, text) in OF_THE_NETWORK {
        fs::write(Path::new("etc").join(name), text)?;
    }
    if spec.doors {
        fs::write("etc/resolv.conf", "nameserver 127.0.0.1\n")?;
    }
    if trees.build.is_some() {
        packages::copy_etc(trees.system.is_some(), &of_the_host()?)?;
        // What is told to programs is enough here: a bundle that a package writes anew must not be held.
        return trees.trust.as_ref().map_or(Ok(()), named_trust);
    }
    if trees.packages.is_some() {
        packages::etc_of_layer()?;
    }
    if trees.system.is_some() { all_of_image() } else { some_of_host() }?;
    trees.trust.as_ref().map_or(Ok(()), trust)
}

/// Where programs look for the certificates that they trust, on the systems that there are.
const BUNDLES: [&str; 3] = ["etc/ssl/certs/ca-certificates.crt", "etc/pki/tls/certs/ca-bundle.crt", "etc/ssl/cert.pem"];

/// Where Java looks, on the systems that have it at one place.
const JAVA_BUNDLES: [&str; 2] = ["etc/ssl/certs/java/cacerts", "etc/pki/java/cacerts"];

/// Directories of installations of Java that may have it each by themselves.
const OF_JAVAS: [&str; 4] = ["usr/lib/jvm", "usr/java", "usr/local", "opt/java"];

/// In such an installation; the latter up to Java 8.
const OF_JAVA: [&str; 2] = ["lib/security/cacerts", "jre/lib/security/cacerts"];

/// Puts the certificates where programs are told of, and in the place of those that they would find by themselves.
fn trust(tree: &OwnedFd) -> io::Result<()> {
    named_trust(tree)?;
    // A link would be followed from here, where the host's root is still the root.
    let is_plain = |path: &Path| {
        let plain = |path: &Path| fs::symlink_metadata(path).is_ok_and(|meta| !meta.is_symlink());
        path.ancestors().filter(|path| !path.as_os_str().is_empty()).all(plain)
    };
    let javas = OF_JAVAS.into_iter().map(Path::new).filter(|path| is_plain(path)).filter_map(|path| fs::read_dir(path).ok());
    // Each is a mount; who has more has them for nothing.
    let of_java = javas.flatten().flatten().flat_map(|java| OF_JAVA.map(|name| java.path().join(name)));
    let of_java = of_java.filter(|path| is_plain(path) && path.is_file()).take(limits::JAVAS);
    let places = [
        (layout::TRUST_PEM, BUNDLES.map(PathBuf::from).to_vec()),
        (layout::TRUST_JAVA, JAVA_BUNDLES.into_iter().map(PathBuf::from).chain(of_java).collect()),
    ];
    for (name, bundles) in places {
        let from = Path::new(layout::TRUST_INSIDE).join(name);
        for bundle in bundles.into_iter().filter(|bundle| is_plain(bundle)) {
            mounts::bind(&from, &bundle, mounts::READ_ONLY)?;
        }
    }
    Ok(())
}

fn named_trust(tree: &OwnedFd) -> io::Result<()> {
    mounts::directory(layout::TRUST_INSIDE)?;
    sys::move_mount(tree, layout::TRUST_INSIDE.as_ref())
}

/// An image holds no secret of the host, so all of its files are there but those that are our own.
fn all_of_image() -> io::Result<()> {
    let image = Path::new(mounts::IMAGE).join("etc");
    // A link would be followed from here, where the host's root is still the root.
    if !fs::symlink_metadata(&image).is_ok_and(|meta| meta.is_dir()) {
        return Ok(());
    }
    for entry in fs::read_dir(&image).into_iter().flatten().flatten() {
        let (Ok(name), Ok(kind)) = (entry.file_name().into_string(), entry.file_type()) else { continue };
        let target = format!("etc/{name}");
        // Whatever is there counts, a link that leads nowhere too: its target is not looked at from here.
        if fs::symlink_metadata(&target).is_ok() {
            continue;
        }
        if kind.is_symlink() {
            std::os::unix::fs::symlink(fs::read_link(entry.path())?, target)?;
        } else if kind.is_dir() || kind.is_file() {
            mounts::bind_read_only(&entry.path(), &target)?;
        }
    }
    Ok(())
}

fn some_of_host() -> io::Result<()> {
    mounts::directory("etc/ssl")?;
    for name in of_the_host()? {
        // A layer of packages has its own.
        if fs::symlink_metadata(Path::new("etc").join(&name)).is_ok() {
            continue;
        }
        mounts::bind_read_only(&Path::new("/etc").join(&name), &format!("etc/{name}"))?;
    }
    Ok(())
}

/// The names of what is taken of the host, as far as it is there.
pub(crate) fn of_the_host() -> io::Result<Vec<String>> {
    let mut names: Vec<String> = OF_THE_HOST.map(str::to_owned).into();
    for entry in fs::read_dir("/etc")?.flatten() {
        if let Ok(name) = entry.file_name().into_string()
            && OF_THE_HOST_BY_PREFIX.iter().any(|prefix| name.starts_with(prefix))
        {
            names.push(name);
        }
    }
    Ok(names)
}
