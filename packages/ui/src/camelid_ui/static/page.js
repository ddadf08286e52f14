// The address says what is shown; copying works; a row can be chosen by click and by keyboard.
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
