// A figure names colours as variables of the style sheet, which plotly does not know: they are looked up here, and again when the theme changes.
// Paper is light and narrower than a screen, and a printed figure no longer adapts: both are set before printing.
(function () {
  var root = document.documentElement;
  var narrow = matchMedia('(max-width: 600px)');
  function themed(value, css) {
    if (typeof value === 'string') {
      var name = /^var\((--[a-z0-9-]+)\)$/.exec(value);
      return name ? css.getPropertyValue(name[1]).trim() : value;
    }
    if (Array.isArray(value)) return value.map(function (one) { return themed(one, css); });
    if (value && typeof value === 'object') {
      var copy = {};
      Object.keys(value).forEach(function (key) { copy[key] = themed(value[key], css); });
      return copy;
    }
    return value;
  }
  function draw() {
    var css = getComputedStyle(root);
    document.querySelectorAll('script[data-plot]').forEach(function (source) {
      var box = document.getElementById(source.dataset.plot);
      if (!box.clientWidth) return;
      var plot = themed(JSON.parse(source.textContent), css);
      if (narrow.matches && plot.narrow) Object.assign(plot.layout, plot.narrow);
      if (root.classList.contains('printing')) plot.layout.width = 640;
      if (!box.classList.contains('drawn')) { box.textContent = ''; box.classList.add('drawn'); }
      box.style.height = plot.layout.height + 'px'; // else plotly forgets it when the window changes its width
      Plotly.react(box, plot.data, plot.layout, { displayModeBar: false, responsive: true });
    });
  }
  // A folded section opens where a link leads into it, and for printing; plotly draws nothing of use while its box has no width.
  function folded(open) {
    document.querySelectorAll(open ? 'details:not([open])' : 'details.for-print').forEach(function (part) {
      part.open = open;
      part.classList.toggle('for-print', open);
    });
  }
  function reveal() {
    var part = location.hash.length > 1 && document.getElementById(location.hash.slice(1));
    var inner = part && part.querySelector(':scope > details');
    if (inner) inner.open = true;
  }
  addEventListener('hashchange', reveal);
  reveal();
  addEventListener('beforeprint', function () { folded(true); });
  addEventListener('afterprint', function () { folded(false); });
  if (typeof Plotly === 'undefined') return;
  draw();
  document.querySelectorAll('details').forEach(function (part) { part.addEventListener('toggle', draw); });
  matchMedia('(prefers-color-scheme: dark)').addEventListener('change', draw);
  narrow.addEventListener('change', draw);
  document.addEventListener('refreshed', draw); // the console has fetched elements again
  addEventListener('beforeprint', function () { root.classList.add('printing'); draw(); });
  addEventListener('afterprint', function () { root.classList.remove('printing'); draw(); });
})();
