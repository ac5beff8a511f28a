// The language of the page: what was chosen, else the browser's. Elements of the other language are hidden by the style sheet.
'use strict';
const lang = {
  now: (() => {
    let kept = null;
    try { kept = localStorage.getItem('lianke.lang'); } catch { /* storage is off */ }
    return kept || ((navigator.language || 'zh').startsWith('zh') ? 'zh' : 'en');
  })(),
  listeners: [],
  set(to) {
    this.now = to;
    document.documentElement.lang = to === 'zh' ? 'zh-CN' : 'en';
    try { localStorage.setItem('lianke.lang', to); } catch { /* storage is off */ }
    for (const f of this.listeners) f(to);
  },
};
lang.set(lang.now);
document.addEventListener('DOMContentLoaded', () => {
  const button = document.getElementById('lang');
  button.addEventListener('click', () => lang.set(lang.now === 'zh' ? 'en' : 'zh'));
});
