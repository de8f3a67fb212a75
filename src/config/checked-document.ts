import type { z } from 'zod'
import { type ConfigDocument, readDocument } from './document.js'
import type { Expansion } from './expand.js'
import { ConfigError } from './problems.js'
import { Report } from './report.js'

/** The text of a configuration file, as it stands there and with its variables expanded. `file` is only for messages. */
export interface ConfigText {
  readonly source: string
  readonly file: string
  readonly expansion: Expansion
}

/** More openings in a row than any configuration has: the YAML parser recurses, and Node dies of that instead of throwing. */
const TOO_DEEP = /(?:[[{]\s*|[-?]\s+){100}/

/** What a text says by a schema, and what is wrong with it by that alone. Throws ConfigError where it is no YAML. */
export function checkedDocument(
  { source, file, expansion }: ConfigText,
  schema: z.ZodObject,
): { document: ConfigDocument; report: Report } {
  const document = parsed(expansion.text, file, schema)
  const report = new Report(source, file, expansion, document, schema)
  for (const { offset, message } of document.syntaxErrors) report.syntax(offset, message)
  // A text that is not YAML has no keys worth judging; a key given twice is.
  const readable = document.syntaxErrors.every(({ message }) => message.startsWith('Map keys must be unique'))
  if (!readable) report.throwIfAny()
  for (const issue of schema.safeParse(document.values).error?.issues ?? []) report.issue(issue)
  return { document, report }
}

function parsed(text: string, file: string, schema: z.ZodObject): ConfigDocument {
  if (TOO_DEEP.test(text)) throw new ConfigError(`Cannot parse ${file}: it is nested too deeply`, [])
  try {
    return readDocument(text, schema)
  } catch (cause) {
    if (!(cause instanceof RangeError)) throw cause
    throw new ConfigError(`Cannot parse ${file}: it is nested too deeply`, [], { cause })
  }
}
