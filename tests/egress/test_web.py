"""web_fetch and web_search, with pages and a search engine of this machine. Sandboxes themselves reach nothing here."""
import json
import zlib

import pytest
from hosts import drip
from servers import ROOT

PDF = (ROOT / "crates/sandbox/src/tools/page/page.pdf").read_bytes()
GIB = 1 << 30


def fetch(inside, url, **more):
    return inside.result(inside.call("web_fetch", url=url, **more))


def search(inside, query):
    return inside.result(inside.call("web_search", query=query))


def bomb():
    packer = zlib.compressobj(1, wbits=31)
    zeros = bytes(1 << 20)
    return b"".join([*(packer.compress(zeros) for _ in range(GIB >> 20)), packer.flush()])


@pytest.fixture(scope="module")
def pages(hosts):
    packed = bomb()
    hosts["api.test"].answers.update({
        "/page": lambda handler: handler.reply("<title>A page</title><h1>Otters</h1><script>bad()</script><p>They <b>swim</b>.", content_type="text/html", set_cookie="a=b"),
        "/paper": lambda handler: handler.reply(PDF, content_type="application/pdf"),
        "/data": lambda handler: handler.reply('{"otters": 2}', content_type="application/json"),
        "/image": lambda handler: handler.reply(b"\x89PNG\r\n\x1a\n", content_type="image/png"),
        "/broken": lambda handler: handler.reply(PDF[:100], content_type="application/pdf"),
        "/missing": lambda handler: handler.reply("no", 404),
        "/near": lambda handler: handler.reply("", 302, location="/page"),
        "/far": lambda handler: handler.reply("", 302, location="https://evil.test/echo"),
        "/inside": lambda handler: handler.reply("", 302, location="http://169.254.169.254/latest/meta-data"),
        "/file": lambda handler: handler.reply("", 302, location="file:///etc/passwd"),
        "/round": lambda handler: handler.reply("", 302, location="/round"),
        "/bomb": lambda handler: handler.reply(packed, content_type="text/html", content_encoding="gzip"),
        "/long": lambda handler: handler.reply("0123456789" * 50_000, content_type="text/plain"),
        "/drip": drip,
    })


def test_pages_papers_and_data_become_text(session, hosts, pages):
    inside = session("other.test")
    assert fetch(inside, "https://api.test/page") == "URL: https://api.test/page\nTitle: A page\n\n# Otters\n\nThey **swim**."
    assert "Hello from a PDF" in fetch(inside, "https://api.test/paper")
    assert fetch(inside, "https://api.test/data#part") == 'URL: https://api.test/data\n\n{"otters": 2}'
    assert fetch(inside, "https://api.test/near").startswith("URL: https://api.test/page\n")
    assert "host: plain.test" in fetch(inside, "http://plain.test/echo").lower()
    # One fetch knows nothing of the one before, and says nothing of the session.
    fetch(inside, "https://api.test/echo")
    assert sorted(hosts["api.test"].last("/echo")["headers"]) == ["accept", "accept-encoding", "host", "user-agent"]
    # Too much for the model is in a file of the sandbox, which the policy of the sandbox never let out.
    long = fetch(inside, "https://api.test/long")
    assert "the full output is in " in long and len(long) < 100_000
    assert inside.run("wc -c < %s" % long.rsplit("the full output is in ")[-1].rstrip("]\n")).strip() == str(500_000 + len("URL: https://api.test/long\n\n"))
    assert "403" in inside.run("curl -sS -m 10 https://api.test/page")


def test_what_cannot_be_fetched_says_why(session, pages):
    inside = session()
    slow = session()
    before = slow.call("web_fetch", url="https://api.test/drip")
    for url, why in [
        ("https://api.test/missing", "url_not_accessible: api.test answered 404"),
        ("https://api.test/image", "unsupported_content_type"),
        ("https://api.test/broken", "PDF"),
        ("https://api.test/bomb", "too large"),
        ("https://api.test/round", "redirects"),
        ("https://api.test/inside", "url_not_allowed: 169.254.169.254 is not on the public internet"),
        ("https://api.test/file", "url_not_allowed: only http and https"),
        ("http://169.254.169.254/latest/meta-data", "url_not_allowed"),
        ("http://127.0.0.1/", "url_not_allowed"),
        ("http://0x7f.1/", "url_not_allowed"),
        ("http://localhost/", "url_not_allowed: localhost is not on the public internet"),
        ("http://[::ffff:10.0.0.1]/", "url_not_allowed"),
        ("https://1.1.1.1:22/", "ports 80 and 443"),
        ("https://me:word@api.test/", "url_not_allowed"),
        ("file:///etc/passwd", "url_not_allowed"),
        ("otters", "invalid_input"),
    ]:
        assert why in fetch(inside, url), url
    assert inside.run("echo alive") == "alive\n"
    assert "did not answer within 30 seconds" in slow.result(before)


