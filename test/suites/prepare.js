// Fetches and builds SQLite's test program and does no more. It needs no package of npm's, so that .ci/run can have it run beside `npm ci`.
import { killAll } from './child.js'
import { buildTestfixture } from './debian.js'

for (const name of ['SIGINT', 'SIGTERM', 'SIGHUP']) process.once(name, killAll)
await buildTestfixture()
