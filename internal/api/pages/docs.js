// The API documentation: /openapi.json as a page. Everything shown is made from the document by createElement, nothing is
// parsed as HTML.
'use strict';

const words = {
  zh: {
    filter: '筛选:路径、用途、角色', roles: '可用角色', anyone: '无需登录', params: '参数', body: '请求内容(JSON)', answer: '成功时返回',
    nothing: '无内容', errors: '失败时', curl: '示例', copy: '复制', copied: '已复制', name: '名称', where: '位置', kind: '类型', limits: '限制',
    about: '说明', count: n => `${n} 个接口`, none: '没有符合的接口', failed: '无法读取 /openapi.json', required: '必填',
    title: 'HTTP 接口', path: '路径', query: '查询', header: '请求头', cookie: 'Cookie',
    intro: [
      '接口地址以 /api/v1 开头,内容为 JSON。用会话 Cookie(POST /api/v1/session 登录)或 API 密钥(Authorization: Bearer lk_api_…)表明身份;密钥由管理员创建。',
      '角色决定可以调用什么,组织范围决定看到哪些会员:范围之外的会员视为不存在。个人信息在服务端脱敏。',
      '错误是 RFC 9457 文档:code 稳定不变,text 与 hint 为中英文,fields 指出有问题的输入。',
      'POST 可带 Idempotency-Key:24 小时内相同的键和内容得到第一次的结果(Idempotency-Replayed: true),相同的键、不同的内容返回 409。',
      '列表返回 items 与 next_cursor;把 next_cursor 作为 cursor 传回即可继续读取。',
    ],
    tracking: '行为采集(/v1/identify、track、page、alias、batch)遵循 Segment HTTP 规范,使用写入密钥,不在此列。',
  },
  en: {
    filter: 'filter: path, purpose, role', roles: 'Roles', anyone: 'no sign-in needed', params: 'Parameters', body: 'Request body (JSON)', answer: 'Answer',
    nothing: 'no content', errors: 'Failures', curl: 'Example', copy: 'Copy', copied: 'Copied', name: 'Name', where: 'In', kind: 'Type', limits: 'Limits',
    about: 'About', count: n => `${n} operations`, none: 'No operation matches', failed: '/openapi.json cannot be read', required: 'required',
    title: 'HTTP API', path: 'path', query: 'query', header: 'header', cookie: 'cookie',
    intro: [
      'Addresses begin with /api/v1, bodies are JSON. Say who you are with a session cookie (sign in with POST /api/v1/session) or an API key (Authorization: Bearer lk_api_…), which an admin makes.',
      'Roles decide what may be called, the organisation scope which members are seen: a member outside of it does not exist. Personal data is masked by the server.',
      'Errors are RFC 9457 documents: code is stable, text and hint are in both languages, fields name the offending inputs.',
      'POST takes an Idempotency-Key: within 24 hours the same key and content get the first answer (Idempotency-Replayed: true), the same key with other content gets 409.',
      'Lists answer items and next_cursor; pass next_cursor as cursor to read on.',
    ],
    tracking: 'Tracking (/v1/identify, track, page, alias, batch) follows the Segment HTTP spec with a write key and is not listed here.',
  },
};

const tagNames = {
  session: '登录', operators: '操作员', keys: '密钥', audit: '审计', members: '会员', points: '积分', coupons: '优惠券', segments: '人群',
  journeys: '旅程', channels: '渠道与消息', templates: '消息模板', products: '商品', orders: '订单', activity: '行为', imports: '导入',
};
const roleNames = {
  admin: '管理员', marketer: '营销', merchandiser: '商品', associate: '导购', manager: '店长', agent: '客服', finance: '财务', partner: '合作伙伴',
};

let doc = null;
const open = new Set();

const w = () => words[lang.now];
const both = (names, code) => (lang.now === 'zh' && names[code] ? `${names[code]} ${code}` : code);

