// Live updates: the server says which parts of the data have changed, and the elements of this page that show them are fetched again.
(function () {
  var body = document.body, live = document.getElementById('live');
  var waiting = new Set(), busy = false;
  function stale() {
    return Array.from(document.querySelectorAll('[data-live]')).filter(function (element) {
      return element.dataset.live.split(' ').some(function (part) { return waiting.has(part); });
    });
  }
  function refresh() {
    var elements = stale();
    if (busy || document.hidden || !elements.length) return;
    busy = true;
    waiting.clear();
    fetch(location.href, { headers: { accept: 'text/html' } }).then(function (response) {
      if (response.redirected || !response.ok) throw new Error('the session has ended');
      return response.text();
    }).then(function (html) {
      var page = new DOMParser().parseFromString(html, 'text/html');
      elements.forEach(function (element) {
        var fresh = page.getElementById(element.id);
        // What the reader is typing into, or has the focus in, stays.
        if (fresh && !element.contains(document.activeElement) && fresh.innerHTML !== element.innerHTML) element.replaceWith(fresh);
      });
      document.dispatchEvent(new Event('refreshed'));
      live.textContent = 'updated at ' + new Date().toLocaleTimeString();
    }).catch(function (error) { live.textContent = 'not updated: ' + error.message; }).finally(function () { busy = false; });
  }
  if (body.dataset.events && document.querySelector('[data-live]')) {
    var events = new EventSource(body.dataset.events);
    events.onmessage = function (event) {
      JSON.parse(event.data).forEach(function (part) { waiting.add(part); });
      refresh();
    };
    events.onerror = function () { live.textContent = 'not connected; reload to update this page'; };
    document.addEventListener('visibilitychange', refresh);
    addEventListener('pagehide', function () { events.close(); });
  } else if (live) {
    live.parentNode.textContent = 'headwater';
  }
  document.addEventListener('click', function (event) {
    var button = event.target.closest('[data-copy]');
    if (!button) return;
    navigator.clipboard.writeText(document.getElementById(button.dataset.copy).textContent).then(function () {
      button.textContent = 'Copied';
    });
  });
  document.addEventListener('submit', function (event) {
    var sentence = event.target.dataset.confirm;
    if (sentence && !confirm(sentence)) event.preventDefault();
  });
})();
