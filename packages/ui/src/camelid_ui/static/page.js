// The address says what is shown; texts can be copied; a row can be selected by click and by keyboard;
// the line in a histogram can be dragged, and writes to the number field it belongs to; curves show their values.
window.camelid = {
  arrived: location.search,
  selectedKey: '',  // of the row selected last
  changedField: {},  // the last changed field in our HTML
  compared(run, compare, most) {  // the ticked runs; two or more show the comparison
    const {value, checked} = this.changedField, rest = compare.split(',').filter(each => each && each !== value);
    const chosen = checked ? [...rest, value].slice(-most) : rest;
    return [chosen.length > 1 ? '' : run, chosen.join(',')];
  },
  tab: '',  // the open one, once it is the one in the address
  routed(query) { this.tab = new URLSearchParams(query).get('tab') || 'data'; },
  opened(tab, times) {  // how often it was opened before
    if (!this.tab || this.tab === tab) return times;
    this.tab = tab;
    this.address({tab});
    return times === '' ? '0' : String(Number(times) + 1);
  },
  address(changes) {
    const url = new URL(location.href);
    url.searchParams.delete('token');
    for (const [key, value] of Object.entries(changes)) {
      if (value === '' || value === null || value === undefined) url.searchParams.delete(key);
      else url.searchParams.set(key, value);
    }
    if (url.href !== location.href) history.replaceState(history.state, '', url);
  },
  toggle(ident) {  // a card opens to choose something else
    const card = document.getElementById(ident), open = card.dataset.open !== 'yes';
    card.dataset.open = open ? 'yes' : 'no';
    card.querySelector('.camelid-chosen button').setAttribute('aria-expanded', open);
    if (open) card.querySelector('.camelid-editor input, .camelid-editor textarea')?.focus();
  },
  copy(text) {
    if (navigator.clipboard) return navigator.clipboard.writeText(text);
    const area = document.body.appendChild(document.createElement('textarea'));  // a page that came over plain http
    area.value = text;
    area.select();
    document.execCommand('copy');
    area.remove();
  },
  open(tab) {
    const button = document.getElementById(`tab-${tab}-button`);
    if (button) button.click();
  },
};

// Gradio shows a result once its request was accepted: requests are confirmed in the order they were sent, so that an
// earlier result never replaces a later one.
const fetched = window.fetch;
let lastJoin = Promise.resolve();
window.fetch = (...args) => {
  const answer = fetched(...args);
  if (!String(args[0]?.url ?? args[0]).includes('/queue/join')) return answer;
  const inTurn = lastJoin.then(() => answer);
  lastJoin = inTurn.catch(() => {});
  return inTurn;
};

document.addEventListener('click', async event => {
  const copy = event.target.closest('.camelid-copy');
  if (copy) {
    await camelid.copy(copy.dataset.copy);
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

// Curves: a line at the pointer, or moved by arrow keys, and the values of all curves there.
const curves = {
  ends: text => text.split(',').map(Number),
  show(figure, share) {
    const [x0, x1] = this.ends(figure.dataset.x), [y0, y1] = this.ends(figure.dataset.y);
    const at = x0 + Math.min(1, Math.max(0, share)) * (x1 - x0), readings = [];
    let step = null;
    for (const line of figure.querySelectorAll('polyline')) {
      const places = line.getAttribute('points').split(' ').map(pair => this.ends(pair));
      const near = places.reduce((best, place) => Math.abs(place[0] / 1000 * (x1 - x0) + x0 - at)
        < Math.abs(best[0] / 1000 * (x1 - x0) + x0 - at) ? place : best);
      step ??= Math.round(near[0] / 1000 * (x1 - x0) + x0);
      const value = y1 - near[1] / 1000 * (y1 - y0);
      readings.push(`${line.dataset.name} ${Math.abs(value) < 1e-3 ? value.toExponential(1) : Number(value.toPrecision(4))}`);
    }
    figure.dataset.at = (step - x0) / (x1 - x0);
    figure.style.setProperty('--at', `${100 * figure.dataset.at}%`);
    figure.querySelector('output').textContent = `${figure.dataset.step} ${step} · ${readings.join(' · ')}`;
  },
  hide(figure) {
    figure.style.removeProperty('--at');
    figure.querySelector('output').textContent = '';
  },
};
document.addEventListener('animationstart', event => {  // redrawn under a resting pointer
  const figure = event.animationName === 'camelid-drawn' ? event.target : null, area = figure?.querySelector('.area');
  if (area?.matches(':hover') && curves.x !== undefined) {
    const box = area.getBoundingClientRect();
    curves.show(figure, (curves.x - box.left) / box.width);
  }
});
document.addEventListener('pointermove', event => {
  const area = event.target.closest?.('.camelid-plot .area');
  curves.x = event.clientX;
  for (const figure of document.querySelectorAll('.camelid-plot')) {
    if (area && figure.contains(area)) {
      const box = area.getBoundingClientRect();
      curves.show(figure, (event.clientX - box.left) / box.width);
    } else if (figure.style.getPropertyValue('--at') && document.activeElement !== figure) curves.hide(figure);
  }
});
document.addEventListener('keydown', event => {
  const figure = event.target.matches?.('.camelid-plot') && event.target;
  const move = {ArrowLeft: -0.02, ArrowRight: 0.02, Home: -1, End: 1}[event.key];
  if (!figure || !move) return;
  event.preventDefault();
  curves.show(figure, Number(figure.dataset.at ?? 1) + move);
});
document.addEventListener('focusout', event => { if (event.target.matches?.('.camelid-plot')) curves.hide(event.target); });
