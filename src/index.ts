/** infernode's public API. */
export { Model } from './model.js'
export type {
  ChatOptions,
  DecodeOptions,
  EncodeOptions,
  KvType,
  LoadOptions,
  LoadProgress,
  ModelInfo,
  ModelStats,
  Percentiles,
  ProfileOptions,
  Score,
  ScoreOptions,
  TokenInText,
} from './model.js'
export type {
  PaddingOptions,
  Tokenizer,
  TokenizerInput,
  TokenizerInputOptions,
  TruncationOptions,
} from './tokenizer/tokenizer.js'
export { loadTokenizer } from './tokenizer/load.js'
export type { Encoding } from './tokenizer/lengths.js'
export type { ChatMessage, TextPart, ToolCall } from './chat/messages.js'
export { Generate } from './generate.js'
export type {
  GenerateOptions,
  GenerateResult,
  Piece,
  Prompt,
  SampleResult,
  Timings,
  TokenLogprob,
  Usage,
} from './generate.js'
export type { RequestMessage, StepMessage } from './diagnostics.js'
export { errorCodes, InfernodeError } from './errors.js'
export type { ErrorCode } from './errors.js'
export { convert, quantize } from './convert.js'
export type {
  ConversionProgress,
  ConversionReport,
  ConvertOptions,
  QuantizeOptions,
  TargetType,
  TensorReport,
  WriteOptions,
} from './convert.js'
export { inspect } from './inspect.js'
export type { Inspection } from './inspect.js'
export { drawPlan } from './graph/draw.js'
export { formatPlan } from './graph/format-plan.js'
export type { Plan } from './graph/plan.js'
export { Profile } from './profile.js'
export type { OpProfile } from './profile.js'
export { measureMachine, runtime } from './runtime.js'
export type { MachinePeaks, MeasureOptions, Runtime, RuntimeOptions } from './runtime.js'
export { Tensor } from './tensor.js'
export type { AttentionOptions, MatmulOptions, Nested, NormOptions, RandomOptions, ReduceOptions, RopeOptions, TensorOptions } from './tensor.js'
export type { ArrayOf, BlockDType, DType, FloatDType, IntegerDType, PlainDType } from './tensor/dtypes.js'
export type { Range, Shape } from './tensor/shapes.js'
