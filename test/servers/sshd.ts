// An SFTP server: OpenSSH's, with keys made for the test.
import { mkdirSync } from 'node:fs'
import { readFile, writeFile } from 'node:fs/promises'
import os from 'node:os'
import path from 'node:path'
import { freePorts } from './ports.js'
import { startServer, type Teardown } from './process.js'
import { connects, execute, needsPrograms, temporaryDirectory } from './programs.js'

export interface SftpServer {
  readonly port: number
  readonly user: string
  /** File of the private key that is let in. */
  readonly keyPath: string
  /** Public key of the server, as in known_hosts. */
  readonly hostKey: string
  /** An empty directory on it. */
  readonly directory: string
}

export async function startSshd(t: Teardown): Promise<SftpServer> {
  const [sshd = '', keygen = ''] = needsPrograms('openssh-server', 'sshd', 'ssh-keygen')
  const directory = await temporaryDirectory(t, 'sshd')
  const [port = 0] = await freePorts(1)
  const file = (name: string) => path.join(directory, name)
  for (const name of ['host', 'client']) await execute(keygen, ['-q', '-t', 'ed25519', '-N', '', '-f', file(name)])
  const config = [
    `Port ${port}`,
    'ListenAddress 127.0.0.1',
    `HostKey ${file('host')}`,
    `AuthorizedKeysFile ${file('client.pub')}`,
    `PidFile ${file('pid')}`,
    'StrictModes no',
    'UsePAM no',
    'PasswordAuthentication no',
    'PermitRootLogin yes',
    'Subsystem sftp internal-sftp',
  ]
  await writeFile(file('config'), `${config.join('\n')}\n`)
  // sshd drops its rights there.
  if (process.geteuid?.() === 0) mkdirSync('/run/sshd', { recursive: true, mode: 0o755 })
  await startServer(t, [sshd, '-D', '-e', '-f', file('config')], () => connects(port))
  const hostKey = (await readFile(file('host.pub'), 'utf8')).trim()
  mkdirSync(file('files'))
  return { port, user: os.userInfo().username, keyPath: file('client'), hostKey, directory: file('files') }
}
