/** A value of a document before its shape is known to be right; undefined where there is none. */
export function valueAt(values: unknown, ...path: string[]): unknown {
  return path.reduce<unknown>((value, key) => {
    return typeof value === 'object' && value !== null ? Object.getOwnPropertyDescriptor(value, key)?.value : undefined
  }, values)
}

/** As `valueAt`, empty where there is no text. */
export function textAt(values: unknown, ...path: string[]): string {
  const value = valueAt(values, ...path)
  return typeof value === 'string' ? value : ''
}
