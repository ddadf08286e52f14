// Runs the browser's store in Node, against a storage with little room: commands come as lines of JSON.
const fs = require('fs'), readline = require('readline');
class Storage {
  constructor(room) { this.map = new Map(); this.room = room; }
  get length() { return this.map.size; }
  key(at) { return [...this.map.keys()][at] ?? null; }
  getItem(key) { return this.map.get(key) ?? null; }
  removeItem(key) { this.map.delete(key); }
  setItem(key, value) {
    const used = [...this.map].filter(([other]) => other !== key).reduce((sum, [other, text]) => sum + other.length + text.length, 0);
    if (used + key.length + value.length > this.room) throw new Error('QuotaExceededError');
    this.map.set(key, value);
  }
}
globalThis.window = globalThis;
eval(fs.readFileSync(process.argv[2], 'utf8'));
const history = globalThis.camelidHistory;
history.find_in = (_, entries, query) => history.find(entries, query);
readline.createInterface({input: process.stdin}).on('line', line => {
  const {room, limits, foreign, steps} = JSON.parse(line), store = new Storage(room);
  Object.assign(history.limits, limits);
  Object.entries(foreign).forEach(([key, text]) => store.map.set(key, text));
  const said = steps.map(([action, ...rest]) => {
    const result = history[action](store, ...rest);
    return {result: result ?? null, all: history.all(store).map(({ident, title, when, talk}) => ({ident, title, when, talk}))};
  });
  console.log(JSON.stringify({said, keys: [...store.map.keys()]}));
});
