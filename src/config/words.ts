/** A command line that cannot be split into words. */
export class CommandLineError extends Error {
  override readonly name = 'CommandLineError'
}

export interface CommandLine {
  words: string[]
  /** What follows an unquoted `;`, `&`, `|`, `<` or `>`: left out, since no shell is there to act on it. */
  ignored: string
}

/**
 * Splits a command line like the splitter LiteFS uses (mattn/go-shellwords): blanks separate, single quotes keep
 * everything, double quotes keep blanks, a backslash takes the next character as it is (`\n` and `\t` are the control
 * characters), and an unquoted shell operator ends the command. Variables are not looked at.
 * Throws CommandLineError for an open quote, a backslash at the end, or an unquoted backquote or parenthesis.
 */
export function splitWords(line: string): CommandLine {
  const words: string[] = []
  let word: string | undefined
  let quote: string | undefined
  const characters = Array.from(line)
  for (let i = 0; i < characters.length; i++) {
    const character = characters[i] ?? ''
    if (character === '\\' && quote !== "'") {
      const escaped = characters[++i]
      if (escaped === undefined) throw new CommandLineError(`Cannot split ${line}: nothing follows the last backslash`)
      word = (word ?? '') + unescaped(escaped)
    } else if (quote !== undefined) {
      if (character === quote) quote = undefined
      else word = (word ?? '') + character
    } else if (character === '"' || character === "'") {
      quote = character
      word ??= ''
    } else if (/[ \t\r\n]/.test(character)) {
      if (word !== undefined) words.push(word)
      word = undefined
    } else if (/[`()]/.test(character)) {
      throw new CommandLineError(`Cannot split ${line}: ${character} needs a shell; quote it, or use sh -c '...'`)
    } else if (/[;&|<>]/.test(character)) {
      // The file descriptor of a redirection belongs to the operator.
      if (character === '>' && word !== undefined && /^\d+$/.test(word)) word = undefined
      if (word !== undefined) words.push(word)
      return { words, ignored: characters.slice(i).join('') }
    } else {
      word = (word ?? '') + character
    }
  }
  if (quote !== undefined) throw new CommandLineError(`Cannot split ${line}: a ${quote} is never closed`)
  if (word !== undefined) words.push(word)
  return { words, ignored: '' }
}

function unescaped(character: string): string {
  if (character === 'n') return '\n'
  if (character === 't') return '\t'
  return character
}