// el makes an element; children are nodes or text.
function el(tag, attrs, ...children) {
  const e = document.createElement(tag);
  for (const [k, v] of Object.entries(attrs || {})) {
    if (k === 'class') e.className = v;
    else if (k.startsWith('on')) e.addEventListener(k.slice(2), v);
    else e.setAttribute(k, v);
  }
  for (const c of children.flat(Infinity)) if (c !== null && c !== undefined) e.append(c);
  return e;
}

function resolve(schema) {
  return schema && schema.$ref ? doc.components.schemas[schema.$ref.split('/').pop()] || {} : schema || {};
}

const nameOf = schema => (schema && schema.$ref ? schema.$ref.split('/').pop() : '');

function typeOf(schema) {
  const s = resolve(schema);
  const type = Array.isArray(s.type) ? s.type.filter(t => t !== 'null').join(' | ') : s.type;
  if (type === 'array') return `${typeOf(s.items)}[]`;
  if (type === 'object' && s.additionalProperties && typeof s.additionalProperties === 'object') return `{ …: ${typeOf(s.additionalProperties)} }`;
  return (type || 'any') + (s.format && s.format !== 'int64' ? ` (${s.format})` : '');
}

function limitsOf(schema) {
  const s = resolve(schema);
  const out = [];
  if (s.enum) out.push(...s.enum.map(String));
  if (s.minLength !== undefined || s.maxLength !== undefined) out.push(`${s.minLength ?? 0}–${s.maxLength ?? '∞'} ch`);
  if (s.minItems !== undefined || s.maxItems !== undefined) out.push(`${s.minItems ?? 0}–${s.maxItems ?? '∞'} items`);
  if (s.minimum !== undefined) out.push(`≥ ${s.minimum}`);
  if (s.exclusiveMinimum !== undefined) out.push(`> ${s.exclusiveMinimum}`);
  if (s.maximum !== undefined) out.push(`≤ ${s.maximum}`);
  if (s.exclusiveMaximum !== undefined) out.push(`< ${s.exclusiveMaximum}`);
  if (s.pattern) out.push(s.pattern);
  if (s.default !== undefined) out.push(`= ${JSON.stringify(s.default)}`);
  return out.map(t => el('code', {}, t));
}

// rowsOf lists the fields of a schema, nested ones indented; a type inside itself is named, not entered.
function rowsOf(schema, depth, above) {
  let s = resolve(schema);
  let name = nameOf(schema);
  while (s.type === 'array' || (Array.isArray(s.type) && s.type.includes('array'))) {
    name = nameOf(s.items) || name;
    s = resolve(s.items);
  }
  if (!s.properties && s.additionalProperties && typeof s.additionalProperties === 'object') {
    return rowsOf(s.additionalProperties, depth, above);
  }
  if (!s.properties || depth > 4 || (name && above.includes(name))) return [];
  const inside = name ? [...above, name] : above;
  return Object.entries(s.properties).flatMap(([field, sub]) => {
    const must = (s.required || []).includes(field);
    const row = el('tr', {},
      el('td', {}, el('span', { class: 'indent' }, '· '.repeat(depth)), field, must ? el('span', { class: 'must', title: w().required }, '*') : null),
      el('td', { class: 'kind' }, typeOf(sub)),
      el('td', { class: 'limits' }, limitsOf(sub)),
      el('td', {}, sub.description || resolve(sub).description || ''));
    return [row, ...rowsOf(sub, depth + 1, inside)];
  });
}

function fields(schema) {
  const rows = rowsOf(schema, 0, []);
  if (!rows.length) return el('p', {}, el('code', {}, typeOf(schema)));
  const t = w();
  return el('div', { class: 'scroll' }, el('table', {},
    el('thead', {}, el('tr', {}, [t.name, t.kind, t.limits, t.about].map(h => el('th', {}, h)))), el('tbody', {}, rows)));
}

