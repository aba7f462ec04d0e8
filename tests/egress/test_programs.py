"""Programs that know no proxy, or that have certificates of their own."""
import hashlib
import io
import json
import pathlib
import subprocess
import tarfile

SECRET = "a-secret-that-programs-send-2718281828"
JAVA = """import java.net.*;
class Asks {
    public static void main(String[] hosts) throws Exception {
        for (String host : hosts) {
            HttpURLConnection open = (HttpURLConnection) URI.create(host).toURL().openConnection(Proxy.NO_PROXY);
            open.setRequestProperty("Authorization", System.getenv().getOrDefault("TOKEN", "none"));
            java.io.InputStream answer = open.getResponseCode() < 400 ? open.getInputStream() : open.getErrorStream();
            System.out.println(open.getResponseCode() + " " + new String(answer.readAllBytes()));
        }
    }
}
"""
NODE = """const https = require('https')
const agent = new https.Agent()
https.get(process.argv[1], {agent, headers: {authorization: process.env.TOKEN}}, answer => answer.pipe(process.stdout))"""


def test_java_trusts_what_everybody_trusts(session, secret, hosts):
    secret("TOKEN", SECRET, "api.test")
    inside = session("api.test", "other.test", "plain.test")
    inside.run("cat > Asks.java <<'END'\n%sEND\n" % JAVA)
    printed = inside.run("java Asks.java https://api.test/echo?opened https://other.test/echo?passed http://plain.test/echo?plain https://evil.test/ 2>&1")
    for answer in ("200 /echo?opened", "200 /echo?passed", "200 /echo?plain", "403 "):
        assert answer in printed, (answer, printed)
    assert hosts["api.test"].last("/echo")["headers"]["authorization"] == SECRET and SECRET not in printed
    assert hosts["other.test"].last("/echo")["headers"]["authorization"].startswith("ostler_")
    # Its own tool finds the file sound, with the password that such files have by custom.
    assert "contains" in inside.run("keytool -list -cacerts -storepass changeit 2>&1 | head -n 5")


def test_node_without_the_variables_of_the_proxy(session, secret, hosts):
    secret("TOKEN", SECRET, "api.test")
    inside = session("api.test")
    variables = "-u NODE_USE_ENV_PROXY -u https_proxy -u HTTPS_PROXY -u http_proxy -u HTTP_PROXY"
    printed = inside.run("cat > asks.js <<'END'\n%s\nEND\nenv %s node asks.js https://api.test/echo?node" % (NODE.replace("argv[1]", "argv[2]"), variables))
    assert "/echo?node" in printed and SECRET not in printed, printed
    assert hosts["api.test"].last("/echo")["headers"]["authorization"] == SECRET


def test_cargo_takes_a_crate_from_a_registry(session, hosts):
    packed = io.BytesIO()
    manifest = '[package]\nname = "told"\nversion = "1.0.0"\nedition = "2021"\n'
    with tarfile.open(fileobj=packed, mode="w:gz") as archive:
        for name, text in (("Cargo.toml", manifest), ("src/lib.rs", 'pub const WORD: &str = "vendored";\n')):
            entry = tarfile.TarInfo("told-1.0.0/" + name)
            entry.size = len(text)
            archive.addfile(entry, io.BytesIO(text.encode()))
    crate = packed.getvalue()
    files = pathlib.Path(hosts["crates.test"].RequestHandlerClass.keywords["directory"])
    described = {"name": "told", "vers": "1.0.0", "deps": [], "features": {}, "yanked": False, "cksum": hashlib.sha256(crate).hexdigest()}
    for path, content in (("config.json", b'{"dl": "https://crates.test/{crate}.crate"}'), ("to/ld/told", json.dumps(described).encode()), ("told.crate", crate)):
        (files / path).parent.mkdir(parents=True, exist_ok=True)
        (files / path).write_bytes(content)
    # Where it is installed is not there inside.
    toolchain = subprocess.run(["rustc", "--print", "sysroot"], check=True, capture_output=True, text=True).stdout.strip()
    (files / "cargo").write_bytes(pathlib.Path(toolchain, "bin", "cargo").read_bytes())
    printed = session("crates.test").run("""curl -sSO https://crates.test/cargo && chmod +x cargo && mkdir -p a/src a/.cargo && cd a && touch src/lib.rs
cat > Cargo.toml <<'END'
[package]
name = "a"
version = "0.1.0"
edition = "2021"
[dependencies]
told = "1"
END
cat > .cargo/config.toml <<'END'
[source.crates-io]
replace-with = "local"
[source.local]
registry = "sparse+https://crates.test/"
END
../cargo vendor -q --respect-source-config 2>&1; cat vendor/told/src/lib.rs""")
    assert "vendored" in printed, printed
