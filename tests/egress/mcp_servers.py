"""MCP servers: one of the official Python SDK over TLS that looks at tokens, and the official one of npm."""
import contextlib
import os
import pathlib
import signal
import socket
import subprocess
import threading

import uvicorn
from mcp.server.mcpserver import Context, MCPServer
from mcp.server.transport_security import TransportSecuritySettings
from servers import wait_until

ROOT = pathlib.Path(__file__).resolve().parents[2]


class Far:
    """A server with a few tools. `tokens`: who may ask; none: everybody."""

    def __init__(self, authority, directory, name="far.test"):
        self.tokens, self.asked, self.revisions, self.calls = None, [], set(), []
        self.slow = threading.Event()
        far = MCPServer(name="far", log_level="ERROR")

        @far.tool(description="Adds two numbers.")
        def add(a: int, b: int) -> int:
            self.calls.append("add")
            return a + b

        @far.tool(description="Says how it was asked.")
        def whoami(context: Context) -> str:
            return "you said %s" % self.asked[-1]

        @far.tool(description="Fails.")
        def fail() -> str:
            raise ValueError("it broke")

        security = TransportSecuritySettings(enable_dns_rebinding_protection=False)
        app = far.streamable_http_app(transport_security=security)

        async def guarded(scope, receive, send):
            if scope["type"] == "http":
                headers = {name.decode(): value.decode() for name, value in scope["headers"]}
                self.revisions.add(headers.get("mcp-protocol-version"))
                self.asked.append(headers.get("authorization"))
                token = (headers.get("authorization") or "").removeprefix("Bearer ")
                if self.tokens is not None and token not in self.tokens:
                    await send({"type": "http.response.start", "status": 401, "headers": [(b"www-authenticate", b"Bearer"), (b"content-type", b"text/plain")]})
                    return await send({"type": "http.response.body", "body": b"who are you, %s?" % token.encode()})
            await app(scope, receive, send)

        pem = directory / "far.pem"
        certificate = authority.issue_cert(name)
        pem.write_bytes(certificate.private_key_pem.bytes() + b"".join(blob.bytes() for blob in certificate.cert_chain_pems))
        self.listener = socket.socket()
        self.listener.bind(("127.0.0.1", 0))
        config = uvicorn.Config(guarded, ssl_certfile=str(pem), ssl_keyfile=str(pem), log_level="error", lifespan="on")
        self.server = uvicorn.Server(config)
        self.thread = threading.Thread(target=self.server.run, kwargs={"sockets": [self.listener]}, daemon=True)
        self.thread.start()
        wait_until("the MCP server listens", lambda: self.server.started)

    @property
    def address(self):
        return "127.0.0.1:%d" % self.listener.getsockname()[1]

    def stop(self):
        self.server.should_exit = True
        self.thread.join(20)


@contextlib.contextmanager
def everything():
    """The reference server of npm, without TLS; its address."""
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port = found.getsockname()[1]
    program = ROOT / "target/mcp/node_modules/@modelcontextprotocol/server-everything/dist/index.js"
    command = ["node", str(program), "streamableHttp"]
    process = subprocess.Popen(command, env={**os.environ, "PORT": str(port)}, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

    def listens():
        assert process.poll() is None, "the server of npm ended"
        with socket.socket() as tried:
            return tried.connect_ex(("127.0.0.1", port)) == 0
    try:
        wait_until("the server of npm listens", listens, 30)
        yield "127.0.0.1:%d" % port
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()
