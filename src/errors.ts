const grouped = (digits: string): string => digits.replace(/\B(?=(\d{3})+$)/g, ',')

/** How far a request came. */
function reached(promptComputed: string, promptTokens: string, generated: string, maxTokens: string): string {
  if (generated !== '0') return `${generated} of at most ${maxTokens} tokens were generated`
  if (promptComputed !== '0') return `${promptComputed} of ${promptTokens} prompt tokens were computed`
  return 'it was still waiting'
}

/** Cause and remedy of every error. The native side knows only the codes (native/generated/errors.h). */
const errors = {
  // Arguments
  INVALID_ARGUMENT: (name: string, expected: string, received: string) => [
    `${name}: expected ${expected}, received ${received}.`,
    'Correct the argument.',
  ],
  UNKNOWN_OPTION: (name: string, nearest: string) => [
    `There is no option "${name}".`,
    nearest ? `Did you mean "${nearest}"?` : 'See the documentation of the call for its options.',
  ],
  PROMPT_TOO_LONG: (tokens: string, limit: string) => [
    `The prompt has ${tokens} tokens, the context holds ${limit}.`,
    'Shorten the prompt, or load the model with a larger contextLength or cacheTokens, if it allows that.',
  ],
  CACHE_TOO_SMALL: (needed: string, available: string) => [
    `The request needs ${grouped(needed)} tokens, the cache holds ${grouped(available)}.`,
    'Raise cacheTokens when loading the model, lower maxTokens, or shorten the prompt.',
  ],
  TIMED_OUT: (ms: string, promptComputed: string, promptTokens: string, generated: string, maxTokens: string) => [
    `The request did not end within its ${ms} ms: ${reached(promptComputed, promptTokens, generated, maxTokens)}.`,
    'Allow more time, ask for fewer tokens, or send fewer requests at once. Pieces that came before can still be read.',
  ],
  DISPOSED: (what: string) => [`The ${what} was disposed.`, 'Load it again before using it.'],
  ABORTED: (what: string) => [`${what} was aborted.`, 'Its AbortSignal was triggered, or the model was disposed meanwhile.'],

  // Files
  FILE_UNREADABLE: (file: string, reason: string) => [`${file} cannot be read: ${reason}.`, 'Check the path and the permissions.'],
  FILE_UNWRITABLE: (file: string, reason: string) => [
    `${file} cannot be written: ${reason}.`,
    'Check the path, the permissions and the free space.',
  ],
  FORMAT_UNKNOWN: (file: string, reason: string) => [
    `${file} is not a checkpoint that infernode knows: ${reason}.`,
    'Pass a GGUF file, or a Hugging Face folder with config.json and *.safetensors.',
  ],
  FILE_CORRUPT: (file: string, field: string, reason: string) => [
    `${file}: ${field}: ${reason}.`,
    'The file is damaged or incomplete; download it again.',
  ],
  FORMAT_UNSUPPORTED: (file: string, field: string, reason: string) => [
    `${file}: ${field}: ${reason}.`,
    'This version of infernode does not read that; convert the checkpoint, or look for a newer version.',
  ],
  FILE_EXISTS: (file: string) => [`${file} exists already.`, 'Choose another path, or pass overwrite: true (on the command line --force).'],
  ALREADY_QUANTIZED: (file: string, name: string, type: string) => [
    `${file}: tensor "${name}" is of the type ${type}, quantized already.`,
    'Start from f32, f16 or bf16; or, as errors add up, pass allowRequantize: true (on the command line --allow-requantize).',
  ],
  FILE_CHANGED: (file: string) => [`${file} changed while it was being loaded or used.`, 'Load it again when nothing writes to it.'],
  CONFIG_INVALID: (file: string, field: string, reason: string) => [
    `${file}: ${field}: ${reason}.`,
    'The checkpoint does not describe a model that infernode can build; check the field.',
  ],
  ARCHITECTURE_UNKNOWN: (file: string, name: string, known: string) => [
    `${file} is of the architecture "${name}", which is none of ${known}.`,
    'Add a file to src/architectures (docs/architecture.md tells how), or use another checkpoint.',
  ],
  TENSOR_MISSING: (name: string, file: string, nearest: string) => [
    `${file} has no tensor "${name}"; the nearest name is "${nearest}".`,
    'If only the naming differs, extend the name map of that format in src/formats.',
  ],
  TENSOR_SHAPE: (name: string, file: string, expected: string, received: string) => [
    `${file}: tensor "${name}" has the shape [${received}], expected [${expected}].`,
    'The config and the weights do not belong together; check that both come from the same checkpoint.',
  ],
  TENSOR_TYPE_UNSUPPORTED: (name: string, file: string, type: string) => [
    `${file}: tensor "${name}" is of the type ${type}, which infernode cannot compute with.`,
    'Use a checkpoint whose weights are of a type that "infernode info" lists.',
  ],
  WEIGHT_UNENCODABLE: (name: string, row: string, column: string, value: string, type: string) => [
    `Tensor "${name}", row ${row}, column ${column}: ${value} cannot be stored as ${type}.`,
    'Keep the tensor in a wider type, or look for an undamaged checkpoint.',
  ],

  // Tokenizer
  TOKENIZER_MISSING: (file: string) => [`${file} has no tokenizer.`, 'Pass token ids instead of text, or add tokenizer.json to the folder.'],
  TOKENIZER_UNSUPPORTED: (file: string, component: string, name: string, known: string = '') => [
    `${file}: the tokenizer's ${component} "${name}" is not known${known && `; known are ${known}`}.`,
    'infernode never guesses how to split text; open an issue with the name of the checkpoint.',
  ],
  TOKENIZER_INVALID: (file: string, field: string, reason: string) => [
    `${file}: tokenizer: ${field}: ${reason}.`,
    'The tokenizer is damaged; download the checkpoint again.',
  ],
  TOKEN_UNKNOWN: (id: string, vocabSize: string) => [
    `There is no token ${id}; the vocabulary has ${vocabSize}.`,
    'Use the ids of this model\'s own tokenizer.',
  ],
  CHAT_TEMPLATE_MISSING: (file: string) => [
    `${file} has no chat template: it is a base model.`,
    'Use generate() with a plain prompt, or load an instruction-tuned checkpoint.',
  ],
  CHAT_TEMPLATE_INVALID: (reason: string) => [`The chat template failed: ${reason}.`, 'Check the messages, or pass another template.'],

  // Engine
  SHAPE_MISMATCH: (op: string, operand: string, expected: string, received: string) => [
    `${op}: ${operand} has the shape [${received}], expected [${expected}].`,
    'The architecture file and the checkpoint disagree; check the config.',
  ],
  PLAN_INVALID: (field: string, reason: string) => [`The plan is not valid: ${field}: ${reason}.`, 'Plans come from src/graph; this is a defect, please report it.'],
  OUT_OF_MEMORY: (purpose: string, bytes: string) => [
    `${bytes} bytes for ${purpose} could not be allocated.`,
    'Lower cacheTokens or the context length, choose a smaller kvType or checkpoint, or free memory.',
  ],
  MEMORY_LIMIT: (needed: string, limit: string, weights: string, kv: string, scratch: string) => [
    `The model needs ${grouped(needed)} bytes of memory (weights that are not mapped ${grouped(weights)}, KV cache ${grouped(kv)}, ` +
      `activations and scratch ${grouped(scratch)}); maxMemory allows ${grouped(limit)}.`,
    'Lower cacheTokens, choose a smaller kvType, leave mmap on, or raise maxMemory.',
  ],
  QUEUE_FULL: (waiting: string) => [`${waiting} requests are waiting already.`, 'Send the request again later, or raise maxQueue.'],
  LOGITS_NOT_FINITE: (position: string) => [
    `The model computed a logit that is not a finite number at position ${position}.`,
    'The checkpoint is damaged, or its quantization overflows; try another file.',
  ],
  // Tensors
  TENSOR_MISMATCH: (op: string, operands: string, expected: string) => [
    `${op}: ${operands} do not fit: expected ${expected}.`,
    'Check the shapes and dtypes; reshape(), transpose() and cast() change them.',
  ],
  TENSOR_PENDING: (op: string) => [
    `${op}: the tensor is still being filled.`,
    'Large tensors are filled in the background: await tensor.ready() before a synchronous call, or use the asynchronous one.',
  ],
  TENSOR_DETACHED: (what: string) => [`The ArrayBuffer of ${what} is detached.`, 'It was transferred or adopted; pass an array that still has its memory.'],
  TOO_LARGE_FOR_SYNC: (op: string, values: string, multiplyAdds: string, maxValues: string, maxMultiplyAdds: string) => [
    `${op}: ${values} values and ${multiplyAdds} multiply-adds are too much for a synchronous call, which may take ${maxValues} and ${maxMultiplyAdds}.`,
    'Use the asynchronous call of the same name without "Sync".',
  ],
  OPERATION_UNSUPPORTED: (what: string, where: string) => [`${what} is not supported by ${where}.`, 'Choose another backend or another call.'],

  // Native
  NATIVE_UNAVAILABLE: (reason: string) => [
    `The native addon could not be loaded: ${reason}.`,
    'Run `npm rebuild infernode` with a C++20 compiler and CMake installed, or use a platform that has a prebuilt binary.',
  ],
  ISA_UNKNOWN: (name: string, known: string) => [`There is no ISA variant "${name}".`, `Set INFERNODE_ISA to one of: ${known}.`],
  ISA_UNSUPPORTED: (name: string, missing: string) => [
    `This machine cannot run the ISA variant "${name}": it lacks ${missing}.`,
    'Unset INFERNODE_ISA to let infernode choose.',
  ],
  INTERNAL: (reason: string) => [`Internal error: ${reason}.`, 'This is a defect of infernode; please report it with the steps to see it.'],
}

export type ErrorCode = keyof typeof errors
export const errorCodes = Object.keys(errors) as ErrorCode[]

/** Thrown by every infernode function. `code` is stable across releases, `message` is not. */
export class InfernodeError<C extends ErrorCode = ErrorCode> extends Error {
  override readonly name = 'InfernodeError'
  readonly code: C
  /** What the message was made from, so that the same error can be made again on another thread. */
  readonly details: readonly string[]
  constructor(code: C, ...details: Parameters<(typeof errors)[C]>) {
    super((errors[code] as (...details: string[]) => string[])(...(details as string[])).join(' '))
    this.code = code
    this.details = details as readonly string[]
  }
}
