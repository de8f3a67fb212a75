// Azure's Blob Storage: Microsoft's own emulator, from npm.
import { fileURLToPath } from 'node:url'
import { BlobServiceClient, StorageSharedKeyCredential } from '@azure/storage-blob'
import { freePorts } from './ports.js'
import { startServer, type Teardown } from './process.js'
import { connects, temporaryDirectory } from './programs.js'

/** The account that Azurite always has, with the key that its documentation names. */
export const ACCOUNT = 'devstoreaccount1'
export const ACCOUNT_KEY = 'Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw=='

export interface AzureServer {
  readonly endpoint: string
  readonly port: number
  createContainer(name: string): Promise<void>
}

export async function startAzurite(t: Teardown): Promise<AzureServer> {
  const script = fileURLToPath(new URL('../../node_modules/azurite/dist/src/blob/main.js', import.meta.url))
  const location = await temporaryDirectory(t, 'azurite')
  const [port = 0] = await freePorts(1)
  const options = ['--blobPort', String(port), '--location', location, '--silent', '--skipApiVersionCheck']
  await startServer(t, [process.execPath, script, ...options, '--disableTelemetry'], () => connects(port))
  const endpoint = `http://127.0.0.1:${port}/${ACCOUNT}`
  return {
    endpoint,
    port,
    createContainer: async (name) => {
      const client = new BlobServiceClient(endpoint, new StorageSharedKeyCredential(ACCOUNT, ACCOUNT_KEY))
      await client.createContainer(name)
    },
  }
}
