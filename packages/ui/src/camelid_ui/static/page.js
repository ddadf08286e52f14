// The address says what is shown; copying works; a row can be chosen by click and by keyboard;
// the line in a histogram can be dragged, and writes to the number field it belongs to.
window.camelid = {
  arrived: location.search,  // before any tab announces itself
  address(changes) {
    const url = new URL(location.href);
    url.searchParams.delete('token');
    for (const [key, value] of Object.entries(changes)) {
      if (value === '' || value === null || value === undefined) url.searchParams.delete(key);
      else url.searchParams.set(key, value);
    }
    if (url.href !== location.href) history.replaceState(history.state, '', url);
  },
  open(tab) {
    const button = document.getElementById(`tab-${tab}-button`);
    if (button) button.click();
  },
};
document.addEventListener('click', async event => {
  const copy = event.target.closest('.camelid-copy');
  if (copy) {
    await navigator.clipboard.writeText(copy.dataset.copy);
    const before = copy.textContent;
    copy.textContent = '✓';
    setTimeout(() => { copy.textContent = before; }, 1200);
  }
  const link = event.target.closest('[data-open-tab]');
  if (link) {
    event.preventDefault();
    window.camelid.open(link.dataset.openTab);
  }
});
document.addEventListener('keydown', event => {
  if (event.key !== 'Enter' || !(event.ctrlKey || event.metaKey)) return;
  const panel = [...document.querySelectorAll('[role=tabpanel]')].find(each => each.offsetParent !== null);
  const run = panel && [...panel.querySelectorAll('button.primary')].find(each => each.offsetParent !== null && !each.disabled);
  if (run) { event.preventDefault(); run.click(); }
});

// The cut-off line: `figure[data-field]` names the field, `data-end` is the length at its right edge.
const cutline = {
  field: figure => document.querySelector(`#${figure.dataset.field} input`),
  place(figure, value) {
    const end = Number(figure.dataset.end), line = figure.querySelector('.cutline');
    figure.style.setProperty('--at', `${Math.min(100, 100 * value / end)}%`);
    line.setAttribute('aria-valuenow', value);
    line.classList.toggle('beyond', value > 0.9 * end);
    line.querySelector('output').textContent = value > end ? `${value} →` : value;
  },
  write(figure, value) {
    const whole = Math.max(1, Math.round(value)), field = this.field(figure);
    this.place(figure, whole);
    if (!field || Number(field.value) === whole) return;
    field.value = whole;
    field.dispatchEvent(new Event('input', {bubbles: true}));
    field.dispatchEvent(new Event('change', {bubbles: true}));
  },
  drag(figure, event) {
    const box = figure.querySelector('.plot').getBoundingClientRect();
    const share = Math.min(1, Math.max(0, (event.clientX - box.left) / box.width));
    this.write(figure, Math.max(16, share * Number(figure.dataset.end)));
  },
};
document.addEventListener('pointerdown', event => {
  const plot = event.target.closest('.camelid-histogram .plot');
  if (!plot || event.button) return;
  const figure = plot.closest('figure'), move = each => cutline.drag(figure, each);
  event.preventDefault();
  figure.querySelector('.cutline').focus();
  cutline.drag(figure, event);
  document.addEventListener('pointermove', move);
  for (const end of ['pointerup', 'pointercancel']) {
    document.addEventListener(end, () => document.removeEventListener('pointermove', move), {once: true});
  }
});
document.addEventListener('keydown', event => {
  const line = event.target.closest?.('.cutline');
  if (!line) return;
  const figure = line.closest('figure'), end = Number(figure.dataset.end), now = Number(line.getAttribute('aria-valuenow'));
  const steps = {ArrowLeft: -8, ArrowDown: -8, ArrowRight: 8, ArrowUp: 8, PageDown: -64, PageUp: 64};
  const wanted = event.key === 'Home' ? 16 : event.key === 'End' ? end : now + steps[event.key];
  if (Number.isNaN(wanted)) return;
  event.preventDefault();
  cutline.write(figure, Math.max(16, wanted));
});
document.addEventListener('input', event => {
  const value = Number(event.target.value);
  for (const figure of document.querySelectorAll('.camelid-histogram[data-field]')) {
    if (value > 0 && event.isTrusted && cutline.field(figure) === event.target) cutline.place(figure, value);
  }
});
