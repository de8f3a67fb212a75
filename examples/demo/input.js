import { readdir, readFile } from 'node:fs/promises'
import path from 'node:path'
import { fileURLToPath } from 'node:url'

const root = fileURLToPath(new URL('../..', import.meta.url))

/**
 * The demo's real input: the text of this project, one note per line that holds anything.
 *
 * @returns {Promise<{ documents: Note[][], sources: Note[][] }>} notes per file
 * @typedef {{ title: string, body: string }} Note
 */
export async function readInput() {
  const entries = await readdir(root, { withFileTypes: true })
  const topLevel = entries.filter((entry) => entry.isFile() && /\.md$|^LICENSE$/.test(entry.name))
  const documents = [...topLevel.map(({ name }) => name), ...(await filesBelow('docs', '.md'))]
  const sources = await filesBelow('src', '.ts')
  return {
    documents: await Promise.all(documents.map(notesOf)),
    sources: await Promise.all(sources.map(notesOf)),
  }
}

async function filesBelow(folder, suffix) {
  const names = await readdir(path.join(root, folder), { recursive: true })
  return names
    .filter((name) => name.endsWith(suffix))
    .sort()
    .map((name) => path.join(folder, name))
}

async function notesOf(file) {
  const text = await readFile(path.join(root, file), 'utf8')
  const lines = text.split('\n').map((line, index) => ({ title: `${file}:${index + 1}`, body: line.trim() }))
  return lines.filter(({ body }) => body !== '')
}
