// Tencent's own crypto package makes a callback envelope, and opens one of the sandbox's. Prints one JSON object.
import crypto from '@wecom/crypto'

const { encrypt, decrypt, getSignature } = crypto
const { AES_KEY, TOKEN, RECEIVER, TIMESTAMP, NONCE, MESSAGE, SEALED } = process.env
const encrypted = encrypt(AES_KEY, MESSAGE, RECEIVER)
console.log(JSON.stringify({
  encrypted,
  signature: getSignature(TOKEN, TIMESTAMP, NONCE, encrypted),
  opened: decrypt(AES_KEY, SEALED),
}))
