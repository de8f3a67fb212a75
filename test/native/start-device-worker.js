// tsx gives its hooks to processes, not to their threads.
import { register } from 'tsx/esm/api'

register()
await import('./device-worker.ts')
