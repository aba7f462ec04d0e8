//! Bytes that are nearly requests.

use ostler_testkit::fuzz::Chance;

use crate::broker::PLACEHOLDER;

/// What requests are made of. What is said twice is meant to be.
const LINES: [&str; 13] = [
    "GET / HTTP/1.1\r\n",
    "POST /p?k={placeholder} HTTP/1.1\r\n",
    "GET http://plain.test/x HTTP/1.1\r\n",
    "GET http://bad.test/x HTTP/1.1\r\n",
    "GET https://evil.test/ HTTP/1.1\r\n",
    "CONNECT api.test:443 HTTP/1.1\r\nHost: api.test:443\r\n\r\n",
    "CONNECT evil.test:443 HTTP/1.1\r\nHost: api.test:443\r\n\r\n",
    "CONNECT plain.test:80 HTTP/1.1\r\nHost: plain.test\r\n\r\nGET / HTTP/1.1\r\n",
    "HEAD //evil.test/ HTTP/1.0\r\n",
    "OPTIONS * HTTP/1.1\r\n",
    "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0",
    "\x16\x03\x01\x02\0\x01\0\x01\u{7f}",
    "GET /%2e%2e/\u{e9}?{placeholder} HTTP/1.1\r\n",
];
const HEADERS: [&str; 18] = [
    "Host: api.test\r\n",
    "Host: plain.test\r\n",
    "Host: evil.test\r\n",
    "Host: api.test@evil.test\r\n",
    "Content-Length: 5\r\n",
    "Content-Length: 05, 5\r\n",
    "Content-Length: 999999\r\n",
    "Transfer-Encoding: chunked\r\n",
    "Transfer-Encoding:\tchunked, identity\r\n",
    "X-Key: {placeholder}\r\n",
    "Authorization: Basic {placeholder}\r\n",
    "Connection: keep-alive, x-key, host\r\n",
    "Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Key: a\r\n",
    "Expect: 100-continue\r\n",
    "Range: bytes=0-1\r\n",
    " folded\r\n",
    "Proxy-Authorization: {placeholder}\r\n",
    "TE: trailers\r\n",
];
const BODIES: [&str; 7] = [
    "hello",
    "5\r\nhello\r\n0\r\n\r\n",
    "0\r\n\r\n",
    "5;a={placeholder}\r\nhello\r\n0\r\nX: y\r\n\r\n",
    "fffffffffffffffff\r\n",
    "\r\n",
    "",
];

/// Some requests, most of them with something wrong; `sound` is how one may begin.
pub(crate) fn requests(chance: &mut Chance, sound: &str) -> Vec<u8> {
    let mut text = String::new();
    for _ in 0..=chance.below(3) {
        text += if chance.below(2) == 0 { sound } else { *chance.one(&LINES[..]) };
        for _ in 0..chance.below(4) {
            text += *chance.one(&HEADERS[..]);
        }
        text += "\r\n";
        text += *chance.one(&BODIES[..]);
    }
    bent(chance, text.replace("{placeholder}", PLACEHOLDER).into_bytes())
}

/// The same with a few bytes changed, lost, added or said again.
pub(crate) fn bent(chance: &mut Chance, mut bytes: Vec<u8>) -> Vec<u8> {
    for _ in 0..chance.below(4) {
        if bytes.is_empty() {
            break;
        }
        let at = chance.below(bytes.len());
        match chance.below(6) {
            0 => bytes[at] = chance.byte(),
            1 => bytes.truncate(at),
            2 => drop(bytes.remove(at)),
            3 => bytes.insert(at, chance.byte()),
            4 => bytes.splice(at..at, **chance.one(&[b"\r\n", b"\n\n", b"\0\0", b": "])).for_each(drop),
            _ => {
                let end = (at + chance.below(64)).min(bytes.len());
                let again = bytes[at..end].to_vec();
                bytes.splice(at..at, again).for_each(drop);
            }
        }
    }
    bytes
}
