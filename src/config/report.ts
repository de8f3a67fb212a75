import type { z } from 'zod'
import { type ConfigDocument, join, keysAt } from './document.js'
import type { Expansion } from './expand.js'
import { ConfigError, nearest, type Problem } from './problems.js'

/** Collects problems with their places in the file as the user wrote it, before variables were expanded. */
export class Report {
  readonly #source: string
  readonly #file: string
  readonly #expansion: Expansion
  readonly #document: ConfigDocument
  readonly #schema: z.core.$ZodType
  readonly #problems: Problem[] = []

  constructor(source: string, file: string, expansion: Expansion, document: ConfigDocument, schema: z.core.$ZodType) {
    this.#source = source
    this.#file = file
    this.#expansion = expansion
    this.#document = document
    this.#schema = schema
  }

  syntax(offset: number, message: string): void {
    this.#add(offset, '', message)
  }

  /** A problem of the value at `key`, or of the section around it when the key is absent. */
  key(key: string, message: string): void {
    this.#add(this.#offsetOf(key), key, message)
  }

  /** A problem found by the schema: its message says what is allowed. */
  issue(issue: z.core.$ZodIssue): void {
    const path = issue.path.map(String)
    const key = path.join('.')
    if (issue.code === 'unrecognized_keys') {
      for (const unknown of issue.keys) this.#unknownKey(path, unknown)
      return
    }
    const place = this.#document.places.get(key)
    this.key(key, `found ${place?.found ?? 'nothing'}, allowed: ${issue.message}`)
  }

  /** `FILE:LINE:COLUMN` of a key's value. */
  placeOf(key: string): string {
    const { line, column } = this.#position(this.#offsetOf(key))
    return `${this.#file}:${line}:${column}`
  }

  throwIfAny(): void {
    if (this.#problems.length === 0) return
    const sorted = this.#problems.toSorted((a, b) => a.line - b.line || a.column - b.column)
    throw new ConfigError(
      `Cannot use ${this.#file}: ${sorted.length} ${sorted.length === 1 ? 'problem' : 'problems'}`,
      sorted,
    )
  }

  #unknownKey(section: readonly string[], unknown: string): void {
    const key = join(section.join('.'), unknown)
    const known = keysAt(this.#schema, section)
    const meant = nearest(unknown, known)
    const hint = meant === undefined ? '' : `did you mean "${meant}"? `
    const offset = this.#document.places.get(key)?.keyOffset ?? this.#offsetOf(key)
    // The value stays out of the message: under a misspelt key it may be a token.
    this.#add(offset, key, `found an unknown key, ${hint}allowed: ${known.join(', ')}`)
  }

  #offsetOf(key: string): number {
    for (let path = key; path !== ''; path = path.slice(0, Math.max(0, path.lastIndexOf('.')))) {
      const place = this.#document.places.get(path)
      if (place !== undefined) return path === key ? place.valueOffset : place.keyOffset
    }
    return 0
  }

  #position(offset: number): { line: number; column: number } {
    const before = this.#source.slice(0, this.#expansion.originOf(offset))
    return { line: before.split('\n').length, column: before.length - before.lastIndexOf('\n') }
  }

  #add(offset: number, key: string, message: string): void {
    this.#problems.push({ file: this.#file, ...this.#position(offset), key, message })
  }
}
