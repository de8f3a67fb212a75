import path from 'node:path'
import { pathToFileURL } from 'node:url'
import type { Contradiction } from './contradictions.js'
import type { Environment } from './expand.js'
import type { Config } from './schema.js'
import { textAt, valueAt } from './values.js'

const BACKUP_URL = /^(?:s3:\/\/[^/]|abs:\/\/[^/@]+@[^/]|sftp:\/\/[^/]+\/.|file:\/\/\/.)/
const URLS = 's3://BUCKET/PATH, abs://ACCOUNT@CONTAINER/PATH, sftp://USER@HOST:PORT/PATH, file:///PATH'

/** What the keys of the backup do not allow, LiteFS' among them. Messages never hold a URL, which may have a password in it. */
export function backupProblems(values: unknown): Contradiction[] {
  const type = textAt(values, 'backup', 'type')
  const url = textAt(values, 'backup', 'url')
  const found: Contradiction[] = []
  if (type === 'litefs-cloud') {
    const message = `found litefs-cloud, a service that has been shut down, allowed: backup.url (${URLS}) in place of type, cluster and auth-token`
    return [{ key: 'backup.type', message }]
  }
  if (type === 'file' && url !== '')
    found.push({ key: 'backup.url', message: 'found a URL with backup.type: file, allowed: one of them' })
  if (type === 'file' && textAt(values, 'backup', 'path') === '')
    found.push({ key: 'backup.path', message: 'found nothing with backup.type: file, allowed: a directory' })
  if (type === '' && url !== '' && !BACKUP_URL.test(url))
    found.push({ key: 'backup.url', message: `found something else, allowed: ${URLS}` })
  if (valueAt(values, 'backup', 'bootstrap') === true && url === '' && type === '') {
    found.push({ key: 'backup.bootstrap', message: 'found true, allowed with backup.url: the backup to begin with' })
  }
  return found
}

/** Where the backup goes; empty for nowhere. LiteFS' `type: file` names a directory, which is written like that of a `file://` URL. */
export function backupUrl({ type, url, path: directory }: Config['backup']): string {
  return type === 'file' ? pathToFileURL(path.resolve(directory)).href : url
}

/** For the log: LiteFS backs up to LiteFS Cloud where this variable is set, whatever the file says. Here it would be no backup, unnoticed. */
export function cloudWarnings({ url }: Config['backup'], env: Environment): string[] {
  if (url !== '' || (env['LITEFS_CLOUD_TOKEN'] ?? '') === '') return []
  return [
    'LITEFS_CLOUD_TOKEN is set, but LiteFS Cloud has been shut down: there is no backup until backup.url says where',
  ]
}
