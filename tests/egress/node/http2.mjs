// A host that speaks HTTP/2 alone. Prints its port. usage: node http2.mjs KEY_AND_CERTIFICATES
import { readFileSync } from 'node:fs'
import { createSecureServer } from 'node:http2'

const pem = readFileSync(process.argv[2])
const server = createSecureServer({ key: pem, cert: pem })
server.on('stream', (stream, headers) => {
  stream.respond({ ':status': 200, 'content-type': headers['content-type'] ?? 'text/plain' }, { waitForTrailers: true })
  stream.on('wantTrailers', () => stream.sendTrailers({ 'grpc-status': '0', seen: headers.authorization ?? 'nobody' }))
  stream.on('data', (data) => stream.write(data))
  stream.on('end', () => stream.end())
  stream.on('error', () => {})
})
server.listen(0, '127.0.0.1', () => console.log(server.address().port))
