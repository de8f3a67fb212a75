// Ports of the loopback address for servers of tests, of which several files run at a time.
import { createServer, type ListenOptions } from 'node:net'

/** Where Linux takes no ports from for outgoing connections, one of which would have it before the server that it is meant for. */
const OWN_PORTS = { from: 12_000, to: 32_000 }

/** A port of 127.0.0.1 that is free, and that no other test is given as long as this process runs. */
export async function freePort(): Promise<number> {
  for (;;) {
    const port = OWN_PORTS.from + Math.floor(Math.random() * (OWN_PORTS.to - OWN_PORTS.from))
    if (!(await claim(port))) continue
    const close = await listening({ port, host: '127.0.0.1' })
    if (close === undefined) continue
    await close()
    return port
  }
}

export async function freePorts(count: number): Promise<number[]> {
  return await Promise.all(Array.from({ length: count }, () => freePort()))
}

/** Takes a name that only one process can have, and that goes with the process; false when another test has it, or this one has had it. */
async function claim(port: number): Promise<boolean> {
  return (await listening({ path: `\0litefs-test-port-${port}` })) !== undefined
}

/** Undefined when somebody listens there already; else how to end it. */
function listening(where: ListenOptions): Promise<(() => Promise<void>) | undefined> {
  const server = createServer().unref()
  return new Promise((resolve, reject) => {
    server.once('error', (error: NodeJS.ErrnoException) => {
      if (error.code === 'EADDRINUSE') resolve(undefined)
      else reject(error)
    })
    server.listen(where, () => resolve(() => new Promise((closed) => server.close(() => closed()))))
  })
}
