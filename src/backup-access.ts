import type { StorageAccess } from './backup/open-storage.js'
import type { Config } from './config/schema.js'

/** What the configuration says about reaching the storage of its backup. */
export function storageAccess(backup: Config['backup']): StorageAccess {
  return {
    endpoint: backup.endpoint,
    region: backup.region,
    accessKeyId: backup['access-key-id'],
    secretAccessKey: backup['secret-access-key'],
    forcePathStyle: backup['force-path-style'] || undefined,
    skipVerify: backup['skip-verify'],
    storageClass: backup['storage-class'],
    partSize: backup['part-size'],
    concurrency: backup.concurrency,
    accountKey: backup['account-key'],
    sasToken: backup['sas-token'],
    password: backup.password,
    keyPath: backup['key-path'],
    passphrase: backup.passphrase,
    hostKey: backup['host-key'],
  }
}
