import { z } from 'zod'
import { configSchema, execSchema, proxyDatabasesSchema } from './schema.js'

/** Everything a duration key takes, as far as a pattern can say. */
const DURATION_PATTERN = '^\\+?(0|((\\d+(\\.\\d*)?|\\.\\d+)(ns|us|µs|μs|ms|s|m|h))+)$'

/** The JSON Schema of litefs.yml for editors: what the file may contain, with defaults and descriptions. */
export function configJsonSchema(): object {
  const schema = z.toJSONSchema(configSchema, {
    io: 'input',
    override: ({ zodSchema, jsonSchema }) => {
      if (jsonSchema.maximum === Number.MAX_SAFE_INTEGER) delete jsonSchema.maximum
      if (zodSchema instanceof z.ZodPrefault && zodSchema.unwrap() instanceof z.ZodPipe) {
        jsonSchema.pattern = DURATION_PATTERN
      }
      if (zodSchema === execSchema || zodSchema === proxyDatabasesSchema) {
        const { description, default: initial, ...list } = jsonSchema
        for (const key of Object.keys(list)) delete jsonSchema[key]
        Object.assign(jsonSchema, { description, default: initial, anyOf: [{ type: 'string' }, list] })
      }
    },
  })
  return { title: 'litefs.yml', ...schema }
}
