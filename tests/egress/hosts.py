"""Hosts on this machine that sandboxes reach by names of their own, over TLS of an authority of the tests. Each keeps what it got."""
import contextlib
import functools
import http.server
import ssl
import threading
import time


class Handler(http.server.SimpleHTTPRequestHandler):
    """Files of a directory; what begins with a known word is answered by a function instead."""
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        self.server.begun.append(self.path.partition("?")[0])
        length = int(self.headers.get("content-length") or 0)
        body = self.rfile.read(length).decode(errors="replace")
        self.server.got.append({"path": self.path, "headers": {name.lower(): value for name, value in self.headers.items()}, "body": body})
        answer = self.server.answers.get(self.path.partition("?")[0].rstrip("/") or "/")
        if answer is None:
            return super().do_GET() if self.command == "GET" else self.send_error(404)
        answer(self)

    do_POST = do_PUT = do_GET

    def reply(self, body, status=200, **headers):
        body = body if isinstance(body, bytes) else body.encode()
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


def echo(handler):
    """Says back all that it was told."""
    got = handler.server.got[-1]
    handler.reply("%s\n%s\n%s\n" % (got["path"], "\n".join("%s: %s" % pair for pair in got["headers"].items()), got["body"]))


def drip(handler):
    """An answer in pieces, a piece each tenth of a second."""
    handler.send_response(200)
    handler.send_header("transfer-encoding", "chunked")
    handler.end_headers()
    with contextlib.suppress(OSError):
        for number in range(600):
            handler.wfile.write(b"5\r\n%04d\n\r\n" % number)
            handler.wfile.flush()
            time.sleep(0.1)


class Host(http.server.ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, authority, name, directory, tls=True):
        super().__init__(("127.0.0.1", 0), functools.partial(Handler, directory=str(directory)))
        # Requests as they begin, by their paths, and once they are whole.
        self.name, self.begun, self.got = name, [], []
        self.answers = {"/echo": echo, "/drip": drip, "/": echo}
        if tls:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            authority.issue_cert(name).configure_cert(context)
            self.socket = context.wrap_socket(self.socket, server_side=True, do_handshake_on_connect=False)
        threading.Thread(target=self.serve_forever, daemon=True).start()

    @property
    def address(self):
        return "127.0.0.1:%d" % self.server_address[1]

    def handle_error(self, *_):
        pass

    def last(self, path):
        """The last request for a path."""
        return [got for got in self.got if got["path"].partition("?")[0] == path][-1]
