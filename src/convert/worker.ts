/** The thread that a conversion runs on, so that the event loop stays free; started by ../convert.ts, one for each. */
import { parentPort, workerData } from 'node:worker_threads'
import { InfernodeError, type ErrorCode } from '../errors.js'
import { type ConversionOrder, type ConversionProgress, type ConversionReport, runConversion } from './run.js'

export type ConversionNews =
  | { readonly progress: ConversionProgress }
  | { readonly report: ConversionReport }
  | { readonly error: { readonly code: ErrorCode; readonly details: readonly string[] } }

/** How often, at most, progress is told. */
const intervalMs = 50

async function main(order: ConversionOrder): Promise<void> {
  const port = parentPort!
  const tell = (news: ConversionNews): void => port.postMessage(news)
  const abort = new AbortController()
  port.on('message', () => abort.abort())
  let told = -Infinity
  const onProgress = (progress: ConversionProgress): void => {
    const now = performance.now()
    if (now - told < intervalMs && progress.valuesDone < progress.nValues) return
    told = now
    tell({ progress })
  }
  try {
    tell({ report: await runConversion(order, onProgress, abort.signal) })
  } catch (error) {
    if (!(error instanceof InfernodeError)) throw error
    tell({ error: { code: error.code, details: error.details } })
  } finally {
    // Nothing else keeps the thread alive.
    port.close()
  }
}

void main(workerData as ConversionOrder)
