import type { FastifyReply } from 'fastify'
import { checkDatabaseName } from '../replication/database-name.js'

/** A request that is answered with this status and message. */
export class RequestError extends Error {
  override name = 'RequestError'
  readonly statusCode: number

  constructor(statusCode: number, message: string) {
    super(message)
    this.statusCode = statusCode
  }
}

/** JSON as LiteFS prints it: indented, with a newline, numbers beyond 53 bits not among it. */
export function sendJson(reply: FastifyReply, value: unknown): FastifyReply {
  return reply.type('application/json').send(`${JSON.stringify(value, null, 2)}\n`)
}

/** A query parameter that must be there, once. Throws RequestError. */
export function requiredText(query: unknown, key: string): string {
  const value = textOf(query, key)
  if (value === undefined || value === '')
    throw new RequestError(400, `Cannot answer: the parameter "${key}" is required`)
  return value
}

/** A query parameter that may be left out. Throws RequestError when it is given twice. */
export function textOf(query: unknown, key: string): string | undefined {
  const value = typeof query === 'object' && query !== null ? Reflect.get(query, key) : undefined
  if (value === undefined || typeof value === 'string') return value
  throw new RequestError(400, `Cannot answer: the parameter "${key}" is given more than once`)
}

/** The parameter "name", a legal database name. Throws RequestError. */
export function databaseName(query: unknown): string {
  const name = requiredText(query, 'name')
  try {
    checkDatabaseName(name)
    return name
  } catch (error) {
    throw new RequestError(400, (error as Error).message)
  }
}
