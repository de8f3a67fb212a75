import { existsSync, statSync } from 'node:fs'
import { basename } from 'node:path'
import { Command, Option } from 'commander'
import { isStorageUrl, LEVELS } from '../backup/replica-layout.js'
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

interface FilesOptions {
  readonly level: string
  readonly json?: true
  readonly config?: string
  readonly expandEnv: boolean
}

/** `litefs ltx list|dump|verify|apply|merge`. A bad file is reported on stderr and sets the exit code 1; it never throws. */
export function ltxCommand(): Command {
  const command = new Command('ltx').description('read, check, apply and merge LTX files')
  command.addCommand(filesCommand(), { isDefault: true, hidden: true })
  command.addHelpText(
    'after',
    '\nlitefs ltx [--level 0..9|all] [--json] [--config PATH] DB|URL lists the files of a backup, of level 0 unless told otherwise.',
  )
  command
    .command('list')
    .description(
      'list files with what their headers and trailers say, and check each; of a backup only what its storage says',
    )
    .argument('<path|url...>', 'LTX files, directories of them, or the URL of a backup')
    .option('--json', 'print JSON')
    .action((paths: string[], options: { json?: true }) => reported(() => list(paths, options.json === true)))
  command
    .command('dump')
    .description('print header, pages and trailer of one file')
    .argument('<file|url>', 'LTX file, or the URL of one in a backup')
    .option('--data', 'with the bytes of every page')
    .option('--json', 'print JSON')
    .action((path: string, options: { json?: true; data?: true }) =>
      reported(() => dump(path, { json: options.json === true, data: options.data === true })),
    )
  command
    .command('verify')
    .description('check files; of a directory or a backup also that they follow each other, and what they lead to')
    .argument('<path|url...>', 'LTX files, directories of them, or the URL of a backup')
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

/** `litefs ltx DB|URL`, as Litestream has it. */
function filesCommand(): Command {
  return new Command('files')
    .argument('<db|url>', 'database of the configuration file, or URL of its backup')
    .addOption(new Option('--level <level>', 'level of the files').choices([...LEVELS.map(String), 'all']).default('0'))
    .option('--json', 'print JSON')
    .option('--config <path>', 'configuration file, for the name of a database')
    .option('--no-expand-env', 'leave environment variables in the configuration file alone')
    .action((source: string, { level, json, config, expandEnv }: FilesOptions) =>
      reported(async () => {
        const { listBackup } = await import('./ltx-backup.js')
        const lookUp = config === undefined ? { expandEnv } : { config, expandEnv }
        await listBackup(source, lookUp, { level: level === 'all' ? undefined : Number(level), json: json === true })
      }),
    )
}

async function list(paths: string[], json: boolean): Promise<void> {
  const urls = paths.filter(isStorageUrl)
  if (urls.length === 0) return listFiles(paths, json)
  if (paths.length > 1) throw new LtxError('Cannot list: a backup is listed by itself')
  const { listBackup } = await import('./ltx-backup.js')
  for (const url of urls) await listBackup(url, { expandEnv: true }, { level: undefined, json })
}

async function dump(path: string, options: { json: boolean; data: boolean }): Promise<void> {
  if (!isStorageUrl(path)) return reading(path, () => dumpFile(path, options))
  const { dumpOfBackup } = await import('./ltx-backup.js')
  await dumpOfBackup(path, options)
}

function listFiles(paths: string[], json: boolean): void {
  const found: ListedFile[] = []
  for (const path of paths.flatMap((argument) => expand(argument).files)) {
    const file = verified(path)
    if (file instanceof Error) fail(file)
    else found.push(file)
  }
  if (json) print(JSON.stringify(found.map(fileAsJson), undefined, 2))
  else printTable(found)
}

async function verify(paths: string[], json: boolean): Promise<void> {
  const errors: Error[] = []
  const leads: string[] = []
  let count = 0
  for (const url of paths.filter(isStorageUrl)) {
    const { verifyBackupOf } = await import('./ltx-backup.js')
    const verdict = await verifyBackupOf(url)
    errors.push(...verdict.errors)
    count += verdict.fileCount
    leads.push(verdict.summary)
  }
  for (const argument of paths.filter((path) => !isStorageUrl(path)).map(expand)) {
    const good: ListedFile[] = []
    for (const path of argument.files) {
      const file = verified(path)
      if (file instanceof Error) errors.push(file)
      else good.push(file)
    }
    count += argument.files.length
    if (!argument.isDirectory || good.length !== argument.files.length) continue
    const broken = chainErrors(argument.path, good)
    errors.push(...broken)
    if (broken.length === 0) leads.push(...leadOf(good))
  }
  if (json) {
    const messages = errors.map((error) => error.message)
    print(JSON.stringify({ ok: errors.length === 0, files: count, leads, errors: messages }, undefined, 2))
  } else if (errors.length === 0) {
    print([`ok: ${count} ${count === 1 ? 'file' : 'files'}`, ...leads].join('; '))
  } else if (leads.length > 0) {
    print(leads.join('; '))
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

/** From where to where a directory's files lead. */
function leadOf(files: readonly ListedFile[]): string[] {
  const [first] = files
  const last = files.at(-1)
  if (first === undefined || last === undefined) return []
  const { minTxid } = first.header
  const from = minTxid === 1n ? 'the beginning' : `TXID ${formatTxid(minTxid - 1n)}`
  return [`the chain leads from ${from} to TXID ${formatTxid(last.header.maxTxid)}`]
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
