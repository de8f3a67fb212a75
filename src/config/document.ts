import { isAlias, isMap, isScalar, isSeq, type Node, type Pair, parseDocument, type YAMLMap } from 'yaml'
import { z } from 'zod'
import { execSchema, proxyDatabasesSchema } from './schema.js'

/** Where a key and its value stand in the text (offsets), and the value in words. */
export interface Place {
  keyOffset: number
  valueOffset: number
  found: string
}

export interface ConfigDocument {
  /** What the parser could not read, in order of place. */
  syntaxErrors: { offset: number; message: string }[]
  /** The values as the schema takes them; sections that are absent are empty objects. */
  values: Record<string, unknown>
  /** By dotted path, only for what is in the text. */
  places: Map<string, Place>
}

type Schema = z.core.$ZodType

/**
 * Parses YAML and shapes it by the schema, with the leniency users of LiteFS know from Go's YAML: a key without value
 * counts as absent, a number where a text is due is that text as written, and `yes`/`no`/`on`/`off` are booleans.
 */
export function readDocument(text: string, schema: z.ZodObject): ConfigDocument {
  const document = parseDocument(text, { prettyErrors: false })
  const syntaxErrors = document.errors.map((error) => ({ offset: error.pos[0], message: error.message }))
  const places = new Map<string, Place>()
  const resolve = (node: unknown): unknown => (isAlias(node) ? node.resolve(document) : node)
  const shape = new Shaper(text, resolve, places)
  const root = resolve(document.contents)
  if (root !== null && !isMap(root)) {
    if (syntaxErrors.length === 0) syntaxErrors.push({ offset: 0, message: 'The file must be a mapping of keys' })
    return { syntaxErrors, values: {}, places }
  }
  return { syntaxErrors, values: shape.section(root ?? undefined, schema, ''), places }
}

class Shaper {
  readonly #text: string
  readonly #resolve: (node: unknown) => unknown
  readonly #places: Map<string, Place>

  constructor(text: string, resolve: (node: unknown) => unknown, places: Map<string, Place>) {
    this.#text = text
    this.#resolve = resolve
    this.#places = places
  }

  /** Depth is bounded by the schema, so an alias to its own parent ends here too. */
  section(map: YAMLMap | undefined, schema: z.ZodObject, path: string): Record<string, unknown> {
    const values: Record<string, unknown> = Object.create(null)
    for (const [key, child] of Object.entries(schema.shape)) {
      const bare = unwrap(child)
      if (child instanceof z.ZodOptional) continue
      if (bare instanceof z.ZodObject) values[key] = this.section(undefined, bare, join(path, key))
    }
    for (const pair of map?.items ?? []) {
      const key = this.#keyText(pair)
      const childPath = join(path, key)
      const node = this.#resolve(pair.value)
      const keyOffset = offsetOf(pair.key)
      this.#places.set(childPath, { keyOffset, valueOffset: offsetOf(pair.value, keyOffset), found: describe(node) })
      if (isEmpty(node) && Object.hasOwn(schema.shape, key)) continue
      values[key] = this.#value(node, Object.hasOwn(schema.shape, key) ? schema.shape[key] : undefined, childPath)
    }
    return values
  }

  #value(node: unknown, schema: Schema | undefined, path: string): unknown {
    const bare = schema && unwrap(schema)
    if (isMap(node)) return bare instanceof z.ZodObject ? this.section(node, bare, path) : {}
    if (isSeq(node)) return bare instanceof z.ZodArray ? this.#list(node.items, bare.element, path) : []
    if (!isScalar(node)) return null
    if (schema === execSchema && typeof node.value === 'string') return node.value === '' ? [] : [{ cmd: node.value }]
    if (schema === proxyDatabasesSchema) {
      const name = node.source ?? node.value
      return name === '' ? [] : [name]
    }
    if (bare instanceof z.ZodBoolean) return truth(node.value)
    if (bare instanceof z.ZodString || bare instanceof z.ZodEnum) return node.source ?? node.value
    return node.value
  }

  #list(items: readonly unknown[], schema: Schema, path: string): unknown[] {
    return items.map((item, index) => {
      const node = this.#resolve(item)
      const itemPath = join(path, String(index))
      const offset = offsetOf(item)
      this.#places.set(itemPath, { keyOffset: offset, valueOffset: offset, found: describe(node) })
      return this.#value(node, schema, itemPath)
    })
  }

  #keyText(pair: Pair): string {
    if (isScalar(pair.key)) return String(pair.key.source ?? pair.key.value)
    const [start, end] = rangeOf(pair.key) ?? [0, 0]
    return this.#text.slice(start, Math.min(end, start + 40))
  }
}

function unwrap(schema: Schema): Schema {
  if (schema instanceof z.ZodOptional) return unwrap(schema.unwrap())
  if (schema instanceof z.ZodPrefault) return unwrap(schema.unwrap())
  if (schema instanceof z.ZodPipe) return unwrap(schema.in)
  return schema
}

/** The keys the schema has in the section at `path` (list indexes included), none when there is no section. */
export function keysAt(schema: Schema, path: readonly string[]): string[] {
  let current: Schema | undefined = schema
  for (const key of path) {
    const bare: Schema | undefined = current && unwrap(current)
    if (bare instanceof z.ZodArray) current = bare.element
    else current = bare instanceof z.ZodObject ? bare.shape[key] : undefined
  }
  const section = current && unwrap(current)
  return section instanceof z.ZodObject ? Object.keys(section.shape) : []
}

export function join(path: string, key: string): string {
  return path === '' ? key : `${path}.${key}`
}

function isEmpty(node: unknown): boolean {
  return node === null || node === undefined || (isScalar(node) && node.value === null)
}

/** The words of YAML 1.1 that Go's parser still takes for a boolean; anything else is for the schema to judge. */
function truth(value: unknown): unknown {
  if (typeof value !== 'string') return value
  if (/^(y|Y|yes|Yes|YES|on|On|ON)$/.test(value)) return true
  if (/^(n|N|no|No|NO|off|Off|OFF)$/.test(value)) return false
  return value
}

function rangeOf(node: unknown): Node['range'] {
  return isMap(node) || isSeq(node) || isScalar(node) || isAlias(node) ? node.range : undefined
}

function offsetOf(node: unknown, otherwise = 0): number {
  return rangeOf(node)?.[0] ?? otherwise
}

function describe(node: unknown): string {
  if (isMap(node)) return 'a section'
  if (isSeq(node)) return 'a list'
  if (isEmpty(node) || !isScalar(node)) return 'nothing'
  const text = typeof node.value === 'string' ? JSON.stringify(node.value) : String(node.source ?? node.value)
  return text.length > 60 ? `${text.slice(0, 60)}...` : text
}
