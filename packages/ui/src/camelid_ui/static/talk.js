// A conversation: its texts can be edited where they stand, and copied.
const article = event => event.target.closest('article');
let draft = null;  // what is being written, and of which text: it stays when the conversation is drawn anew around it
const editing = (box, on) => {
  const area = box.querySelector('textarea');
  box.querySelector('.said').hidden = on;
  box.querySelector('.editor').hidden = !on;
  box.classList.toggle('editing', on);
  draft = on ? {deed: box.dataset.deed, value: box.dataset.value, of: area.defaultValue, text: area.defaultValue} : null;
  if (!on) return box.querySelector('[data-edit]')?.focus();
  area.value = draft.text;
  area.rows = Math.min(14, Math.max(2, area.value.split('\n').length + area.value.length / 70));
  area.focus();
};
const edited = box => box.dataset.deed === draft.deed && box.dataset.value === draft.value
  && box.querySelector('.editor[hidden] textarea')?.defaultValue === draft.of;
const resume = () => {
  const box = draft && [...element.querySelectorAll('article')].find(edited);
  if (!box) return;
  const text = draft.text;
  editing(box, true);
  box.querySelector('textarea').value = draft.text = text;
};
const save = box => {
  const text = box.querySelector('textarea').value;
  editing(box, false);
  const value = JSON.stringify({...JSON.parse(box.dataset.value), to: text});
  trigger('input', {value: {name: box.dataset.deed, value}});
};
let asked = 0;  // a new question is shown, wherever one was reading
new MutationObserver(() => {
  resume();
  const now = element.querySelectorAll('article.user').length, box = element.closest('.html-container');
  if (now > asked) box?.scrollTo(0, box.scrollHeight);
  asked = now;
}).observe(element, {childList: true, subtree: true, attributeFilter: ['hidden']});  // Gradio mends what is there
element.addEventListener('click', async event => {
  const button = event.target.closest('button'), box = article(event);
  if (!button || !box) return;
  if ('edit' in button.dataset) editing(box, true);
  if ('cancel' in button.dataset) editing(box, false);
  if ('save' in button.dataset) save(box);
  if ('copySaid' in button.dataset) {
    await camelid.copy(box.querySelector('textarea').defaultValue);
    const before = button.textContent;
    button.textContent = '✓';
    setTimeout(() => { button.textContent = before; }, 1200);
  }
});
element.addEventListener('input', event => {
  if (draft && event.target.matches('.editor textarea')) draft.text = event.target.value;
});
element.addEventListener('keydown', event => {
  if (!event.target.matches('.editor textarea')) return;
  const done = event.key === 'Enter' && (event.ctrlKey || event.metaKey) && !article(event).querySelector('.save').disabled;
  if (done || event.key === 'Escape') event.stopPropagation();  // the page's own Ctrl+Enter sends the message
  if (done) save(article(event));
  if (event.key === 'Escape') editing(article(event), false);
});
