/**
 * LiteFS takes its options in the style of Go's flag package. Rewrites them for a parser of the GNU style:
 * `-config x` becomes `--config x`, and a switch (`switches` has their names without dashes) may be given as
 * `-debug=true` or `-debug=false`. Single letters (`-h`) stay. `args` must end before `--`.
 */
export function fromGoFlags(args: readonly string[], switches: ReadonlySet<string>): string[] {
  return args.flatMap((arg) => {
    const long = /^-[A-Za-z][^=]/.test(arg) ? `-${arg}` : arg
    const [, name = '', value = ''] = /^--([^=]+)=(.*)$/.exec(long) ?? []
    if (!switches.has(name)) return [long]
    if (/^(1|t|T|true|TRUE|True)$/.test(value)) return [`--${name}`]
    if (/^(0|f|F|false|FALSE|False)$/.test(value)) return []
    return [long]
  })
}

/** Splits at the first `--`; `tail` is undefined when there is none. */
export function splitAtDashes(args: readonly string[]): { head: string[]; tail: string[] | undefined } {
  const index = args.indexOf('--')
  if (index === -1) return { head: [...args], tail: undefined }
  return { head: args.slice(0, index), tail: args.slice(index + 1) }
}
