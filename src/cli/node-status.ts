import { z } from 'zod'
import { type Call, getJson, type NodeAddress } from './node-api.js'

const INFO = z.object({
  isPrimary: z.boolean(),
  candidate: z.boolean(),
  path: z.string(),
  primary: z.object({ hostname: z.string() }),
})
const PEERS = z.object({
  primary: z
    .object({ hostname: z.string(), url: z.string(), connected: z.boolean(), lagMs: z.number().nullable() })
    .nullable(),
  replicas: z.array(
    z.object({
      nodeId: z.string(),
      address: z.string(),
      connectedSince: z.string(),
      databases: z.array(z.object({ name: z.string(), txid: z.string(), behind: z.number() })),
    }),
  ),
})
const READINESS = z.object({ ready: z.boolean(), reason: z.string().optional() })
const BACKUP = z.object({
  /** Null before the backup was looked at. */
  txid: z.string().nullable(),
  lagMs: z.number(),
  lastSuccess: z.string().nullable(),
  error: z.string().nullable(),
})
const DATABASE = z.looseObject({
  name: z.string(),
  txid: z.string(),
  checksum: z.string(),
  pageCount: z.number(),
  sizeBytes: z.number(),
  journalMode: z.string(),
  lagMs: z.number().nullable(),
  lastCommit: z.string(),
  /** Null where the node makes none, as a replica or without backup.url. */
  backup: BACKUP.nullable().optional(),
})

export type NodeInfo = z.infer<typeof INFO>
export type Peers = z.infer<typeof PEERS>
export type DatabaseRow = z.infer<typeof DATABASE>

/** What a node says of itself. */
export interface NodeStatus {
  readonly url: string
  readonly nodeId: string
  /** Null while the cluster has none. */
  readonly clusterId: string | null
  readonly isPrimary: boolean
  readonly candidate: boolean
  /** Empty while it is not known. */
  readonly primaryHostname: string
  readonly dataDir: string
  readonly ready: boolean
  /** Why it is not ready; null when it is. */
  readonly reason: string | null
  readonly databases: readonly DatabaseRow[]
  /** Whom it follows, or who follows it. Nobody where the node is LiteFS', which does not say. */
  readonly peers: Peers
}

/** Rejects when the node cannot be reached, or answers what litefs does not. `what` is for errors. */
export async function getInfo(node: NodeAddress, what: string): Promise<NodeInfo> {
  const call = { ...node, path: '/info', what }
  return parsed(INFO, (await getJson(call)).json, call)
}

/** A database of a node; undefined where it has none of this name. Rejects as `getInfo` does. */
export async function getDatabase(node: NodeAddress, name: string, what: string): Promise<DatabaseRow | undefined> {
  const call = { ...node, path: '/databases', what }
  return parsed(z.array(DATABASE), (await getJson(call)).json, call).find((database) => database.name === name)
}

/** Asks a node about itself and its databases. Rejects as `getInfo` does. */
export async function getStatus(node: NodeAddress): Promise<NodeStatus> {
  const ask = (path: string): Call => ({ ...node, path, what: 'show status' })
  const { answer, json } = await getJson(ask('/info'))
  const info = parsed(INFO, json, ask('/info'))
  const health = (await getJson(ask('/health/ready'), [503])).json
  const { ready, reason = null } = parsed(READINESS, health, ask('/health/ready'))
  const databases = parsed(z.array(DATABASE), (await getJson(ask('/databases'))).json, ask('/databases'))
  return {
    url: node.url,
    nodeId: String(answer.headers['litefs-id'] ?? ''),
    clusterId: answer.headers['litefs-cluster-id']?.toString() ?? null,
    isPrimary: info.isPrimary,
    candidate: info.candidate,
    primaryHostname: info.primary.hostname,
    dataDir: info.path,
    ready,
    reason,
    databases,
    peers: await peersOf(ask('/peers')),
  }
}

async function peersOf(call: Call): Promise<Peers> {
  const { answer, json } = await getJson(call, [404])
  return answer.statusCode === 404 ? { primary: null, replicas: [] } : parsed(PEERS, json, call)
}

function parsed<T>(schema: z.ZodType<T>, json: unknown, { url, path, what }: Call): T {
  const result = schema.safeParse(json)
  if (result.success) return result.data
  throw new Error(`Cannot ${what}: ${url}${path} is not answered by litefs`, { cause: result.error })
}
