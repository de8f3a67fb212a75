/** Keys and sections that are read and checked but have no effect yet. Shorten this when a feature arrives. */
const UNBUILT = ['strict-verify', 'backup.cluster', 'backup.auth-token']

/** Of the key paths that are in the file, those without effect, in the file's order. Sections themselves are left out. */
export function unbuiltKeys(paths: Iterable<string>): string[] {
  const used = [...paths].filter((path) => UNBUILT.some((key) => path === key || path.startsWith(`${key}.`)))
  const leaves = used.filter((path) => !used.some((other) => other.startsWith(`${path}.`)))
  return [...new Set(leaves.map((path) => path.replace(/\.\d+$/, '')))]
}