def test_domains_hold_for_redirects_too(session, hosts, pages):
    before = len(hosts["evil.test"].got)
    only = session(configs=[{"name": "web_fetch", "allowed_domains": ["api.test"], "max_content_tokens": 10}])
    assert "[truncated: these are the first 40 of" in fetch(only, "https://api.test/long")
    for url in ("https://evil.test/echo", "https://api.test/far", "https://api.test.evil.test/", "http://127.0.0.1/"):
        assert fetch(only, url).startswith("url_not_allowed"), url
    but = session(configs=[{"name": "web_fetch", "blocked_domains": ["evil.test"]}])
    for url in ("https://EVIL.test./echo", "https://api.test/far", "https://www.evil.test/"):
        assert fetch(but, url).startswith("url_not_allowed"), url
    assert "Otters" in fetch(but, "https://api.test/page")
    assert len(hosts["evil.test"].got) == before


def test_only_what_was_shown_is_fetched_where_that_is_asked(session, hosts, pages):
    # The user's message is the script, in which the address stands.
    told = session(configs=[{"name": "web_fetch", "url_sources": {}}])
    assert "Otters" in fetch(told, "https://api.test/page")
    inside = session(configs=[{"name": "web_fetch", "url_sources": {"user_input": "none"}}])
    assert fetch(inside, "https://api.test/page").startswith("url_not_allowed: only addresses that appeared")
    results = {"results": [{"title": "T", "url": "https://api.test/page", "content": ""}]}
    hosts["search.test"].answers["/search"] = lambda handler: handler.reply(json.dumps(results), content_type="application/json")
    search(inside, "otters")
    assert "Otters" in fetch(inside, "https://api.test/page")


def test_a_placeholder_stays_one(session, secret, hosts, pages):
    secret("TOKEN", "sk-never-in-a-page-0123456789", "api.test")
    inside = session("api.test")
    placeholder = inside.run("printf %s $TOKEN")
    assert placeholder.startswith("ostler_")
    fetch(inside, "https://api.test/echo?k=%s" % placeholder)
    assert hosts["api.test"].last("/echo")["path"] == "/echo?k=" + placeholder


def test_searches_show_what_the_agent_may_see_and_are_counted(client, server, session, hosts):
    found = [{"title": "On <strong>otters</strong>", "url": "https://api.test/page", "content": "They\nswim", "publishedDate": "2026-01-02"},
             {"title": "Ads", "url": "https://ads.evil.test/x", "content": "buy"}, {"title": "No page", "url": "javascript:alert(1)"}]
    engine = hosts["search.test"]
    engine.answers["/search"] = lambda handler: handler.reply(json.dumps({"results": found}), content_type="application/json")
    inside = session(configs=[{"name": "web_search", "blocked_domains": ["evil.test"]}])
    assert search(inside, "sea otters") == "1. On otters\n   https://api.test/page\n   2026-01-02\n   They swim"
    assert engine.last("/search")["path"] == "/search?q=sea+otters+-site%3Aevil.test&format=json"
    assert search(inside, " ").startswith("invalid_input")
    engine.answers["/search"] = lambda handler: handler.reply("busy", 429)
    assert search(inside, "x").startswith("too_many_requests")
    engine.answers["/search"] = lambda handler: handler.reply("<html>")
    assert "cannot be read" in search(inside, "x")
    usage = client.beta.sessions.retrieve(inside.id).usage.server_tool_use
    assert (usage.web_search_requests, usage.web_fetch_requests) == (1, 0)
    # Nothing of this needed a sandbox.
    assert not list(server.data.glob("sandboxes/%s*" % inside.id))
