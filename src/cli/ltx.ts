import { existsSync, statSync } from 'node:fs'
import { basename } from 'node:path'
import { Command } from 'commander'
import { listLtxDirectory } from '../db/ltx-directory.js'
import { nameOf, withLtxFile } from '../db/ltx-file.js'
import { rebuildDatabase } from '../db/ltx-rebuild.js'
import { checkChain } from '../ltx/chain.js'
import { LtxError } from '../ltx/error.js'
import { formatPosition, formatTxid, parseLtxName } from '../ltx/names.js'
import { dumpFile } from './ltx-dump.js'
import { mergeFiles } from './ltx-merge.js'
import { fileAsJson, type ListedFile, printTable } from './ltx-print.js'

interface Argument {
  path: string
  files: string[]
  isDirectory: boolean
}

/** `litefs ltx list|dump|verify|apply|merge`. A bad file is reported on stderr and sets the exit code 1; it never throws. */
export function ltxCommand(): Command {
  const command = new Command('ltx').description('read, check, apply and merge LTX files')
  command
    .command('list')
    .description('list files with what their headers and trailers say; checks each')
    .argument('<path...>', 'LTX files or directories of them')
    .option('--json', 'print JSON')
    .action((paths: string[], options: { json?: true }) => reported(() => list(paths, options.json === true)))
  command
    .command('dump')
    .description('print header, pages and trailer of one file')
    .argument('<file>', 'LTX file')
    .option('--data', 'with the bytes of every page')
    .option('--json', 'print JSON')
    .action((path: string, options: { json?: true; data?: true }) =>
      reported(() => reading(path, () => dumpFile(path, { json: options.json === true, data: options.data === true }))),
    )
  command
    .command('verify')
    .description('check files; of a directory also that they follow each other')
    .argument('<path...>', 'LTX files or directories of them')
    .option('--json', 'print JSON')
    .action((paths: string[], options: { json?: true }) => reported(() => verify(paths, options.json === true)))
  command
    .command('apply')
    .description('apply files to a database, or build it from its first transaction on')
    .argument('<path...>', 'LTX files in order, or a directory of them')
    .requiredOption('-o, --output <path>', 'database file; must exist unless the files start at TXID 1')
    .option('--json', 'print JSON')
    .action((paths: string[], options: { json?: true; output: string }) =>
      reported(() => apply(paths, options.output, options.json === true)),
    )
  command
    .command('merge')
    .description('make one file of consecutive ones, or convert one')
    .argument('<path...>', 'LTX files in order, or a directory of them')
    .requiredOption('-o, --output <path>', 'file to write, or a directory to put it in under its TXIDs')
    .option('--v1', 'write version 1, which LiteFS reads')
    .option('--no-compress', 'do not compress pages')
    .option('--json', 'print JSON')
    .action((paths: string[], options: { json?: true; v1?: true; compress: boolean; output: string }) =>
      reported(() => {
        const files = paths.flatMap((argument) => expand(argument).files)
        const version = options.v1 === true ? 1 : 3
        const merge = { version, compress: options.compress, json: options.json === true } as const
        return mergeFiles(files, options.output, merge).catch((error: Error) => {
          throw inWords(`merge LTX files to ${options.output}`, error)
        })
      }),
    )
  return command
}

function list(paths: string[], json: boolean): void {
  const found: ListedFile[] = []
  for (const path of paths.flatMap((argument) => expand(argument).files)) {
    const file = verified(path)
    if (file instanceof Error) fail(file)
    else found.push(file)
  }
  if (json) print(JSON.stringify(found.map(fileAsJson), undefined, 2))
  else printTable(found)
}

function verify(paths: string[], json: boolean): void {
  const errors: Error[] = []
  let count = 0
  for (const argument of paths.map(expand)) {
    const good: ListedFile[] = []
    for (const path of argument.files) {
      const file = verified(path)
      if (file instanceof Error) errors.push(file)
      else good.push(file)
    }
    count += argument.files.length
    if (argument.isDirectory && good.length === argument.files.length) errors.push(...chainErrors(argument.path, good))
  }
  if (json) {
    const messages = errors.map((error) => error.message)
    print(JSON.stringify({ ok: errors.length === 0, files: count, errors: messages }, undefined, 2))
  } else if (errors.length === 0) {
    print(`ok: ${count} ${count === 1 ? 'file' : 'files'}`)
  }
  for (const error of errors) fail(error)
}

async function apply(paths: string[], output: string, json: boolean): Promise<void> {
  for (const suffix of ['-wal', '-journal']) {
    if (existsSync(output + suffix) && statSync(output + suffix).size > 0) {
      throw new LtxError(`Cannot apply LTX files to ${output}: ${output}${suffix} would be taken for its own`)
    }
  }
  const files = paths.flatMap((argument) => expand(argument).files)
  const result = await rebuildDatabase(output, files, existsSync(output) ? output : undefined).catch((error: Error) => {
    throw inWords(`apply LTX files to ${output}`, error)
  })
  const { pageSize, pageCount, position } = result
  if (json) {
    const txid = formatTxid(position.txid)
    const checksum = formatTxid(position.checksum)
    print(JSON.stringify({ path: output, files: files.length, pageSize, pageCount, txid, checksum }, undefined, 2))
  } else {
    const what = `${files.length} ${files.length === 1 ? 'file' : 'files'}`
    print(`${output}: ${what} applied, ${pageCount} pages of ${pageSize} bytes, at ${formatPosition(position)}`)
  }
}

/** The files that an argument names. A directory without LTX files is an error: it is most likely the wrong one. */
function expand(path: string): Argument {
  if (!reading(path, () => statSync(path)).isDirectory()) return { path, files: [path], isDirectory: false }
  const files = reading(path, () => listLtxDirectory(path)).map((entry) => entry.path)
  if (files.length === 0) throw new LtxError(`Cannot read LTX files: there are none in ${path}`)
  return { path, files, isDirectory: true }
}

function verified(path: string): ListedFile | Error {
  try {
    const file = reading(path, () =>
      withLtxFile(path, {}, (decoder) => {
        const trailer = decoder.verify()
        const { header, version, pageCount } = decoder
        return { path, header, trailer, version, pageCount, size: decoder.size }
      }),
    )
    const named = parseLtxName(basename(path))
    if (named && nameOf(file.header) !== basename(path)) {
      return new LtxError(`${path}: Invalid LTX header: its TXIDs make the name ${nameOf(file.header)}`)
    }
    return file
  } catch (error) {
    if (error instanceof Error) return error
    throw error
  }
}

function chainErrors(directory: string, files: ListedFile[]): Error[] {
  try {
    checkChain(files)
    return []
  } catch (error) {
    if (error instanceof LtxError) return [new LtxError(`${directory}: ${error.message}`, { cause: error })]
    throw error
  }
}

function reading<T>(path: string, read: () => T): T {
  try {
    return read()
  } catch (error) {
    throw error instanceof Error ? inWords(`read ${path}`, error) : error
  }
}

/** An error of the file system says which call failed; this says for what. Others speak for themselves. */
function inWords(what: string, error: Error): Error {
  return 'syscall' in error ? new Error(`Cannot ${what}: ${error.message}`, { cause: error }) : error
}

async function reported(action: () => void | Promise<void>): Promise<void> {
  try {
    await action()
  } catch (error) {
    if (!(error instanceof Error)) throw error
    fail(error)
  }
}

function fail(error: Error): void {
  process.stderr.write(`${error.message}\n`)
  process.exitCode = 1
}

function print(line: string): void {
  process.stdout.write(`${line}\n`)
}
