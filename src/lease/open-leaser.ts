import { readTls } from '../config/access.js'
import type { Config } from '../config/schema.js'
import type { Leaser } from './leaser.js'

/**
 * The lease store of a configuration. Nothing is asked yet. Throws when a file that it names cannot be read.
 *
 * @param advertised of the primary where the lease is static; undefined on the static primary itself
 */
export async function openLeaser(
  lease: Config['lease'],
  advertised: { readonly hostname: string; readonly advertiseUrl: string } | undefined,
): Promise<Leaser> {
  // Loaded when it is needed: a static lease needs no HTTP client.
  if (lease.type === 'consul') {
    const { ConsulLeaser } = await import('./consul-leaser.js')
    const { url, key, ttl: ttlMs, 'lock-delay': lockDelayMs, tls } = lease.consul
    return new ConsulLeaser({ url, key, ttlMs, lockDelayMs, tls: readTls(tls, 'lease.consul.tls.') })
  }
  if (lease.type === 'etcd') {
    const { EtcdLeaser } = await import('./etcd-leaser.js')
    const { endpoints, key, ttl: ttlMs, username, password, tls } = lease.etcd
    return new EtcdLeaser({ endpoints, key, ttlMs, username, password, tls: readTls(tls, 'lease.etcd.tls.') })
  }
  const { StaticLeaser } = await import('./static-leaser.js')
  return new StaticLeaser(lease.candidate ? undefined : advertised)
}
