/**
 * Cutting what tokenizers give to a length, putting their special tokens around it, and filling it up: as the Rust library
 * `tokenizers` does, so that encoders get what they were trained with.
 */
import { Turn } from '../formats/file.js'
import { InfernodeError } from '../errors.js'
import { invalid } from '../options.js'
import type { Padding, Truncation } from './description.js'

/** What a text became; of a pair, what both became, with what the tokenizer puts around them. */
export interface Encoding {
  readonly ids: Int32Array
  /** Which segment of the model's input each id belongs to. */
  readonly typeIds: Uint32Array
  /** 1 for what the model is to see, 0 for padding. */
  readonly attentionMask: Uint8Array
  /** 1 for ids that are not of a text: what the tokenizer put there, and padding. */
  readonly specialTokensMask: Uint8Array
  /** Which text each id comes from: 0, or 1 for the second of a pair; -1 for what is of no text. */
  readonly sequenceIds: Int8Array
  /** [start, end] of each id in UTF-16 code units of the text that it comes from; what is of no text has start = end. */
  readonly offsets: Uint32Array
  /** What was cut off, in parts of the same form, from near to far. */
  readonly overflowing: readonly Encoding[]
}

/** What the tokenizer puts around texts, as ids. */
export type Frame = readonly ({ readonly text: 0 | 1; readonly type: number } | { readonly id: number; readonly type: number })[]

/** Ids of one text and their places. */
export interface Ids {
  readonly ids: Int32Array
  readonly offsets: Uint32Array
}

/** Most ids of all parts together. Parts that overlap nearly wholly are many times their text. */
const maxIds = 2 ** 27

const added = (frame: Frame): number => frame.filter((part) => 'id' in part).length

/**
 * Cuts the texts, if `truncation` says so, and puts `frame` around each part.
 * @throws INVALID_ARGUMENT where the strategy cannot make it that short
 */
export async function assemble(texts: readonly Ids[], frame: Frame, truncation: Truncation | null): Promise<Encoding> {
  const parts = truncation ? cutAll(texts, truncation, added(frame)) : texts.map((text) => [text])
  const [first = [], second = [undefined]] = parts
  const combinations: [Ids, Ids | undefined][] = []
  // All later parts of the first text with all of the second, then its first part with the later ones of the second.
  for (const a of first.slice(1)) for (const b of second) combinations.push([a, b])
  for (const b of second.slice(1)) combinations.push([first[0]!, b])
  let total = 0
  for (const [a, b] of combinations) total += a.ids.length + (b?.ids.length ?? 0) + added(frame)
  if (total > maxIds) throw invalid('truncation.stride', `one that makes at most ${maxIds} ids of all parts`, truncation?.stride)
  const overflowing: Encoding[] = []
  const turn = new Turn()
  for (const [a, b] of combinations) overflowing.push(await framed([a, b], frame, [], turn))
  return framed([first[0]!, second[0]], frame, overflowing, turn)
}

/** Ids copied per round: well under a millisecond. */
const step = 1 << 16

async function framed(
  texts: readonly (Ids | undefined)[],
  frame: Frame,
  overflowing: readonly Encoding[],
  turn: Turn,
): Promise<Encoding> {
  const length = frame.reduce((sum, part) => sum + ('id' in part ? 1 : (texts[part.text]?.ids.length ?? 0)), 0)
  const made = blank(length, overflowing)
  let at = 0
  let end = 0
  for (const part of frame) {
    if ('id' in part) {
      made.ids[at] = part.id
      made.typeIds[at] = part.type
      made.attentionMask[at] = 1
      made.specialTokensMask[at] = 1
      made.sequenceIds[at] = -1
      made.offsets.fill(end, 2 * at, 2 * at + 2)
      at++
      continue
    }
    const { ids, offsets } = texts[part.text]!
    for (let from = 0; from < ids.length; from += step) {
      const to = Math.min(from + step, ids.length)
      made.ids.set(ids.subarray(from, to), at + from)
      made.offsets.set(offsets.subarray(2 * from, 2 * to), 2 * (at + from))
      made.typeIds.fill(part.type, at + from, at + to)
      made.sequenceIds.fill(part.text, at + from, at + to)
      made.attentionMask.fill(1, at + from, at + to)
      if (turn.over()) await turn.next()
    }
    at += ids.length
    end = offsets.at(-1) ?? 0
  }
  return made
}

function blank(length: number, overflowing: readonly Encoding[]): Encoding {
  return {
    ids: new Int32Array(length),
    typeIds: new Uint32Array(length),
    attentionMask: new Uint8Array(length),
    specialTokensMask: new Uint8Array(length),
    sequenceIds: new Int8Array(length),
    offsets: new Uint32Array(2 * length),
    overflowing,
  }
}

