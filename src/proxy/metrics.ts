import { Counter, Histogram, type Registry } from 'prom-client'

/** What became of a request. */
export type Decision =
  | 'passthrough'
  | 'health'
  | 'read'
  | 'write'
  | 'forward'
  | 'fly-replay'
  | 'timeout'
  | 'no-primary'
  | 'loop'
  | 'bad-request'
  | 'bad-gateway'
  | 'gone'

/** Seconds: from a commit that was under way to the longest wait. */
const BUCKETS = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10]

/** What /metrics tells of the proxy. */
export class ProxyMetrics {
  readonly requests: Counter<'role' | 'decision'>
  readonly wait: Histogram
  readonly forward: Histogram

  constructor(registry: Registry) {
    const registers = [registry]
    this.requests = new Counter({
      name: 'litefs_proxy_requests',
      help: 'Requests to the proxy, by the role of this node and what was done with them.',
      labelNames: ['role', 'decision'],
      registers,
    })
    this.wait = new Histogram({
      name: 'litefs_proxy_wait_seconds',
      help: 'How long reads have waited for a transaction that their client had seen.',
      buckets: BUCKETS,
      registers,
    })
    this.forward = new Histogram({
      name: 'litefs_proxy_forward_seconds',
      help: 'How long requests that were handed to the primary took, with what they waited for one.',
      buckets: BUCKETS,
      registers,
    })
  }
}
