// A disk that knows what a power cut would leave: it looks on while the code under test changes a directory, and tells what was synced.
import fs, { type PathLike } from 'node:fs'
import { createRequire, syncBuiltinESMExports } from 'node:module'
import path from 'node:path'
import { fileURLToPath } from 'node:url'

const SECTOR_SIZE = 512

/** A file's content: `bytes` and then zeros up to `size`. */
interface Image {
  bytes: Buffer
  size: number
}

type Change = { readonly offset: number; readonly data: Buffer } | { readonly size: number }

interface Inode {
  readonly durable: Image
  /** Changes since the last sync, oldest first. */
  pending: Change[]
}

type Node = Inode | 'directory'

interface NameChange {
  /** Directories whose sync makes it durable. */
  readonly dirs: readonly string[]
  apply(names: Map<string, Node>): void
}

interface Open {
  readonly file: string
  readonly node: Node
  position: number
}

/** What becomes of changes that were not synced. `killed`: all stay, only the process died. `lost`: none. A function: a number below its argument. */
export type Fate = 'killed' | 'lost' | ((below: number) => number)

interface FileToWrite {
  path: string
  via: string
  data: Uint8Array
}

interface Addon {
  writeFiles(files: FileToWrite[], withdrawn: Uint32Array): Promise<number[]>
  writeFile(file: FileToWrite): number
  syncFileSystem(fd: number): Promise<void>
  allocate(fd: number, offset: number, length: number): void
}

const require = createRequire(import.meta.url)
const addon: Addon = require('node-gyp-build')(fileURLToPath(new URL('../..', import.meta.url)))
const real = { ...fs }
const realAddon = { ...addon }

/** Watches one directory; only one at a time can be watched. What is there at first counts as durable. */
export class WatchedDisk {
  readonly #root: string
  readonly #before: () => void
  readonly #durable = new Map<string, Node>()
  readonly #current = new Map<string, Node>()
  #pendingNames: NameChange[] = []
  readonly #open = new Map<number, Open>()
  readonly #functions: object