function cutAll(texts: readonly Ids[], truncation: Truncation, nAdded: number): Ids[][] {
  const { strategy, stride, direction } = truncation
  const room = truncation.maxLength - nAdded
  if (room < 0) throw invalid('truncation.maxLength', `at least the ${nAdded} ids that the tokenizer adds`, truncation.maxLength)
  if (room > 0 && stride >= room) throw invalid('truncation.stride', `fewer than the ${room} ids that there is room for`, stride)
  const lengths = texts.map(({ ids }) => ids.length)
  const total = lengths.reduce((sum, length) => sum + length, 0)
  if (total <= room) return texts.map((text) => [text])
  const wanted = room === 0 ? lengths.map(() => 0) : shortened(lengths, room, total - room, strategy)
  return texts.map((text, i) => {
    const most = wanted[i]!
    if (most < lengths[i]! && most > 0 && stride >= most)
      throw invalid('truncation.stride', `fewer than the ${most} ids that are left of the text`, stride)
    return windows(lengths[i]!, most, stride, direction).map(([from, to]) => slice(text, from, to))
  })
}

/** How many ids are left of each text. */
function shortened(lengths: readonly number[], room: number, excess: number, strategy: Truncation['strategy']): number[] {
  if (strategy !== 'longest_first') {
    const target = strategy === 'only_first' ? 0 : 1
    const length = lengths[target]
    if (length === undefined) throw invalid('truncation.strategy', 'a pair of texts for "only_second"', strategy)
    if (length <= excess)
      throw new InfernodeError('INVALID_ARGUMENT', 'truncation', `a text of more than ${excess} ids to cut`, `one of ${length}`)
    return lengths.map((each, i) => (i === target ? each - excess : each))
  }
  if (lengths.length === 1) return [room]
  // The shorter one stays whole while the longer one is still longer than it; then both are halved, the first one down.
  const [shorter, longer] = lengths[0]! > lengths[1]! ? [1, 0] : [0, 1]
  let small = lengths[shorter]!
  let large = small > room ? small : Math.max(small, room - small)
  if (small + large > room) {
    small = Math.floor(room / 2)
    large = small + (room % 2)
  }
  const left: number[] = []
  left[shorter] = small
  left[longer] = large
  return left
}

/** [start, end] of parts of at most `most`, each beginning with `stride` of the one before; the first is what is kept. */
function windows(length: number, most: number, stride: number, direction: 'left' | 'right'): [number, number][] {
  if (most >= length) return [[0, length]]
  if (most === 0) return [[0, 0], [0, length]]
  const found: [number, number][] = []
  if (direction === 'right') {
    for (let start = 0; found.at(-1)?.[1] !== length; start += most - stride) found.push([start, Math.min(start + most, length)])
  } else {
    for (let stop = length; found.at(-1)?.[0] !== 0; stop -= most - stride) found.push([Math.max(stop - most, 0), stop])
  }
  return found
}

function slice({ ids, offsets }: Ids, from: number, to: number): Ids {
  return { ids: ids.subarray(from, to), offsets: offsets.subarray(2 * from, 2 * to) }
}

/** Fills encodings of one batch up to the same length. What is longer stays as it is. */
export function padAll(encodings: readonly Encoding[], padding: Padding): Encoding[] {
  const longest = encodings.reduce((most, { ids }) => Math.max(most, ids.length), 0)
  const wanted = padding.length === 'longest' ? longest : padding.length
  const length = Math.ceil(wanted / padding.multipleOf) * padding.multipleOf
  if (length * encodings.length > maxIds) throw invalid('padding', `at most ${maxIds} ids of all texts`, length * encodings.length)
  return encodings.map((encoding) => padded(encoding, length, padding))
}

function padded(encoding: Encoding, length: number, padding: Padding): Encoding {
  const overflowing = encoding.overflowing.map((part) => padded(part, length, padding))
  const missing = length - encoding.ids.length
  if (missing <= 0) return { ...encoding, overflowing }
  const at = padding.direction === 'left' ? missing : 0
  const made = blank(length, overflowing)
  made.ids.fill(padding.id).set(encoding.ids, at)
  made.typeIds.fill(padding.typeId).set(encoding.typeIds, at)
  made.attentionMask.set(encoding.attentionMask, at)
  made.sequenceIds.fill(-1).set(encoding.sequenceIds, at)
  made.specialTokensMask.fill(1).set(encoding.specialTokensMask, at)
  made.offsets.set(encoding.offsets, 2 * at)
  return made
}
