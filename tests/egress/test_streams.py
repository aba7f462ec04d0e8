"""Connections that go on in both directions: calls over HTTP/2 as gRPC makes them, and WebSockets."""
SECRET = "a-secret-on-a-stream-3141592653"

# Each message waits for the answer to the one before it: who holds pieces back holds this up for ever.
CALL = """const call = require('http2').connect('https://streams.test').request({':method': 'POST', ':path': '/service/Call',
  'content-type': 'application/grpc', te: 'trailers', authorization: 'Bearer ' + process.env.TOKEN})
const messages = ['one', 'two', 'three']
const message = text => Buffer.concat([Buffer.from([0, 0, 0, 0, text.length]), Buffer.from(text)])
call.on('response', headers => console.log(headers[':status'], headers['content-type']))
call.on('data', data => { console.log(data.subarray(5).toString()); messages.length ? call.write(message(messages.shift())) : call.end() })
call.on('trailers', trailers => console.log('status', trailers['grpc-status'], trailers['seen']))
call.on('error', error => console.log(error.message))
call.on('close', () => process.exit())
call.write(message(messages.shift()))
"""
# By hand: a key, frames under a mask of zeros, and the short ones that come back.
WEBSOCKET = """import os, socket, ssl
stream = ssl.create_default_context().wrap_socket(socket.create_connection(("socket.test", 443)), server_hostname="socket.test")
stream.sendall(("GET / HTTP/1.1\\r\\nHost: socket.test\\r\\nUpgrade: websocket\\r\\nConnection: Upgrade\\r\\nSec-WebSocket-Version: 13\\r\\n"
                "Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\\r\\nAuthorization: Bearer %s\\r\\n\\r\\n" % os.environ["TOKEN"]).encode())
answer = stream.makefile("rb")
print(answer.readline().decode())
while answer.readline() != b"\\r\\n":
    pass
for said in (b"hello", b"secret"):
    stream.sendall(bytes([0x81, 0x80 | len(said)]) + bytes(4) + said)
    print(answer.read(answer.read(2)[1]).decode())
"""


def script(name, text, command):
    return "cat > %s <<'END'\n%sEND\n%s" % (name, text, command)


def test_calls_over_http2_go_on_in_both_directions(session, secret):
    secret("TOKEN", SECRET, "streams.test")
    inside = session("streams.test")
    placeholder = inside.run("printf %s $TOKEN")
    # Opened for the secret; what the host says of it comes back as the placeholder, in trailers too.
    printed = inside.run(script("call.js", CALL, "node call.js"))
    assert printed.split() == ["200", "application/grpc", "one", "two", "three", "status", "0", "Bearer", placeholder], printed


def test_calls_over_http2_to_hosts_that_nothing_is_opened_for(session):
    printed = session("streams.test").run(script("call.js", CALL, "TOKEN=mine node call.js"))
    assert printed.split() == ["200", "application/grpc", "one", "two", "three", "status", "0", "Bearer", "mine"], printed


def test_curl_speaks_http2_through_the_proxy(session, secret):
    secret("TOKEN", SECRET, "streams.test")
    printed = session("streams.test").run("curl -sS --http2 -w '%{http_version}' -d said -H \"authorization: $TOKEN\" https://streams.test/")
    assert printed == "said2", printed


def test_a_websocket_echoes_and_its_secret_is_not_told(session, secret):
    secret("TOKEN", SECRET, "socket.test")
    inside = session("socket.test")
    printed = inside.run(script("speak.py", WEBSOCKET, "python3 speak.py 2>&1")).split()
    assert printed[:2] == ["HTTP/1.1", "101"] and "hello" in printed, printed
    # As long as the secret: frames say how long they are before they say what.
    assert printed[-2:] == ["Bearer", "*" * len(SECRET)], printed
