// An S3 server: Ceph's gateway on a cluster of one monitor and one store in memory, up in three seconds.
import { randomUUID } from 'node:crypto'
import { mkdir, writeFile } from 'node:fs/promises'
import path from 'node:path'
import { CreateBucketCommand, S3Client } from '@aws-sdk/client-s3'
import { freePorts } from './ports.js'
import { type ServerProcess, startServer, type Teardown } from './process.js'
import { connects, execute, needsPrograms, temporaryDirectory } from './programs.js'

export const ACCESS_KEY = 'tester'
export const SECRET_KEY = 'secret of the tester'

export interface S3Server {
  readonly endpoint: string
  readonly port: number
  createBucket(name: string): Promise<void>
  /** Kills the gateway; its store stays, and `start` starts it again. */
  kill(): Promise<void>
  start(): Promise<void>
}

export async function startRadosgw(t: Teardown): Promise<S3Server> {
  const packages = 'radosgw ceph-mon ceph-osd'
  const programs = needsPrograms(packages, 'ceph-mon', 'ceph-osd', 'radosgw', 'ceph', 'radosgw-admin', 'monmaptool')
  const [mon = '', osd = '', gateway = '', ceph = '', admin = '', monmaptool = ''] = programs
  const directory = await temporaryDirectory(t, 'rgw')
  const [monPort = 0, port = 0] = await freePorts(2)
  const [fsid, osdUuid] = [randomUUID(), randomUUID()]
  const config = ['-c', path.join(directory, 'ceph.conf')]
  await writeFile(path.join(directory, 'ceph.conf'), configText(directory, { fsid, monPort, port }))
  for (const name of ['osd', 'rgw']) await mkdir(path.join(directory, name))

  const monitor = `[v2:127.0.0.1:${monPort}]`
  const monmap = path.join(directory, 'monmap')
  await makeKeyring(path.join(directory, 'keyring'))
  await execute(monmaptool, ['--create', '--fsid', fsid, '--addv', 'a', monitor, monmap])
  await execute(mon, [...config, '-i', 'a', '--mkfs', '--keyring', path.join(directory, 'keyring'), '--monmap', monmap])
  await startServer(t, [mon, ...config, '-i', 'a', '-f'], () => connects(monPort))
  await execute(ceph, [...config, 'osd', 'new', osdUuid])
  await execute(osd, [...config, '-i', '0', '--mkfs', '--osd-uuid', osdUuid])
  await startServer(t, [osd, ...config, '-i', '0', '-f'], async () => true)
  let running: ServerProcess | undefined
  const start = async () => {
    running = await startServer(t, [gateway, ...config, '-n', 'client.rgw', '-f'], () => connects(port))
  }
  await start()
  const keys = [`--access-key=${ACCESS_KEY}`, `--secret-key=${SECRET_KEY}`]
  await execute(admin, [
    ...config,
    '-n',
    'client.rgw',
    'user',
    'create',
    '--uid=tester',
    '--display-name=tester',
    ...keys,
  ])
  const endpoint = `http://127.0.0.1:${port}`
  return {
    endpoint,
    port,
    createBucket: (name) => createBucket(endpoint, name),
    kill: async () => await running?.stop(),
    start,
  }
}

/** Everybody may do everything; without keys the gateway does not start. */
async function makeKeyring(file: string): Promise<void> {
  const [tool = ''] = needsPrograms('ceph-common', 'ceph-authtool')
  const all = ['--cap', 'mon', 'allow *', '--cap', 'osd', 'allow *']
  await execute(tool, ['--create-keyring', file, '--gen-key', '-n', 'client.rgw', ...all])
  for (const name of ['client.admin', 'mon.', 'osd.0']) await execute(tool, [file, '--gen-key', '-n', name, ...all])
}

function configText(
  directory: string,
  { fsid, monPort, port }: { fsid: string; monPort: number; port: number },
): string {
  return `[global]
fsid = ${fsid}
mon host = v2:127.0.0.1:${monPort}
keyring = ${directory}/keyring
admin socket = ${directory}/$name.$pid.asok
log file = ${directory}/$name.log
mon data = ${directory}/mon
osd data = ${directory}/osd
rgw data = ${directory}/rgw
rgw frontends = beast endpoint=127.0.0.1:${port}
public addr = 127.0.0.1
ms bind ipv6 = false
ms bind msgr1 = false
osd objectstore = memstore
memstore device bytes = 2147483648
osd crush chooseleaf type = 0
osd pool default size = 1
osd pool default min size = 1
osd pool default pg num = 1
osd pool default pgp num = 1
osd pool default pg autoscale mode = off
mon allow pool size one = true
mon max pg per osd = 1000
paxos propose interval = 0.02
paxos min wait = 0.01
`
}

async function createBucket(endpoint: string, bucket: string): Promise<void> {
  const credentials = { accessKeyId: ACCESS_KEY, secretAccessKey: SECRET_KEY }
  const client = new S3Client({ endpoint, region: 'us-east-1', forcePathStyle: true, credentials })
  await client.send(new CreateBucketCommand({ Bucket: bucket }))
  client.destroy()
}
