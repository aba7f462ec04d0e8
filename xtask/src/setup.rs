//! What the tests need beyond Rust: a few Debian packages, a Python environment with the official
//! SDK, the node packages of the TypeScript examples and the linters of the API's description below
//! `target/`, cargo-deny among cargo's programs.

use std::path::PathBuf;

use anyhow::{Context, bail};

use crate::run::{output, program, root, run, say};

/// Programs that tests start, and the Debian package of each.
const PROGRAMS: [(&str, &str); 11] = [
    ("bash", "bash"),
    ("script", "bsdutils"),
    ("python3", "python3"),
    ("curl", "curl"),
    ("git", "git"),
    ("cc", "build-essential"),
    ("node", "nodejs"),
    ("npm", "npm"),
    ("javac", "default-jdk-headless"),
    ("mkfs.ext4", "e2fsprogs"),
    ("ipcmk", "util-linux"),
];

/// What is only of use to root: a container engine. `docker.io` brings runc.
const OF_ROOT: [(&str, &str); 1] = [("dockerd", "docker.io")];

/// The Python packages that black-box tests use.
const PYTHON: [&str; 6] = ["anthropic==2.11.0", "pytest==8.4.2", "trustme==1.2.1", "mcp==2.3.0", "uvicorn==0.54.0", "websockets==17.4"];

/// Other people's model servers, and what the tests need beside them. llama.cpp is built from source,
/// which takes some minutes once.
const SERVERS: [&str; 6] =
    ["anthropic==2.11.0", "pytest==8.4.2", "gguf==0.19.0", "numpy==2.4.6", "llama-cpp-python[server]==0.3.36", "litellm[proxy]==1.106.2"];

/// What generates requests from the description of the API.
const OPENAPI: [&str; 1] = ["schemathesis==4.32.5"];

/// The version of cargo-deny that the checked-in `deny.toml` is written for.
const DENY: &str = "0.20.2";

/// Installs all of it; quick when it is there.
pub(crate) fn all() -> anyhow::Result<()> {
    packages()?;
    venv("venv", &PYTHON)?;
    NODE.install()?;
    MCP.install()?;
    venv("servers", &SERVERS)?;
    venv("openapi", &OPENAPI)?;
    LINTERS.install()?;
    deny()
}

fn has(name: &str) -> bool {
    output(program("sh", &["-c", &format!("PATH=$PATH:/usr/sbin:/sbin command -v {name}")])).is_some()
}

pub(crate) fn is_root() -> bool {
    output(program("id", &["-u"])).is_some_and(|id| id.trim() == "0")
}

fn packages() -> anyhow::Result<()> {
    let of_root = OF_ROOT.iter().filter(|_| is_root());
    let mut missing: Vec<&str> = PROGRAMS.iter().chain(of_root).filter(|(name, _)| !has(name)).map(|(_, package)| *package).collect();
    if output(program("python3", &["-c", "import venv, ensurepip"])).is_none() {
        missing.push("python3-venv");
    }
    if missing.is_empty() {
        return Ok(());
    }
    if !is_root() || !has("apt-get") {
        bail!(
            "these packages are missing: {}; install them, on Debian with: sudo apt-get install {}",
            missing.join(", "),
            missing.join(" ")
        );
    }
    run(program("apt-get", &["update", "-q"]))?;
    let mut args = vec!["install", "-y", "-q", "--no-install-recommends"];
    args.extend(missing);
    run(program("apt-get", &args))
}

/// The Python of one of the tests' environments.
///
/// # Errors
/// When it is not installed.
pub(crate) fn python_of(name: &str) -> anyhow::Result<PathBuf> {
    let python = root().join("target").join(name).join("bin/python");
    if !python.exists() {
        bail!("the Python environment target/{name} is not installed; `cargo xtask setup` installs it");
    }
    Ok(python)
}

fn venv(name: &str, packages: &[&str]) -> anyhow::Result<()> {
    let venv = root().join("target").join(name);
    let stamp = venv.join("installed");
    let wanted = packages.join("\n");
    if std::fs::read_to_string(&stamp).is_ok_and(|text| text == wanted) {
        return Ok(());
    }
    let path = venv.to_str().context("the workspace's path is not UTF-8")?;
    run(program("python3", &["-m", "venv", "--clear", path]))?;
    let python = python_of(name)?;
    let python = python.to_str().context("the workspace's path is not UTF-8")?;
    let mut args = vec!["-m", "pip", "install", "--quiet", "--disable-pip-version-check"];
    args.extend(packages);
    say(&format!("installing target/{name}"));
    let mut install = program(python, &args);
    // For every processor, so that what was built once can be kept.
    install.env("CMAKE_ARGS", "-DGGML_NATIVE=OFF");
    run(install)?;
    std::fs::write(&stamp, wanted).context("writing the stamp of the Python environment")
}

/// The node packages of the TypeScript examples.
pub(crate) const NODE: NodePackages = NodePackages { name: "node", folder: "examples/typescript" };
/// MCP servers of other people.
pub(crate) const MCP: NodePackages = NodePackages { name: "mcp", folder: "tests/egress/node" };
/// The linters of the API's description; their versions are those that run on Debian's Node.js 18.
pub(crate) const LINTERS: NodePackages = NodePackages { name: "linters", folder: "tests/openapi" };

/// Node packages below `target/`, as the lock file of a folder wants them.
pub(crate) struct NodePackages {
    name: &'static str,
    folder: &'static str,
}

impl NodePackages {
    /// Where they are.
    ///
    /// # Errors
    /// When they are not installed as the lock file wants them.
    pub(crate) fn installed(&self) -> anyhow::Result<PathBuf> {
        if !self.are_there()? {
            bail!("the node packages in target/{} are missing or old; `cargo xtask setup` installs them", self.name);
        }
        Ok(self.place())
    }

    fn place(&self) -> PathBuf {
        root().join("target").join(self.name)
    }

    fn lock(&self) -> anyhow::Result<String> {
        let path = root().join(self.folder).join("package-lock.json");
        std::fs::read_to_string(&path).with_context(|| format!("reading {}", path.display()))
    }

    fn are_there(&self) -> anyhow::Result<bool> {
        let wanted = self.lock()?;
        Ok(std::fs::read_to_string(self.place().join("installed")).is_ok_and(|text| text == wanted))
    }

    fn install(&self) -> anyhow::Result<()> {
        if self.are_there()? {
            return Ok(());
        }
        let place = self.place();
        std::fs::create_dir_all(&place).with_context(|| format!("making {}", place.display()))?;
        for name in ["package.json", "package-lock.json"] {
            let from = root().join(self.folder).join(name);
            std::fs::copy(&from, place.join(name)).with_context(|| format!("copying {}", from.display()))?;
        }
        say(&format!("installing target/{}", self.name));
        let mut install = program("npm", &["ci", "--ignore-scripts", "--no-audit", "--no-fund", "--loglevel", "error"]);
        install.current_dir(&place);
        run(install)?;
        std::fs::write(place.join("installed"), self.lock()?).with_context(|| format!("writing the stamp in {}", place.display()))
    }
}

fn deny() -> anyhow::Result<()> {
    if output(program("cargo", &["deny", "--version"])).is_some() {
        return Ok(());
    }
    say("installing cargo-deny; this takes some minutes once");
    run(program("cargo", &["install", "--quiet", "--locked", "--version", DENY, "cargo-deny"]))
}
