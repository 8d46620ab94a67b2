// Reads models in CDS, one a line as JSON, and answers each with the EDMX that SAP CAP makes of it, as a line of JSON.
const readline = require('node:readline')
console.log = console.info = console.warn = console.error
const cds = require(process.argv[2])

readline.createInterface({ input: process.stdin }).on('line', line => {
  const { model, format } = JSON.parse(line)
  const edmx = cds.compile.to.edmx(cds.compile(model), { service: 'sac', odataFormat: format })
  process.stdout.write(JSON.stringify(edmx) + '\n')
})
