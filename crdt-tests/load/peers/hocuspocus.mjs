// Hocuspocus as its documentation starts it: the SQLite extension, all else as it comes.
// HOST, PORT, DATABASE come from peers.toml.
import { Server } from '@hocuspocus/server'
import { SQLite } from '@hocuspocus/extension-sqlite'

const server = new Server({
  address: process.env.HOST,
  port: Number(process.env.PORT),
  quiet: true,
  extensions: [new SQLite({ database: process.env.DATABASE })]
})

await server.listen()