function parameters(list) {
  const t = w();
  return el('div', { class: 'scroll' }, el('table', {},
    el('thead', {}, el('tr', {}, [t.name, t.where, t.kind, t.limits, t.about].map(h => el('th', {}, h)))),
    el('tbody', {}, list.map(p => el('tr', {},
      el('td', {}, p.name, p.required ? el('span', { class: 'must', title: t.required }, '*') : null),
      el('td', { class: 'kind' }, t[p.in] || p.in),
      el('td', { class: 'kind' }, typeOf(p.schema)),
      el('td', { class: 'limits' }, limitsOf(p.schema)),
      el('td', {}, p.description || ''))))));
}

// example is a value of the schema with its required fields, or all of the first level if none is required.
function example(schema, depth, name) {
  const s = resolve(schema);
  if (s.examples && s.examples.length) return s.examples[0];
  if (s.default !== undefined) return s.default;
  if (s.enum) return s.enum[0];
  const type = Array.isArray(s.type) ? s.type.find(t => t !== 'null') : s.type;
  switch (type) {
    case 'string':
      if (s.format === 'date-time') return '2026-11-11T00:00:00+08:00';
      if (s.format === 'uuid') return '0193a5c2-0000-7000-8000-000000000000';
      return ['id', 'birth', 'member', 'other'].includes(name) ? '1' : name === 'code' ? 'tea' : '…';
    case 'integer': case 'number': return s.minimum ?? 1;
    case 'boolean': return false;
    case 'array': return depth > 2 ? [] : [example(s.items, depth + 1, (name || '').replace(/s$/, ''))];
    case 'object': {
      if (!s.properties || depth > 2) return {};
      const keys = Object.keys(s.properties).filter(k => (s.required || []).includes(k));
      return Object.fromEntries((keys.length || depth ? keys : Object.keys(s.properties)).map(k => [k, example(s.properties[k], depth + 1, k)]));
    }
    default: return name === 'rule' ? { tag: 'vip' } : {};
  }
}

function curlOf(op) {
  const path = op.path.replace(/\{(\w+)\}/g, (_, n) => ({ code: 'tea', id: '1', birth: '1' }[n] || n.toUpperCase()));
  const must = (op.parameters || []).filter(p => p.in === 'query' && p.required).map(p => `${p.name}=…`).join('&');
  const lines = [`curl${op.method === 'get' ? '' : ' -X ' + op.method.toUpperCase()} '${location.origin}${path}${must ? '?' + must : ''}'`];
  if (op.security) lines.push('-H "Authorization: Bearer $LIANKE_KEY"');
  if ((op.parameters || []).some(p => p.name === 'Idempotency-Key')) lines.push('-H "Idempotency-Key: $(uuidgen)"');
  const json = op.requestBody && op.requestBody.content['application/json'];
  if (json) lines.push("-H 'Content-Type: application/json'", `-d '${JSON.stringify(example(json.schema, 0, ''))}'`);
  return lines.join(' \\\n  ');
}

function bodyOf(op) {
  const t = w();
  const out = [];
  if (op.description) out.push(el('p', {}, op.description));
  out.push(el('h3', {}, t.roles), el('div', {}, op.security ? (op['x-roles'] || []).map(r => el('span', { class: 'role' }, both(roleNames, r))) : el('span', { class: 'role' }, t.anyone)));
  if (op.parameters && op.parameters.length) out.push(el('h3', {}, t.params), parameters(op.parameters));
  const json = op.requestBody && op.requestBody.content['application/json'];
  if (json) out.push(el('h3', {}, t.body), fields(json.schema));
  const good = Object.keys(op.responses).find(s => s.startsWith('2'));
  const answer = good && op.responses[good].content && op.responses[good].content['application/json'];
  out.push(el('h3', {}, `${t.answer} · ${good || ''}`), answer ? fields(answer.schema) : el('p', {}, t.nothing));
  const bad = Object.keys(op.responses).filter(s => !s.startsWith('2'));
  if (bad.length) out.push(el('h3', {}, t.errors), el('p', {}, bad.map(s => [el('code', {}, s), ` ${op.responses[s].description || ''}   `])));
  const text = curlOf(op);
  const copy = el('button', { onclick: async () => {
    try { await navigator.clipboard.writeText(text); copy.textContent = w().copied; } catch { getSelection().selectAllChildren(pre); }
  } }, t.copy);
  const pre = el('pre', {}, text);
  out.push(el('h3', {}, t.curl), el('div', { class: 'curl' }, pre, copy));
  return out;
}

