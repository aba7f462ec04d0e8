"""Probes that somebody else wrote, run inside a session that reaches one host by way of egress. Not a part of the suite:
`.ci/probes` names the script in OSTLER_REDTEAM_SCRIPT, and in OSTLER_REDTEAM_ALLOWED what may be said besides PASS.
"""
import os
import pathlib

from conftest import descends, processes
from servers import wait_until

CANARY = "RTCANARY-00112233445566778899"
VERDICTS = ("PASS", "FAIL", "WARN", "SKIP", "ERROR")
GROUPS = ("^b-", "^n-", "^(?!b-|n-|x-)")
LEAST_PROBES = 60


def allowed():
    """What may be said besides PASS here."""
    lines = pathlib.Path(os.environ["OSTLER_REDTEAM_ALLOWED"]).read_text().splitlines()
    words = [line.split() for line in lines if not line.startswith("#")]
    return {(probe, verdict) for kind, probe, verdict, *_ in words if kind in ("egress", "all")}


def test_probes_are_contained(server, session, secret, hosts):
    script = pathlib.Path(os.environ["OSTLER_REDTEAM_SCRIPT"]).read_text()
    host = hosts["plain.test"]
    secret("TOKEN", CANARY, "plain.test")
    inside = session("plain.test")
    inside.result(inside.call("write", file_path="/workspace/probes.sh", content=script))
    assert inside.run("wc -c < /workspace/probes.sh").strip() == str(len(script.encode()))
    assert "host: plain.test" in inside.run("curl -sS http://plain.test/echo").lower()
    pids = [server.process.pid] + [pid for role in ("keeper", "worker") for pid in processes(role) if descends(pid, server.process.pid)]
    ports = [host.server_address[1], int(server.url.rpartition(":")[2])]
    settings = "RT_BROKER=127.0.0.1:3128 RT_ALLOWED_HOST=plain.test RT_DESTRUCTIVE=1 RT_PLANT=1 RT_RACE_S=1 RT_HOST_PORTS=%s RT_HOST_PIDS=%s" % (
        ",".join(map(str, ports)), ",".join(map(str, pids)))
    said, told = {}, ""
    for only in GROUPS:
        host.got.clear()
        printed = inside.run("%s RT_ONLY='%s' timeout 110 sh /workspace/probes.sh 2>&1" % (settings, only))
        told += printed
        for line in printed.splitlines():
            words = [word for word in line.split() if not word.startswith("(")]
            if len(words) > 1 and words[0] in VERDICTS:
                said[words[1]] = (words[0], line)
        if only == "^b-":
            got = list(host.got)
    for _, line in said.values():
        if not line.startswith("PASS"):
            print("egress: " + line)
    print("probes in egress: %s" % {verdict: len([1 for one, _ in said.values() if one == verdict]) for verdict in VERDICTS})
    accepted = allowed()
    wrong = [line for probe, (verdict, line) in said.items() if verdict != "PASS" and (probe, verdict) not in accepted]
    assert len(said) > LEAST_PROBES and not wrong, wrong
    assert CANARY not in told and CANARY not in str(got)
    # Of all that was tried with lengths and hosts, the one sound request arrived, and nothing inside another one. It says nothing to
    # egress or about whose it is: a sandbox is known by its connection.
    arrived = [one["headers"] for one in got]
    assert len(arrived) == 1 and got[0]["path"] == "/" and arrived[0]["host"] == "plain.test", got
    assert not {"proxy-authorization", "x-sandbox-id"} & set(arrived[0]), arrived
    # Names are answered inside, by nobody else.
    assert "8.8.8.8" not in said["n-dns"][1] and "1.1.1.1" not in said["n-dns"][1]
    wait_until("egress serves on", lambda: "host: plain.test" in inside.run("curl -sS -m 10 http://plain.test/echo").lower())
