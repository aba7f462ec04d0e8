//! `/etc` of a sandbox: a few files of its own and, read-only, those of the host that programs need
//! and that hold no secret. Everything not named here does not exist inside.

use std::fs;
use std::io;
use std::path::Path;

use super::mounts;

const OWN: [(&str, &str); 8] = [
    (
        "passwd",
        "root:x:0:0:root:/root:/usr/sbin/nologin\nagent:x:1000:1000:agent:/home/agent:/bin/bash\nnobody:x:65534:65534:nobody:/nonexistent:/usr/sbin/nologin\n",
    ),
    ("group", "root:x:0:\nagent:x:1000:\nnogroup:x:65534:\n"),
    ("hosts", "127.0.0.1 localhost sandbox\n::1 localhost\n"),
    ("hostname", "sandbox\n"),
    ("nsswitch.conf", "passwd: files\ngroup: files\nhosts: files dns\n"),
    ("resolv.conf", ""),
    ("shells", "/bin/sh\n/bin/bash\n"),
    ("bash.bashrc", ""),
];

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

pub(super) fn build() -> io::Result<()> {
    mounts::directory("etc/ssl")?;
    for (name, text) in OWN {
        fs::write(Path::new("etc").join(name), text)?;
    }
    let mut names: Vec<String> = OF_THE_HOST.map(str::to_owned).into();
    for entry in fs::read_dir("/etc")?.flatten() {
        if let Ok(name) = entry.file_name().into_string()
            && OF_THE_HOST_BY_PREFIX.iter().any(|prefix| name.starts_with(prefix))
        {
            names.push(name);
        }
    }
    for name in names {
        mounts::bind_read_only(&Path::new("/etc").join(&name), &format!("etc/{name}"))?;
    }
    Ok(())
}
