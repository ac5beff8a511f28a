// Leads every TLS connection of this process to the sandbox; SNI, Host header and certificate check stay as they are.
import { createRequire } from 'node:module'

const tls = createRequire(import.meta.url)('node:tls')
const [host, port] = process.env.SANDBOX_HTTPS.split(':')
const connect = tls.connect
tls.connect = (options, ...rest) => connect({ ...options, servername: options.servername || options.host, host, port: Number(port) }, ...rest)
