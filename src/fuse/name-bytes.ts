/**
 * Names and link targets are bytes to the kernel and text to us. A byte that is no part of UTF-8 becomes a character of Unicode's private
 * use area, U+F700 + byte, and that character becomes the byte again: so such names keep their bytes in the mount, and are Unicode on the
 * disk, in LTX streams and in URLs. A name that has one of these characters to begin with is listed with bytes in their place.
 */
const ESCAPE = 0xf700
const FIRST_ESCAPED = 0x80

const utf8 = new TextEncoder()
const strictUtf8 = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true })
const escaped = /[\uf780-\uf7ff]/

/** The text of a name in any encoding. */
export function decodeName(bytes: Uint8Array): string {
  try {
    return strictUtf8.decode(bytes)
  } catch {
    return decodeMixed(bytes)
  }
}

/** The bytes of which `decodeName` made this text. */
export function encodeName(text: string): Uint8Array {
  if (!escaped.test(text)) return utf8.encode(text)
  const parts = Array.from(text, (character) =>
    escaped.test(character) ? Uint8Array.of(character.charCodeAt(0) - ESCAPE) : utf8.encode(character),
  )
  return Buffer.concat(parts)
}

function decodeMixed(bytes: Uint8Array): string {
  let text = ''
  for (let at = 0; at < bytes.length; ) {
    const character = characterAt(bytes, at)
    text += character ?? String.fromCharCode(ESCAPE + (bytes[at] ?? FIRST_ESCAPED))
    at += character === undefined ? 1 : utf8.encode(character).length
  }
  return text
}

/** The character that begins there; undefined where none does. */
function characterAt(bytes: Uint8Array, at: number): string | undefined {
  const lead = bytes[at] ?? 0
  const length = lead < FIRST_ESCAPED ? 1 : lead < 0xe0 ? 2 : lead < 0xf0 ? 3 : 4
  try {
    return strictUtf8.decode(bytes.subarray(at, at + length))
  } catch {
    return undefined
  }
}
