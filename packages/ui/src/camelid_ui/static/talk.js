// A conversation: its texts can be edited where they stand, and copied.
const article = event => event.target.closest('article');
const editing = (box, on) => {
  const area = box.querySelector('textarea');
  box.querySelector('.said').hidden = on;
  box.querySelector('.editor').hidden = !on;
  box.classList.toggle('editing', on);
  if (!on) return box.querySelector('[data-edit]')?.focus();
  area.value = area.defaultValue;
  area.rows = Math.min(14, Math.max(2, area.value.split('\n').length + area.value.length / 70));
  area.focus();
};
const save = box => {
  const text = box.querySelector('textarea').value;
  editing(box, false);
  const value = JSON.stringify({...JSON.parse(box.dataset.value), to: text});
  trigger('input', {value: {name: box.dataset.deed, value}});
};
let asked = 0;  // a new question is shown, wherever one was reading
new MutationObserver(() => {
  const now = element.querySelectorAll('article.user').length, box = element.closest('.html-container');
  if (now > asked) box?.scrollTo(0, box.scrollHeight);
  asked = now;
}).observe(element, {childList: true, subtree: true});
element.addEventListener('click', async event => {
  const button = event.target.closest('button'), box = article(event);
  if (!button || !box) return;
  if ('edit' in button.dataset) editing(box, true);
  if ('cancel' in button.dataset) editing(box, false);
  if ('save' in button.dataset) save(box);
  if ('copySaid' in button.dataset) {
    await navigator.clipboard.writeText(box.querySelector('textarea').defaultValue);
    const before = button.textContent;
    button.textContent = '✓';
    setTimeout(() => { button.textContent = before; }, 1200);
  }
});
element.addEventListener('keydown', event => {
  if (!event.target.matches('.editor textarea')) return;
  const done = event.key === 'Enter' && (event.ctrlKey || event.metaKey);
  if (done || event.key === 'Escape') event.stopPropagation();  // the page's own Ctrl+Enter sends the message
  if (done) save(article(event));
  if (event.key === 'Escape') editing(article(event), false);
});
