// The application behind the proxy: a small answer, as fast as node:http gives one. Says its port.
import http from 'node:http'

const server = http.createServer((request, response) => {
  request.resume()
  response.end('hello, world\n')
})
server.listen(0, '127.0.0.1', () => process.send(server.address().port))
process.on('disconnect', () => process.exit())
