export type Environment = Readonly<Record<string, string | undefined>>

export interface Expansion {
  text: string
  /** Maps an offset in `text` to the offset in the source; inside a replaced variable, to its dollar sign. */
  originOf(offset: number): number
}

/** A braced name or expression, `${}` and an unclosed `${` (both vanish), one special character, or a word. */
const VARIABLE = /\$(?:\{(?<braced>[^}]+)\}|\{\}|\{|(?<special>[*#$@!?\-0-9])|(?<word>[A-Za-z_]\w*))/g
const COMPARISON = /^(?<left>\w+)\s*(?<operator>==|!=)\s*(?:'(?<single>.*)'|"(?<double>.*)"|(?<right>\w+))$/

/**
 * Replaces variables the way LiteFS does, which is Go's os.Expand plus comparisons: `$NAME`, `${NAME}` (empty when
 * unset), `${A == 'text'}`, `${A != "text"}`, `${A == B}` (`true` or `false`). There is no escape for the dollar
 * sign: one that no name follows stays.
 */
export function expandEnvironment(source: string, env: Environment): Expansion {
  const pieces: { from: number; origin: number; replaced: boolean }[] = []
  let text = ''
  let end = 0
  for (const match of source.matchAll(VARIABLE)) {
    const { braced, special, word } = match.groups ?? {}
    pieces.push({ from: text.length, origin: end, replaced: false })
    text += source.slice(end, match.index)
    pieces.push({ from: text.length, origin: match.index, replaced: true })
    text += evaluate(braced ?? special ?? word ?? '', env)
    end = match.index + match[0].length
  }
  pieces.push({ from: text.length, origin: end, replaced: false })
  text += source.slice(end)

  return {
    text,
    originOf(offset) {
      const piece = pieces.findLast((candidate) => candidate.from <= offset)
      if (piece === undefined) return offset
      return piece.replaced ? piece.origin : piece.origin + offset - piece.from
    },
  }
}

function evaluate(braced: string, env: Environment): string {
  const expression = braced.trim()
  const groups = COMPARISON.exec(expression)?.groups
  if (groups === undefined) return env[expression] ?? ''
  const { left = '', operator, single, double, right = '' } = groups
  const equal = (env[left] ?? '') === (single ?? double ?? env[right] ?? '')
  return String(equal === (operator === '=='))
}
