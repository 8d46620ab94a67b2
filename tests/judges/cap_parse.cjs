// Reads filters, one a line, and answers each with what SAP CAP's own parser makes of it, as one line of JSON.
const readline = require('node:readline')
const cds = require(process.argv[2])

function parsed (filter) {
  try {
    return { where: cds.odata.parse(`/Facts?$filter=${filter}`).SELECT.where }
  } catch (error) {
    return { error: error.message }
  }
}

readline
  .createInterface({ input: process.stdin })
  .on('line', line => process.stdout.write(JSON.stringify(parsed(line)) + '\n'))
