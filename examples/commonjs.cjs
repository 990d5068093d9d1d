// The same from CommonJS, without a build step.
const { Model } = require('infernode')

async function main() {
  const model = await Model.load()
  const { text } = await model.generate('There was once', { maxTokens: 20, temperature: 0 }).result()
  console.log(text)
  await model.dispose()
}
main()
