// A certificate authority of the test's own, by openssl.
import { execFile } from 'node:child_process'
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import os from 'node:os'
import path from 'node:path'
import { promisify } from 'node:util'
import type { Teardown } from './process.js'

const run = promisify(execFile)

/** Paths of PEM files, and their texts. */
export interface Certificate {
  readonly ca: string
  readonly cert: string
  readonly key: string
  readonly pem: { readonly ca: string; readonly cert: string; readonly key: string }
}

/** Makes an authority, and certificates by it for 127.0.0.1, ::1 and localhost, good as a server's and as a client's. */
export async function makeCertificates(t: Teardown, count = 1): Promise<Certificate[]> {
  const directory = await mkdtemp(path.join(os.tmpdir(), 'litefs-certificates-'))
  t.teardown(() => rm(directory, { recursive: true, force: true }))
  const openssl = (...words: string[]) => run('openssl', words, { cwd: directory })
  const curve = ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:prime256v1', '-nodes']
  await openssl('req', '-x509', ...curve, '-keyout', 'ca.key', '-out', 'ca.pem', '-days', '2', '-subj', '/CN=tests')
  const names = 'subjectAltName=IP:127.0.0.1,IP:::1,DNS:localhost\nextendedKeyUsage=serverAuth,clientAuth\n'
  await writeFile(path.join(directory, 'names'), names)
  const certificates: Certificate[] = []
  for (let i = 0; i < count; i++) {
    await openssl('req', ...curve, '-keyout', `${i}.key`, '-out', `${i}.csr`, '-subj', `/CN=node${i}`)
    const by = ['-CA', 'ca.pem', '-CAkey', 'ca.key', '-CAcreateserial', '-days', '2', '-extfile', 'names']
    await openssl('x509', '-req', '-in', `${i}.csr`, '-out', `${i}.pem`, ...by)
    const [ca, cert, key] = ['ca.pem', `${i}.pem`, `${i}.key`].map((name) => path.join(directory, name))
    if (ca === undefined || cert === undefined || key === undefined) throw new Error('Cannot happen: three names')
    const [caText, certText, keyText] = await Promise.all([ca, cert, key].map((file) => readFile(file, 'utf8')))
    certificates.push({ ca, cert, key, pem: { ca: caText ?? '', cert: certText ?? '', key: keyText ?? '' } })
  }
  return certificates
}
