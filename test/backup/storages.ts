// Backups' storages, each a real server: a directory, Ceph's S3 gateway, Azure's emulator, OpenSSH.
import path from 'node:path'
import { AzureStorage } from '../../src/backup/azure-storage.js'
import { DirectoryStorage } from '../../src/backup/directory-storage.js'
import { S3Storage } from '../../src/backup/s3-storage.js'
import { SftpStorage } from '../../src/backup/sftp-storage.js'
import type { Storage } from '../../src/backup/storage.js'
import { ACCOUNT, ACCOUNT_KEY, startAzurite } from '../servers/azurite.js'
import type { Teardown } from '../servers/process.js'
import { temporaryDirectory } from '../servers/programs.js'
import { ACCESS_KEY, SECRET_KEY, startRadosgw } from '../servers/radosgw.js'
import { startSshd } from '../servers/sshd.js'

/** Starts the servers. Each storage's path is `some/path` below what is given; `through` may give another port for that of a server. */
export async function startStorages(t: Teardown, through: (port: number) => Promise<number> = async (port) => port) {
  const [directory, s3, azure, ssh] = await Promise.all([
    temporaryDirectory(t, 'storage'),
    startRadosgw(t),
    startAzurite(t),
    startSshd(t),
  ])
  await Promise.all([s3.createBucket('tests'), azure.createContainer('tests')])
  const throughUrl = async (address: string) => {
    const url = new URL(address)
    url.port = `${await through(Number(url.port))}`
    return url.href.replace(/\/$/, '')
  }
  const s3Settings = {
    bucket: 'tests',
    path: 'some/path',
    endpoint: await throughUrl(s3.endpoint),
    region: '',
    accessKeyId: ACCESS_KEY,
    secretAccessKey: SECRET_KEY,
    forcePathStyle: undefined,
    skipVerify: false,
    storageClass: '',
    partSize: 5 << 20,
    concurrency: 5,
  }
  const azureSettings = {
    account: ACCOUNT,
    accountKey: ACCOUNT_KEY,
    sasToken: '',
    container: 'tests',
    path: 'some/path',
    endpoint: await throughUrl(azure.endpoint),
    partSize: 5 << 20,
    concurrency: 5,
  }
  const sftpSettings = {
    host: '127.0.0.1',
    port: await through(ssh.port),
    user: ssh.user,
    password: '',
    keyPath: ssh.keyPath,
    passphrase: '',
    hostKey: ssh.hostKey,
    path: path.join(ssh.directory, 'some/path'),
  }
  const storages: Record<string, () => Promise<Storage>> = {
    directory: async () => new DirectoryStorage(path.join(directory, 'some/path')),
    S3: () => S3Storage.open(s3Settings),
    Azure: () => AzureStorage.open(azureSettings),
    SFTP: async () => new SftpStorage(sftpSettings),
  }
  return { directory, s3, azure, ssh, s3Settings, azureSettings, sftpSettings, storages }
}
