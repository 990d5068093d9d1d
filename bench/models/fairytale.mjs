/** The embedded model: so small that overheads show. */
export const about = '3.7M parameters, q8_0'
export const checkpoint = () => undefined
