// Validates the OpenAPI document on stdin against the specification's own JSON schema; says what is wrong with it.
import { Validator } from '@seriousme/openapi-schema-validator'

const chunks = []
for await (const chunk of process.stdin) chunks.push(chunk)
const result = await new Validator().validate(Buffer.concat(chunks).toString())
if (!result.valid) {
  console.error(JSON.stringify(result.errors, null, 2))
  process.exit(1)
}