  /** `before` is called before each change and each sync. */
  constructor(root: string, before: () => void) {
    this.#root = root
    this.#before = before
    this.#load(root)
    this.#functions = this.#fileFunctions()
    Object.assign(fs, this.#functions)
    Object.assign(addon, this.#addonFunctions())
    syncBuiltinESMExports()
  }

  /** Ends the watch. */
  stop(): void {
    for (const name of Object.keys(this.#functions)) Object.assign(fs, { [name]: Reflect.get(real, name) })
    Object.assign(addon, realAddon)
    syncBuiltinESMExports()
  }

  /** Makes `target` what the directory would be if the machine stopped now. */
  crash(target: string, fate: Fate): void {
    real.rmSync(target, { recursive: true, force: true })
    real.mkdirSync(target)
    const names = new Map(this.#durable)
    const kept = fate === 'killed' ? Infinity : fate === 'lost' ? 0 : fate(this.#pendingNames.length + 1)
    for (const change of this.#pendingNames.slice(0, kept)) change.apply(names)
    for (const name of [...names.keys()].sort()) {
      const node = names.get(name)
      const file = path.join(target, path.relative(this.#root, name))
      if (!real.existsSync(path.dirname(file))) continue
      if (node === 'directory') real.mkdirSync(file)
      else if (node !== undefined) put(file, left(node, fate))
    }
  }

  #load(dir: string): void {
    for (const entry of real.readdirSync(dir, { withFileTypes: true })) {
      const file = path.join(dir, entry.name)
      const node: Node = entry.isDirectory() ? 'directory' : { durable: read(file), pending: [] }
      this.#durable.set(file, node)
      this.#current.set(file, node)
      if (entry.isDirectory()) this.#load(file)
    }
  }

  #has(file: PathLike): file is string {
    return typeof file === 'string' && file.startsWith(`${this.#root}/`)
  }

  #rename(dirs: string[], apply: (names: Map<string, Node>) => void): void {
    apply(this.#current)
    this.#pendingNames.push({ dirs, apply })
  }

  #add(file: string, node: Node): void {
    this.#rename([path.dirname(file)], (names) => names.set(file, node))
  }

  #change(fd: number, change: Change): void {
    const node = this.#open.get(fd)?.node
    if (node !== undefined && node !== 'directory') node.pending.push(change)
  }

  #sync(fd: number): void {
    const open = this.#open.get(fd)
    if (open === undefined) return
    this.#before()
    if (open.node === 'directory') {
      for (const change of this.#pendingNames) if (change.dirs.includes(open.file)) change.apply(this.#durable)
      this.#pendingNames = this.#pendingNames.filter((change) => !change.dirs.includes(open.file))
    } else settle(open.node)
  }

  #syncAll(): void {
    this.#before()
    for (const change of this.#pendingNames) change.apply(this.#durable)
    this.#pendingNames = []
    for (const node of [...this.#durable.values(), ...this.#current.values()]) if (node !== 'directory') settle(node)
  }

  #opened(fd: number, file: string, flags: string | number): number {
    let node: Node | undefined = file === this.#root ? 'directory' : this.#current.get(file)
    if (node === undefined) {
      node = { durable: { bytes: Buffer.alloc(0), size: 0 }, pending: [] }
      this.#add(file, node)
    } else if (node !== 'directory' && truncates(flags)) node.pending.push({ size: 0 })
    this.#open.set(fd, { file, node, position: 0 })
    return fd
  }

  #fileFunctions() {
    return {
      openSync: (file: string, flags: string | number = 'r', mode?: number) => {
        const inside = this.#has(file) || file === this.#root
        if (inside && (truncates(flags) || !real.existsSync(file))) this.#before()
        const fd = real.openSync(file, flags, mode)
        return inside ? this.#opened(fd, file, flags) : fd
      },
      closeSync: (fd: number) => {
        this.#open.delete(fd)
        real.closeSync(fd)
      },
      writeSync: (fd: number, data: Uint8Array, start = 0, length = data.length - start, at?: number | null) => {
        const open = this.#open.get(fd)
        if (open === undefined) return real.writeSync(fd, data, start, length, at)
        this.#before()
        const n = real.writeSync(fd, data, start, length, at)
        this.#change(fd, { offset: at ?? open.position, data: Buffer.from(data.subarray(start, start + n)) })
        if (at === undefined || at === null) open.position += n
        return n
      },
      ftruncateSync: (fd: number, size: number) => {
        if (this.#open.has(fd)) this.#before()
        real.ftruncateSync(fd, size)
        this.#change(fd, { size })
      },
      fsyncSync: (fd: number) => this.#sync(fd),
      fdatasyncSync: (fd: number) => this.#sync(fd),
      fdatasync: (fd: number, done: (error: null) => void) => {
        this.#sync(fd)
        queueMicrotask(() => done(null))
      },
      ...this.#nameFunctions(),
    }
  }

  #nameFunctions() {
    const gone = (file: string) => {
      this.#rename([path.dirname(file)], (names) => {
        for (const name of [...names.keys()]) if (name === file || name.startsWith(`${file}/`)) names.delete(name)
      })
    }
    return {
      renameSync: (from: string, to: string) => {
        if (this.#has(from)) this.#before()
        real.renameSync(from, to)
        const node = this.#current.get(from)
        if (node === undefined) return
        this.#rename([path.dirname(from), path.dirname(to)], (names) => {
          names.delete(from)
          names.set(to, node)
        })
      },
      unlinkSync: (file: string) => {
        if (this.#has(file)) this.#before()
        real.unlinkSync(file)
        if (this.#has(file)) gone(file)
      },
      rmSync: (file: string, options?: fs.RmOptions) => {
        const there = this.#has(file) && real.existsSync(file)
        if (there) this.#before()
        real.rmSync(file, options)
        if (there) gone(file)
      },
      mkdirSync: (dir: string, options: fs.MakeDirectoryOptions = {}) => {
        const missing: string[] = []
        for (let at = dir; this.#has(at) && !real.existsSync(at); at = path.dirname(at)) missing.unshift(at)
        if (missing.length > 0) this.#before()
        const first = real.mkdirSync(dir, options)
        for (const made of missing) this.#add(made, 'directory')
        return first
      },
      writeFileSync: (file: string, data: Uint8Array, options: { flush?: boolean } = {}) => {
        if (!this.#has(file)) return real.writeFileSync(file, data, options)
        const fd = fs.openSync(file, 'w')
        fs.writeSync(fd, data)
        if (options.flush === true) fs.fsyncSync(fd)
        fs.closeSync(fd)
      },
    }
  }

  #addonFunctions(): Addon {
    const writeFile = ({ path: file, via, data }: FileToWrite) => {
      const fd = fs.openSync(via, fs.constants.O_WRONLY | fs.constants.O_CREAT)
      fs.writeSync(fd, data, 0, data.length, 0)
      fs.ftruncateSync(fd, data.length)
      fs.closeSync(fd)
      fs.renameSync(via, file)
      return 0
    }
    return {
      writeFile,
      writeFiles: async (files) => files.map(writeFile),
      syncFileSystem: async () => this.#syncAll(),
      allocate: (fd, offset, length) => {
        realAddon.allocate(fd, offset, length)
        this.#change(fd, { size: offset + length })
      },
    }
  }
}

function truncates(flags: string | number): boolean {
  return typeof flags === 'string' ? flags.startsWith('w') : (flags & fs.constants.O_TRUNC) !== 0
}

function settle(inode: Inode): void {
  for (const change of inode.pending) apply(inode.durable, change)
  inode.pending = []
}

function apply(image: Image, change: Change): void {
  if ('size' in change) {
    image.bytes = image.bytes.subarray(0, change.size)
    image.size = change.size
    return
  }
  const end = change.offset + change.data.length
  if (end > image.bytes.length) image.bytes = Buffer.concat([image.bytes, Buffer.alloc(end - image.bytes.length)])
  image.bytes.set(change.data, change.offset)
  image.size = Math.max(image.size, end)
}

/** The content after a crash: of each change that was not synced all, nothing, or some of its sectors. */
function left(inode: Inode, fate: Fate): Image {
  const image = { bytes: Buffer.from(inode.durable.bytes), size: inode.durable.size }
  if (fate === 'lost') return image
  for (const change of inode.pending) {
    const kind = fate === 'killed' ? 0 : fate(3)
    if (kind === 0) apply(image, change)
    else if (kind === 1 && fate !== 'killed' && 'data' in change) tear(image, change, fate)
  }
  return image
}

function tear(image: Image, change: { offset: number; data: Buffer }, fate: (below: number) => number): void {
  const end = change.offset + change.data.length
  for (let at = change.offset; at < end; ) {
    const next = Math.min(end, (Math.floor(at / SECTOR_SIZE) + 1) * SECTOR_SIZE)
    if (fate(2) === 0) {
      apply(image, { offset: at, data: change.data.subarray(at - change.offset, next - change.offset) })
    }
    at = next
  }
}

function read(file: string): Image {
  const bytes = real.readFileSync(file)
  let used = bytes.length
  while (used >= 4096 && bytes.subarray(used - 4096, used).equals(ZEROS)) used -= 4096
  return { bytes: Buffer.from(bytes.subarray(0, used)), size: bytes.length }
}

const ZEROS = Buffer.alloc(4096)

function put(file: string, image: Image): void {
  real.writeFileSync(file, image.bytes)
  if (image.size > image.bytes.length) real.truncateSync(file, image.size)
}
