"""Hosts that talk while they listen: HTTP/2 in Node, a WebSocket in Python. Each says in the stream which authorization it got."""
import contextlib
import pathlib
import ssl
import subprocess
import threading

from websockets.exceptions import ConnectionClosed
from websockets.sync.server import serve

HERE = pathlib.Path(__file__).parent


@contextlib.contextmanager
def http2(authority, name, place):
    """Answers each message of a call with it, and ends with trailers; its address."""
    certificate = authority.issue_cert(name)
    pem = certificate.private_key_and_cert_chain_pem
    pem.write_to_path(str(place / "host.pem"))
    process = subprocess.Popen(["node", str(HERE / "node" / "http2.mjs"), str(place / "host.pem")], stdout=subprocess.PIPE, text=True)
    try:
        yield "127.0.0.1:%d" % int(process.stdout.readline())
    finally:
        process.kill()
        process.wait()


@contextlib.contextmanager
def websocket(authority, name):
    """Says back what it hears, and who spoke where it hears `secret`; its address."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert(name).configure_cert(context)

    def converse(connection):
        with contextlib.suppress(ConnectionClosed):
            for message in connection:
                connection.send(connection.request.headers["authorization"] if message == "secret" else message)
    server = serve(converse, "127.0.0.1", 0, ssl=context, compression=None)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield "127.0.0.1:%d" % server.socket.getsockname()[1]
    finally:
        server.shutdown()
