/**
 * Writes ONNX models of one operator: as much of ONNX's protobuf schema (onnx.proto3) as that takes. Field numbers are the schema's.
 */

/** Names of element types → their number in TensorProto.DataType. */
const dataTypes = { float32: 1, uint8: 2, int8: 3, int32: 6 }

/**
 * A model of one node. `inputs` and `outputs`: { name, type, shape } in the operator's order, undefined where an optional input is left
 * out; an input with `data` (a typed array) is a constant of the model. `attributes`: whole numbers by name.
 */
export function onnxModel({ op, domain = '', inputs, outputs, attributes = {} }) {
  const given = inputs.filter((input) => input)
  const node = [
    ...inputs.map((input) => text(1, input?.name ?? '')),
    ...outputs.map(({ name }) => text(2, name)),
    text(4, op),
    ...Object.entries(attributes).map(([name, value]) => message(5, [text(1, name), whole(3, value), whole(20, 2)])),
    text(7, domain),
  ]
  const graph = [
    message(1, node),
    text(2, op),
    ...given.filter(({ data }) => data).map((input) => message(5, constant(input))),
    ...given.filter(({ data }) => !data).map((input) => message(11, valueInfo(input))),
    ...outputs.map((output) => message(12, valueInfo(output))),
  ]
  const operators = (name, version) => message(8, [text(1, name), whole(2, version)])
  return Buffer.concat([whole(1, 9), message(7, graph), operators('', 17), operators('com.microsoft', 1)])
}

function constant({ name, type, shape, data }) {
  const bytes = Buffer.from(data.buffer, data.byteOffset, data.byteLength)
  return [...shape.map((size) => whole(1, size)), whole(2, dataTypes[type]), text(8, name), blob(9, bytes)]
}

function valueInfo({ name, type, shape }) {
  const dims = shape.map((size) => message(1, [whole(1, size)]))
  return [text(1, name), message(2, [message(1, [whole(1, dataTypes[type]), message(2, dims)])])]
}

function varint(value) {
  const bytes = []
  for (; value >= 128; value = Math.floor(value / 128)) bytes.push((value % 128) | 128)
  return Buffer.from([...bytes, value])
}

const whole = (field, value) => Buffer.concat([varint(field * 8), varint(value)])
const blob = (field, bytes) => Buffer.concat([varint(field * 8 + 2), varint(bytes.length), bytes])
const text = (field, value) => blob(field, Buffer.from(value))
const message = (field, parts) => blob(field, Buffer.concat(parts))
