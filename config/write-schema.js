// Writes litefs.schema.json from the compiled configuration schema: `npm run schema`.
import { writeFileSync } from 'node:fs'
import { configJsonSchema } from '../dist/config/json-schema.js'

writeFileSync(new URL('litefs.schema.json', import.meta.url), `${JSON.stringify(configJsonSchema(), null, 2)}\n`)
