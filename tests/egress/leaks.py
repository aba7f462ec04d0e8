"""Looks for secrets wherever a server and its helpers leave something."""
import base64
import json
import pathlib
import re
import urllib.parse
import zlib

from test_secrets import content, forms

UNPACKED_BYTES = 16 << 20
GZIP = re.compile(rb"\x1f\x8b\x08")


def every_form(value):
    """The forms in which a secret could lie about, halves of it among them."""
    plain = value.encode()
    more = [value.encode("utf-16-be"), plain[len(plain) // 2 - 2:], urllib.parse.quote_plus(value).encode(), json.dumps(value)[1:-1].encode()]
    more.append(urllib.parse.quote(value, safe="").lower().encode())
    for form in forms(value):
        more.append(form)
        more.append(form.replace(b"+", b"-").replace(b"/", b"_") if form != plain else form)
    return set(more)


def unpacked(data):
    """The bytes as they are, and each thing in them that was packed."""
    yield data
    if data[:1] == b"\x78":
        yield from packed(data, zlib.MAX_WBITS)
    for match in GZIP.finditer(data):
        yield from packed(data[match.start():match.start() + UNPACKED_BYTES], zlib.MAX_WBITS | 16)


def packed(data, bits):
    try:
        yield zlib.decompressobj(bits).decompress(data, UNPACKED_BYTES)
    except zlib.error:
        return


def places(server, pids, model, directories):
    """What is left: names and bytes of files, variables and arguments of processes, and what the model was told."""
    for directory in [server.work, *directories]:
        for path in directory.rglob("*"):
            # The vault key has to be somewhere; it is beside the data directory.
            if path.is_file() and not path.is_symlink() and path.name != "data.key":
                yield str(path), content(path)
    for pid in pids:
        for name in ("environ", "cmdline"):
            yield "/proc/%d/%s" % (pid, name), pathlib.Path("/proc/%d/%s" % (pid, name)).read_bytes()
    for request in model.requests():
        headers = {name: value for name, value in request["headers"].items() if name != "x-api-key"}
        yield "model", json.dumps([request["path"], headers, request["body"]], ensure_ascii=False).encode()


def found(values, where):
    """Names of secrets, and of the places where they are; `values` are secrets by name."""
    wanted = {name: every_form(value) for name, value in values.items()}
    hits = set()
    for place, data in where:
        for piece in unpacked(data):
            hits.update((name, place) for name, shapes in wanted.items() if any(shape in piece for shape in shapes))
    return hits
