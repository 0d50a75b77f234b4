// Runs the mongosh queries of docs/analysts.md on dumped collections, without a server.
//
//   node run.mjs DUMP < BLOCKS
//
// DUMP is a folder with a file NAME.jsonl for each collection: one document a line, as relaxed Extended
// JSON. BLOCKS is a JSON array of pieces of mongosh script, that are run one after the other in one scope,
// as if they were pasted. Standard output is a JSON array with the answer of each: what the shell would
// show of its last expression, and what it printed.
import fs from "node:fs"
import path from "node:path"
import vm from "node:vm"
import * as mingo from "mingo"

const [dump] = process.argv.slice(2)

// revive turns Extended JSON into what the shell has. Numbers are plain in it, and binaries are of no
// interest.
const revive = (_, v) => {
  if (v !== null && typeof v === "object") {
    if (typeof v.$date === "string") return new Date(v.$date)
    if (v.$numberLong !== undefined) return Number(v.$numberLong)
  }
  return v
}

const loaded = new Map()
const documents = (name) => {
  if (!loaded.has(name)) {
    const file = path.join(dump, name + ".jsonl")
    if (!fs.existsSync(file)) throw new Error(`there is no collection ${name}`)
    const lines = fs.readFileSync(file, "utf8").split("\n")
    loaded.set(name, lines.filter((l) => l !== "").map((l) => JSON.parse(l, revive)))
  }
  return loaded.get(name)
}

const options = { collectionResolver: documents, useStrictMode: true }

// Cursor is what find and aggregate give: only what the guide uses of it.
class Cursor {
  constructor(all) { this.all = all }
  toArray() { return this.all() }
  forEach(f) { this.toArray().forEach((d) => f(d)) }
  map(f) { return new Cursor(() => this.toArray().map((d) => f(d))) }
}

class Found extends Cursor {
  constructor(name, filter, projection) {
    super(() => {
      let c = new mingo.Query(filter ?? {}, options).find(documents(name), projection ?? {})
      if (this.order) c = c.sort(this.order)
      if (this.most) c = c.limit(this.most)
      return c.all()
    })
  }
  sort(order) { this.order = order; return this }
  limit(n) { this.most = n; return this }
}

const collection = (name) => ({
  find: (filter, projection) => new Found(name, filter, projection),
  findOne: (filter, projection) => new Found(name, filter, projection).limit(1).toArray()[0] ?? null,
  aggregate: (pipeline) => new Cursor(() => new mingo.Aggregator(pipeline, options).run(documents(name))),
  countDocuments: (filter) => new Found(name, filter).toArray().length,
  distinct: (field, filter) =>
    new mingo.Aggregator([{ $match: filter ?? {} }, { $group: { _id: "$" + field } }, { $sort: { _id: 1 } }], options)
      .run(documents(name)).map((d) => d._id),
})

let printed = []
const scope = vm.createContext({
  db: new Proxy({}, { get: (_, name) => collection(name) }),
  ISODate: (text) => (text === undefined ? new Date() : new Date(text)),
  print: (...words) => printed.push(words.join(" ")),
  Date, // one kind of Date on both sides, for the engine tells by it
})

const answers = JSON.parse(fs.readFileSync(0, "utf8")).map((block) => {
  printed = []
  let value
  try {
    value = new vm.Script(block).runInContext(scope)
  } catch (err) {
    throw new Error(`${err.message}, in:\n${block}`, { cause: err })
  }
  if (value instanceof Cursor) value = value.toArray()
  return { value: value === undefined ? null : value, printed }
})
process.stdout.write(JSON.stringify(answers))