// card is one operation; its body is made when it is opened.
function card(op) {
  const parts = op.path.split(/(\{\w+\})/).map(p => (p.startsWith('{') ? el('i', {}, p) : p));
  const body = el('div', { class: 'body' });
  const d = el('details', { class: 'op', id: op.operationId },
    el('summary', {}, el('span', { class: `method ${op.method}` }, op.method.toUpperCase()), el('span', { class: 'path' }, parts), el('span', { class: 'what' }, op.summary)), body);
  d.addEventListener('toggle', () => {
    if (!d.open) { open.delete(op.operationId); return; }
    open.add(op.operationId);
    if (!body.firstChild) body.append(...bodyOf(op));
  });
  d.open = open.has(op.operationId);
  return d;
}

function operations() {
  const order = ['get', 'post', 'put', 'patch', 'delete'];
  return Object.entries(doc.paths).flatMap(([path, methods]) => order.filter(m => methods[m]).map(method => ({ path, method, ...methods[method] })));
}

function render() {
  document.getElementById('filter').placeholder = w().filter;
  if (!doc) return;
  const wanted = document.getElementById('filter').value.trim().toLowerCase().split(/\s+/).filter(Boolean);
  const matches = operations().filter(op => {
    const text = [op.path, op.method, op.summary, op.operationId, op.tags.map(t => both(tagNames, t)), (op['x-roles'] || []).map(r => both(roleNames, r))].flat().join(' ').toLowerCase();
    return wanted.every(word => text.includes(word));
  });
  const tags = [...new Set(matches.map(op => op.tags[0]))].sort((a, b) => Object.keys(tagNames).indexOf(a) - Object.keys(tagNames).indexOf(b));
  const nav = document.getElementById('nav');
  const main = document.getElementById('main');
  nav.replaceChildren();
  main.replaceChildren();
  const t = w();
  if (!wanted.length) {
    main.append(el('section', { class: 'intro' }, el('h1', {}, t.title),
      el('ul', {}, t.intro.map(line => el('li', {}, line))), el('p', {}, t.tracking), el('p', {}, el('a', { href: '/openapi.json' }, 'openapi.json'), ` · OpenAPI ${doc.openapi} · ${doc.info.version}`)));
  }
  if (!matches.length) main.append(el('p', { class: 'state' }, t.none));
  for (const tag of tags) {
    const ops = matches.filter(op => op.tags[0] === tag);
    nav.append(el('h2', {}, both(tagNames, tag)), el('div', {}, ops.map(op => el('a', { href: `#${op.operationId}`, title: `${op.method.toUpperCase()} ${op.path}` }, op.summary))));
    main.append(el('h2', { class: 'tag', id: `tag-${tag}` }, both(tagNames, tag), el('small', {}, t.count(ops.length))), ...ops.map(card));
  }
}

// reveal opens the operation that the address names.
function reveal() {
  const target = document.getElementById(decodeURIComponent(location.hash.slice(1)));
  if (target && target.tagName === 'DETAILS') { target.open = true; target.scrollIntoView(); }
}

async function start() {
  render();
  try {
    const answer = await fetch('/openapi.json');
    if (!answer.ok) throw new Error(String(answer.status));
    doc = await answer.json();
  } catch (e) {
    document.getElementById('state').textContent = `${w().failed}: ${e.message}`;
    return;
  }
  render();
  reveal();
}

lang.listeners.push(render);
document.getElementById('filter').addEventListener('input', render);
addEventListener('hashchange', reveal);
start();
