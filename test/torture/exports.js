// node exports.js URL NAME...: takes each database from the node at URL again and again, until standard input ends. The node compares what it reads with
// what it believes to have, and says so when that differs; what it answers here is of no account.
import { text } from 'node:stream/consumers'
import { setTimeout as delay } from 'node:timers/promises'

const [url, ...names] = process.argv.slice(2)
const PAUSE_MS = 500
const ANSWER_MS = 20_000

let ended = false
process.stdin.on('end', () => {
  ended = true
})
process.stdin.resume()

while (!ended) {
  for (const name of names) {
    const signal = AbortSignal.timeout(ANSWER_MS)
    // A node that is down, or not there yet.
    await fetch(`${url}/export?name=${name}`, { signal })
      .then(({ body }) => text(body))
      .catch(() => {})
  }
  await delay(PAUSE_MS)
}
process.exit(0)
