// Sends one of each call with the official client: node send.js URL WRITE_KEY. Ends with 0 when the server has taken all.
const { Analytics } = require('@segment/analytics-node')

const [host, writeKey] = process.argv.slice(2)
const analytics = new Analytics({ writeKey, host, flushAt: 5, maxRetries: 0 })
const errors = []
analytics.on('error', (e) => errors.push(e))

analytics.identify({ userId: 'u1', anonymousId: 'a1', traits: { name: '沈若溪', level: 3 } })
analytics.track({ userId: 'u1', event: 'Product Viewed', properties: { product_id: '22423', price: 127.5 } })
analytics.track({
  userId: 'u1',
  event: 'Order Completed',
  properties: { order_id: 'A1', total: 157, products: [{ sku: '22423', price: 127.5, quantity: 1 }, { sku: '22699', price: 29.5, quantity: 1 }] },
  timestamp: new Date(Date.now() - 3600_000),
})
analytics.page({ anonymousId: 'a1', name: 'home', properties: { path: '/' } })
analytics.screen({ userId: 'u1', name: 'card' })
analytics.group({ userId: 'u1', groupId: 'g1' })
analytics.alias({ userId: 'u1', previousId: 'a2' })
for (let i = 0; i < 40; i++) analytics.track({ userId: `v${i % 4}`, event: '打卡', properties: { n: i } })

analytics.closeAndFlush({ timeout: 20_000 }).then(() => {
  if (errors.length) {
    console.error(errors)
    process.exit(1)
  }
})
