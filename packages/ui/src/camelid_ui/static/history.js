// Conversations stored in this browser, each under a key of its own: two tabs never overwrite each other's, and where
// both go on with the same one, it becomes two.
// Knows entries {version, ident, title, named, when, talk, …} and how they are listed. What a talk holds is the pages'.
window.camelidHistory = (() => {
  const PREFIX = 'camelid.talk.', VERSION = 1;
  const limits = {most: 200, room: 3000000, shown: 40};  // characters; browsers keep about five million
  const icon = path => `<svg viewBox="0 0 16 16" width="15" height="15" aria-hidden="true"><path fill="none" stroke="currentColor"
    stroke-width="1.3" stroke-linejoin="round" stroke-linecap="round" d="${path}"/></svg>`;
  const ICONS = {
    rename: icon('M10.8 2.7l2.5 2.5-7.6 7.6-3.2.7.7-3.2zM9.3 4.2l2.5 2.5'),
    delete: icon('M3 4.5h10M6.5 4.3V2.8h3v1.5M4.3 4.7l.6 8.5h6.2l.6-8.5M6.7 7v4M9.3 7v4'),
  };
  const ui = {element: null, trigger: null, words: {}, query: '', current: '', asking: '', naming: '', notice: ''};

  function parsed(key, text) {
    try {
      const entry = JSON.parse(text);
      const sound = entry && entry.version === VERSION && PREFIX + entry.ident === key && typeof entry.title === 'string'
        && Number.isFinite(entry.when) && entry.talk && Array.isArray(entry.talk.turns);
      return sound ? entry : null;
    } catch { return null; }
  }
  function keys(store) {
    return Array.from({length: store.length}, (_, at) => store.key(at)).filter(key => key && key.startsWith(PREFIX));
  }
  function all(store) {  // the newest first; what is no entry of ours is passed over
    return keys(store).map(key => ({key, text: store.getItem(key)}))
      .map(({key, text}) => ({entry: parsed(key, text), size: key.length + (text || '').length}))
      .filter(({entry}) => entry).map(({entry, size}) => ({...entry, size}))
      .sort((a, b) => b.when - a.when || (a.ident < b.ident ? -1 : 1));
  }
  const fingerprint = turn => JSON.stringify([turn?.question, turn?.parent, turn?.system]);
  function put(store, entry, now, evict = true) {  // {kept, dropped, full}: the oldest others make room, if they may
    const key = PREFIX + entry.ident, before = parsed(key, store.getItem(key));
    if (before && JSON.stringify(before.talk) === JSON.stringify(entry.talk)) return {kept: true, dropped: 0};
    const forked = before && before.talk.turns.find((turn, at) => fingerprint(turn) !== fingerprint(entry.talk.turns[at]));
    const title = before && before.named ? before.title : entry.title;
    const text = JSON.stringify({...entry, version: VERSION, title, named: Boolean(before && before.named), when: now});
    if (key.length + text.length > limits.room) return {kept: false, dropped: 0};
    const others = all(store).filter(other => other.ident !== entry.ident);
    let room = others.reduce((sum, other) => sum + other.size, key.length + text.length);
    if (!evict && (others.length >= limits.most || room > limits.room)) return {kept: false, dropped: 0, full: true};
    const gone = [];
    const drop = () => {
      const last = PREFIX + others.at(-1).ident;
      room -= others.pop().size;
      gone.push([last, store.getItem(last)]);
      store.removeItem(last);
    };
    while (others.length && (others.length >= limits.most || room > limits.room)) drop();
    for (;;) {
      try { store.setItem(key, text); break; } catch {  // less room than we thought
        if (evict && others.length) { drop(); continue; }
        gone.reverse().forEach(([name, value]) => store.setItem(name, value));  // it alone is too large
        return {kept: false, dropped: 0, full: !evict};
      }
    }
    return {kept: true, dropped: gone.length + (forked && !apart(store, before, forked) ? 1 : 0)};
  }
  function apart(store, entry, turn) {  // this tab never had that turn: another tab continued the conversation
    const mark = [...fingerprint(turn)].reduce((sum, letter) => (sum * 31 + letter.codePointAt(0)) >>> 0, 7).toString(36);
    const ident = `${entry.ident}-${mark}`;  // the same as long as that tab continues
    return put(store, {...entry, ident, talk: {...entry.talk, ident}}, entry.when, false).kept;
  }
  function rename(store, ident, title) {
    const key = PREFIX + ident, entry = parsed(key, store.getItem(key));
    if (!entry || !title.trim()) return;
    try { store.setItem(key, JSON.stringify({...entry, title: title.trim().slice(0, 120), named: true})); } catch { /* it keeps its name */ }
  }
  function withdraw(store, ident) {  // its last turn was never begun
    const entry = parsed(PREFIX + ident, store.getItem(PREFIX + ident));
    if (!entry) return;
    const turns = entry.talk.turns.slice(0, -1), at = entry.talk.turns.at(-1)?.parent ?? -1;
    if (!turns.length) remove(store, ident);
    else store.setItem(PREFIX + ident, JSON.stringify({...entry, talk: {...entry.talk, turns, at}}));
  }
  function remove(store, ident) { store.removeItem(PREFIX + ident); }
  function textOf(entry) {
    const texts = (entry.talk.turns || []).flatMap(turn => [
      turn && turn.question, turn && turn.system, ...Object.values((turn && turn.answers) || {}).map(answer => answer && answer.text)]);
    return [entry.title, ...texts].filter(text => typeof text === 'string').join('\n').toLowerCase();
  }
  function find(entries, query) {  // every word somewhere in it
    const words = query.toLowerCase().split(/\s+/).filter(Boolean);
    return words.length ? entries.filter(entry => { const text = textOf(entry); return words.every(word => text.includes(word)); }) : entries;
  }

  function storage() { try { return window.localStorage; } catch { return null; } }
  function say(key, values = {}) {
    return (ui.words[key] || key).replace(/\{(\w+)\}/g, (_, name) => values[name] ?? '');
  }
  function make(tag, options = {}, ...children) {  // text only: no message is ever markup
    const {on = {}, data = {}, ...rest} = options, made = document.createElement(tag);
    Object.entries(rest).forEach(([name, value]) => name in made ? made[name] = value : made.setAttribute(name, value));
    Object.assign(made.dataset, data);
    Object.entries(on).forEach(([name, handler]) => made.addEventListener(name, handler));
    made.append(...children);
    return made;
  }
  function row(store, entry) {
    const open = () => { ui.notice = ''; ui.trigger('select', {value: JSON.stringify({talk: entry.talk, about: entry.about || {}})}); };
    const date = new Intl.DateTimeFormat(navigator.language, {dateStyle: 'medium', timeStyle: 'short'}).format(entry.when);
    const done = () => { ui.asking = ui.naming = ''; draw(); ui.element.querySelector(`[data-ident="${entry.ident}"] button`)?.focus(); };
    const item = make('li', {className: entry.ident === ui.current ? 'current' : '', data: {ident: entry.ident}});
    if (ui.naming === entry.ident) {
      const field = make('input', {type: 'text', value: entry.title, maxLength: 120, 'aria-label': say('name')});
      const keep = () => { rename(store, entry.ident, field.value); done(); };
      field.addEventListener('keydown', event => {
        if (event.key === 'Enter') { event.preventDefault(); event.stopPropagation(); keep(); }
        if (event.key === 'Escape') done();
      });
      item.append(field, make('span', {className: 'actions'}, make('button', {type: 'button', textContent: say('keep_name'), on: {click: keep}})));
    } else if (ui.asking === entry.ident) {
      const gone = () => {
        remove(store, entry.ident);
        ui.asking = '';
        draw();
        ui.element.querySelector('input')?.focus();
      };
      item.append(make('span', {className: 'question', textContent: say('sure', {title: entry.title})}), make('span', {className: 'actions'},
        make('button', {type: 'button', className: 'stop', textContent: say('delete'), on: {click: gone}}),
        make('button', {type: 'button', textContent: say('no'), on: {click: done}})));
    } else {
      const turn = (state, value) => () => {
        ui.asking = ui.naming = '';
        ui[state] = value;
        draw();
        const made = ui.element.querySelector(`[data-ident="${entry.ident}"]`);
        (made?.querySelector('input') || made?.querySelector('.actions button'))?.focus();
      };
      const name = make('button', {type: 'button', className: 'open', on: {click: open}},
        make('b', {textContent: entry.title || say('untitled')}), make('small', {textContent: date}));
      if (entry.ident === ui.current) name.setAttribute('aria-current', 'true');
      const iconButton = (action, state) => {
        const made = make('button', {type: 'button', className: action, title: say(action), 'aria-label': `${say(action)}: ${entry.title}`,
          on: {click: turn(state, entry.ident)}});
        made.innerHTML = ICONS[action];
        return made;
      };
      item.append(name, make('span', {className: 'actions'}, iconButton('rename', 'naming'), iconButton('delete', 'asking')));
    }
    return item;
  }
  function draw() {
    const store = storage();
    if (!ui.element) return;
    const list = ui.element.querySelector('ul'), status = ui.element.querySelector('.camelid-note');
    const entries = store ? all(store) : [], found = find(entries, ui.query);
    list.replaceChildren(...found.slice(0, limits.shown).map(entry => row(store, entry)));
    ui.element.querySelector('input[type=search]').hidden = entries.length < 2;
    const more = found.length - limits.shown;
    status.textContent = !store ? say('no_store') : ui.notice || (!entries.length ? say('none') : !found.length ? say('none_found')
      : more > 0 ? say('more', {count: more}) : ui.query ? say('found', {count: found.length}) : '');
  }
  function keep(entries, evict) {  // a new conversation may evict the oldest, an imported one evicts none
    const store = storage();
    if (!store || !entries.length) { draw(); return; }
    const now = Date.now(), results = entries.map((entry, at) => put(store, entry, now - at, evict));
    const dropped = results.reduce((sum, each) => sum + each.dropped, 0), full = results.filter(each => each.full).length;
    ui.notice = full ? say('full', {count: full}) : results.some(each => !each.kept) ? say('too_large')
      : dropped ? say('dropped', {count: dropped}) : '';
    draw();
  }

  return {
    limits, all, put, rename, remove, withdraw, find,
    mount(element, trigger, words) {
      Object.assign(ui, {element, trigger, words: words[navigator.language.slice(0, 2).toLowerCase()] || words.en});
      const search = make('input', {type: 'search', className: 'camelid-find', placeholder: say('search'), 'aria-label': say('search'),
        on: {input: event => { ui.query = event.target.value; ui.notice = ''; draw(); }}});
      element.replaceChildren(make('div', {className: 'camelid-history'}, search,
        make('p', {className: 'camelid-note', role: 'status'}), make('ul')));
      window.addEventListener('storage', event => { if (!event.key || event.key.startsWith(PREFIX)) draw(); });
      draw();
    },
    take(text) {  // what the page wants stored: an entry with `current`, or a list of them
      const news = text ? JSON.parse(text) : {current: '', entries: []};
      if (news.withdraw && storage()) withdraw(storage(), news.withdraw);
      if ('current' in news) ui.current = news.current;
      keep(news.entries, 'current' in news);
    },
    found() { const store = storage(); return JSON.stringify(store ? find(all(store), ui.query).map(({talk, about}) => ({talk, about})) : []); },
    save(text) {  // a file of the page's making, to the person's own disk
      if (!text) return;
      const file = JSON.parse(text), link = document.createElement('a');
      link.href = URL.createObjectURL(new Blob([file.text], {type: file.type}));
      link.download = file.name;
      link.click();
      setTimeout(() => URL.revokeObjectURL(link.href), 10000);
    },
  };
})();
