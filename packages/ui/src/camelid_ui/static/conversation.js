// A conversation: questions and answers are edited in place, and copied.
const article = event => event.target.closest('article');
let draft = null;  // the text being edited, and which one it is: kept when the conversation is redrawn around it
const editing = (box, on) => {
  const area = box.querySelector('textarea');
  box.querySelector('.content').hidden = on;
  box.querySelector('.editor').hidden = !on;
  box.classList.toggle('editing', on);
  draft = on ? {action: box.dataset.action, value: box.dataset.value, of: area.defaultValue, text: area.defaultValue} : null;
  if (!on) return box.querySelector('[data-edit]')?.focus();
  area.value = draft.text;
  area.rows = Math.min(14, Math.max(2, area.value.split('\n').length + area.value.length / 70));
  area.focus();
};
const edited = box => box.dataset.action === draft.action && box.dataset.value === draft.value
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
  trigger('input', {value: {name: box.dataset.action, value}});
};
let questions = 0;  // scroll to a new question
new MutationObserver(() => {
  resume();
  const now = element.querySelectorAll('article.user').length, box = element.closest('.html-container');
  if (now > questions) box?.scrollTo(0, box.scrollHeight);
  questions = now;
}).observe(element, {childList: true, subtree: true, attributeFilter: ['hidden']});  // Gradio patches the DOM in place
element.addEventListener('click', async event => {
  const button = event.target.closest('button'), box = article(event);
  if (!button || !box) return;
  if ('edit' in button.dataset) editing(box, true);
  if ('cancel' in button.dataset) editing(box, false);
  if ('save' in button.dataset) save(box);
  if ('copyAnswer' in button.dataset) {
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
