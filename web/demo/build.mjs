// Builds the page into `dist/`, or into the folder that is named. The same sources and packages give the same bytes.

import { build } from 'esbuild'
import { mkdir, readFile, readdir, writeFile } from 'node:fs/promises'
import { dirname, join, relative, resolve } from 'node:path'
import { fileURLToPath } from 'node:url'
import { gzipSync } from 'node:zlib'

const home = dirname(fileURLToPath(import.meta.url))
const dist = resolve(process.argv[2] ?? join(home, 'dist'))
const source = name => join(home, 'src', name)

const common = { absWorkingDir: home, bundle: true, minify: true, write: false, legalComments: 'none', charset: 'utf8' }
const script = await build({
  ...common,
  entryPoints: [source('main.js')],
  format: 'esm',
  // Two years of browsers and more.
  target: ['chrome111', 'firefox113', 'safari16.4'],
  metafile: true
})
const style = await build({ ...common, entryPoints: [source('style.css')], target: ['chrome111', 'firefox113', 'safari16.4'] })

/** The folder of a package, from a file in it. */
const packageOf = file => /^(.*node_modules\/(?:@[^/]+\/)?[^/]+)\//.exec(file)?.[1]

/** The licence of every package that is in the bundle, as their licences ask for. */
const licences = async inputs => {
  const folders = [...new Set(Object.keys(inputs).map(packageOf).filter(Boolean))].sort()
  const texts = new Map()
  for (const folder of folders) {
    const { name, version, license } = JSON.parse(await readFile(join(home, folder, 'package.json'), 'utf8'))
    const file = (await readdir(join(home, folder))).sort().find(entry => /^licen[cs]e/i.test(entry))
    const text = file ? (await readFile(join(home, folder, file), 'utf8')).trim() : `${license}; the package has no licence file.`
    texts.set(text, [...(texts.get(text) ?? []), `${name} ${version} (${license})`])
  }
  const parts = [...texts].map(([text, names]) => `${names.join('\n')}\n\n${text}\n`)
  return `What this page is made of, beside weft's own sources:\n\n${parts.join(`\n${'-'.repeat(78)}\n\n`)}`
}

const files = {
  'index.html': await readFile(source('index.html')),
  'demo.css': Buffer.from(style.outputFiles[0].contents),
  'demo.js': Buffer.from(script.outputFiles[0].contents),
  'demo.licences.txt': Buffer.from(await licences(script.metafile.inputs))
}

await mkdir(dist, { recursive: true })
for (const [name, bytes] of Object.entries(files)) {
  await writeFile(join(dist, name), bytes)
  const packed = gzipSync(bytes, { level: 9 })
  await writeFile(join(dist, `${name}.gz`), packed)
  console.log(`${relative(process.cwd(), join(dist, name))}: ${bytes.length} bytes, ${packed.length} packed`)
}
