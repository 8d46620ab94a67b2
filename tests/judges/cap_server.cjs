// SAP CAP on loopback, behind a token endpoint. Arguments: node_modules, the model, a file of rows, milliseconds to
// hold each page back. Prints the port as JSON, and one line of JSON for each request of facts; ends with its stdin.
const path = require('node:path')
const fs = require('node:fs')

const [modules, modelFile, rowsFile, delay] = process.argv.slice(2)
process.env.CDS_REQUIRES_AUTH_KIND = 'dummy'
const cds = require(path.join(modules, '@sap', 'cds'))
const express = require(path.join(modules, 'express'))

console.log = console.info = console.error // what CAP says of itself is not for our reader
const CLIENT = 'Basic ' + Buffer.from('judge:secret').toString('base64')
let tokens = 0

async function main () {
  cds.env.requires.auth = { kind: 'dummy' }
  cds.env.requires.db = {
    kind: 'sqlite', impl: path.join(modules, '@cap-js', 'sqlite'), credentials: { url: ':memory:' }, driver: 'node'
  }
  cds.model = cds.compile.for.nodejs(cds.compile(fs.readFileSync(modelFile, 'utf8')))
  cds.db = await cds.connect.to('db')
  await cds.deploy(cds.model).to(cds.db)
  for (const [entity, rows] of Object.entries(JSON.parse(fs.readFileSync(rowsFile, 'utf8')))) {
    for (let at = 0; at < rows.length; at += 1000) await INSERT.into(entity).entries(rows.slice(at, at + 1000))
  }
  const app = (cds.app = express())
  app.post('/oauth/token', (req, res) => {
    if (req.headers.authorization !== CLIENT) return res.status(401).json({ error: 'invalid_client' })
    res.json({ access_token: `token-${++tokens}`, token_type: 'bearer', expires_in: 3599 })
  })
  app.use((req, res, next) => {
    if (!/^Bearer token-\d+$/.test(req.headers.authorization ?? '')) return res.status(401).end()
    const master = /\/(\w+Master(?:WithHierarchy)?)$/.exec(req.path)
    if (master && !cds.model.definitions[`sac.${master[1]}`]) { // in SAC's words: CAP's lack the number
      return res.status(404).json({ error: { code: '3707', message: `The entity set ${master[1]} does not exist [3707]` } })
    }
    if (!req.path.includes('/FactData')) return next()
    process.stdout.write(JSON.stringify({ url: req.originalUrl }) + '\n')
    setTimeout(next, Number(delay))
  })
  await cds.serve('all').in(app)
  const server = app.listen(0, '127.0.0.1', () =>
    process.stdout.write(JSON.stringify({ port: server.address().port }) + '\n'))
}

process.stdin.on('end', () => process.exit()).resume()
main().catch(error => { console.error(error); process.exit(1) })
