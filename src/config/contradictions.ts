import path from 'node:path'

export interface Contradiction {
  /** The key to change, as a dotted path. */
  key: string
  message: string
}

/** The values the rules look at. A key that is absent from the file has its default here. */
export interface Claims {
  fuseDir: string
  dataDir: string
  candidate: boolean
  databases: readonly unknown[]
  isStatic: boolean
  advertiseUrl: string
}

/** What each value allows by itself but not together with the others. */
export function contradictions({
  fuseDir,
  dataDir,
  candidate,
  databases,
  isStatic,
  advertiseUrl,
}: Claims): Contradiction[] {
  const found: Contradiction[] = []
  if (fuseDir === '') found.push({ key: 'fuse.dir', message: 'found nothing, allowed: the path of the mount point' })
  if (dataDir === '') found.push({ key: 'data.dir', message: 'found nothing, allowed: the path of a directory' })
  if (fuseDir !== '' && dataDir !== '') {
    const clash = directoryClash(fuseDir, dataDir)
    if (clash !== undefined) {
      found.push({
        key: 'data.dir',
        message: `found ${JSON.stringify(dataDir)}, ${clash}: allowed is a directory apart`,
      })
    }
  }
  if (candidate && databases.length > 0) {
    const message = 'found a list of databases on a candidate, allowed only with lease.candidate: false'
    found.push({ key: 'lease.databases', message })
  }
  if (isStatic && !candidate && advertiseUrl === '') {
    const message = 'found nothing, allowed on a replica: the address of the primary, as in http://primary:20202'
    found.push({ key: 'lease.advertise-url', message })
  }
  if (advertiseUrl !== '' && !isHttpUrl(advertiseUrl)) {
    const message = `found ${JSON.stringify(advertiseUrl)}, allowed: an address, as in http://primary:20202`
    found.push({ key: 'lease.advertise-url', message })
  }
  return found
}

function isHttpUrl(text: string): boolean {
  return URL.canParse(text) && /^https?:$/.test(new URL(text).protocol)
}

function directoryClash(fuseDir: string, dataDir: string): string | undefined {
  if (path.resolve(fuseDir) === path.resolve(dataDir)) return 'the same as fuse.dir'
  if (isWithin(dataDir, fuseDir)) return `which is inside fuse.dir ${JSON.stringify(fuseDir)}`
  if (isWithin(fuseDir, dataDir)) return `which contains fuse.dir ${JSON.stringify(fuseDir)}`
  return undefined
}

function isWithin(inner: string, outer: string): boolean {
  const relative = path.relative(path.resolve(outer), path.resolve(inner))
  return relative !== '..' && !relative.startsWith('../')
}
