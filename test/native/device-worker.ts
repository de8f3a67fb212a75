import { parentPort, workerData } from 'node:worker_threads'
import { startDevice } from '../../src/native.js'
import { answer, isGetattr, REPLY_SIZE, REQUEST_SIZE } from './tiny-file-system.js'

export interface DeviceWorkerData {
  fd: number
  /** What happens at the first GETATTR. */
  behaviour: 'answer' | 'throw' | 'malformed' | 'hang'
}

const { fd, behaviour } = workerData as DeviceWorkerData
const request = new Uint8Array(REQUEST_SIZE)
const reply = new Uint8Array(REPLY_SIZE)

function onRequest(length: number): number {
  const replyLength = answer(request, reply, length)
  if (!isGetattr(request)) return replyLength
  if (behaviour === 'throw') throw new Error('thrown by onRequest')
  if (behaviour === 'malformed') return replyLength - 1
  if (behaviour === 'hang') {
    parentPort?.postMessage('hanging')
    while (reply.length > 0) reply[0] = 1
  }
  return replyLength
}

startDevice(fd, request, reply, onRequest, (error) => parentPort?.postMessage({ ended: error }), {
  spinMicros: 100,
  stayMicros: 1000,
})
parentPort?.postMessage('serving')
