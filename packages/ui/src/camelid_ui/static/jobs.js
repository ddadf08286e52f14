// Logs that grow while they are read; when this browser was last here; and a notification when a job ends.
camelid.jobs = {
  // times of the server's clock: of the last visit, and of the beginning of this one
  visited: localStorage.getItem('camelid.jobs.visited') ?? '', arrived: '',
  since() { return this.visited && `${this.visited} ${this.arrived}`; },
  left: 0,  // when the page was covered
  back() {
    if (document.visibilityState !== 'visible') { this.left = Date.now(); return; }
    if (Date.now() - this.left < 300000) return;
    this.visited = localStorage.getItem('camelid.jobs.visited') ?? '';
    this.arrived = '';
  },
  now() { return document.querySelector('#jobs-list [data-now]')?.dataset.now; },
  seen() {
    if (!this.now()) return;
    this.visited = this.now();
    localStorage.setItem('camelid.jobs.visited', this.visited);
  },
  get telling() {
    return localStorage.getItem('camelid.jobs.notify') === 'yes' && window.Notification?.permission === 'granted';
  },
  async notify() {  // the button: asks for permission the first time
    const on = !this.telling, able = window.Notification && window.isSecureContext;
    const allowed = on && able ? await Notification.requestPermission() === 'granted' : false;
    localStorage.setItem('camelid.jobs.notify', on && allowed ? 'yes' : 'no');
    document.getElementById('jobs-notify-why').classList.toggle('camelid-hidden', !on || allowed);
    this.mark();
  },
  mark() { document.getElementById('jobs-notify')?.setAttribute('aria-pressed', this.telling); },
  ended: '',  // the server's clock when it was asked last
  async tell() {
    this.mark();
    if (!this.telling) { this.ended = ''; return; }
    const answer = await fetch(`/jobs/ended?since=${this.ended}`);
    if (!answer.ok) return;
    const {now, jobs} = await answer.json();
    this.ended = now;
    for (const {id, title, body} of jobs) {
      const shown = new Notification(title, {body, tag: `camelid-${id}-${now}`});
      shown.onclick = () => { window.focus(); location.assign(`/?tab=jobs&job=${id}`); };
    }
  },
};

const logs = {
  most: 500000,  // characters that are kept on the page
  async follow(box) {
    if (box.busy) return;
    box.busy = true;
    try {
      box.log ??= {attempt: 0, end: 0, wait: 0};
      if (box.log.wait-- > 0) return;
      const {job} = box.dataset, {attempt, end} = box.log;
      const answer = await fetch(`/jobs/${job}/log?attempt=${attempt}&start=${end}`);
      if (answer.ok) this.add(box, await answer.json());
    } catch { box.log.wait = 3; /* the server is away for a moment */ } finally { box.busy = false; }
  },
  add(box, part) {
    const log = box.log, atEnd = box.scrollTop + box.clientHeight >= box.scrollHeight - 8;
    const fresh = part.attempt !== log.attempt, {empty, cut, attempt} = box.dataset;
    if (fresh && part.attempt > 1 && log.attempt) box.append(`\n— ${attempt} ${part.attempt} —\n`);
    if (fresh && part.start && !log.attempt) box.append(`${cut}\n`);
    if (part.text) {
      box.classList.remove('quiet');
      if (!log.end && !log.attempt && box.textContent === empty) box.textContent = '';
      box.append(part.text);
    } else if (!box.textContent) { box.textContent = empty; box.classList.add('quiet'); }
    if (part.text && box.textContent.length > this.most) box.textContent = `${cut}\n${box.textContent.slice(-this.most / 2)}`;
    Object.assign(log, part.attempt ? {attempt: part.attempt, end: part.end} : {});
    log.wait = part.ended ? 5 : 0;  // it may be retried
    if (atEnd) box.scrollTop = box.scrollHeight;
  },
};

document.addEventListener('click', event => {
  if (!event.target.closest('[data-away-seen]')) return;
  camelid.jobs.seen();
  event.target.closest('.camelid-away').hidden = true;
});
setInterval(() => {
  for (const box of document.querySelectorAll('.camelid-live-log')) if (box.offsetParent !== null) logs.follow(box);
}, 1500);
document.addEventListener('visibilitychange', () => camelid.jobs.back());
setInterval(() => {
  if (document.visibilityState !== 'visible' || !document.getElementById('jobs-list')?.offsetParent) return;
  const now = camelid.jobs.now();
  if (!now) return;
  camelid.jobs.arrived ||= now;
  localStorage.setItem('camelid.jobs.visited', now);
}, 3000);
setInterval(() => { camelid.jobs.tell().catch(() => {}); }, 10000);
