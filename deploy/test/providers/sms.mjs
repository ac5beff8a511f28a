// Aliyun's official client sends through the sandbox. Prints one JSON object.
import './sandboxed.mjs'
import dysms from '@alicloud/dysmsapi20170525'
import core from '@alicloud/openapi-core'

const { default: Client, SendSmsRequest } = dysms
const Config = core.$OpenApiUtil.Config
const client = secret => new Client(new Config({
  accessKeyId: process.env.ACCESS_KEY, accessKeySecret: secret, endpoint: 'dysmsapi.aliyuncs.com',
}))
const request = new SendSmsRequest({
  phoneNumbers: '13800138000', signName: '连客', templateCode: 'SMS_1', outId: 'node-1',
  templateParam: JSON.stringify({ name: '王小明 & +~*', code: 'A1', url: 'http://127.0.0.1:1/x' }),
})
const good = await client(process.env.SECRET).sendSms(request)
let refused = ''
try {
  await client('wrong').sendSms(request)
} catch (err) {
  refused = err.code
}
console.log(JSON.stringify({ code: good.body.code, bizId: good.body.bizId, refused }))
