/** Text arguments: given on the command line, or read from stdin where they are "-". */
export async function readTextArgument(argument: string): Promise<string> {
  if (argument !== '-') return argument
  const chunks: Buffer[] = []
  for await (const chunk of process.stdin) chunks.push(chunk as Buffer)
  return Buffer.concat(chunks).toString('utf8')
}
