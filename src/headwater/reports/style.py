"""The page's style sheet and script."""

from __future__ import annotations

# The series colours are Okabe and Ito's, darkened on paper and lightened on black until each has a contrast of 3:1 or more.
CSS = """
:root {
  color-scheme: light dark;
  --paper: #fbfaf8; --card: #ffffff; --ink: #1d2327; --soft: #59646b; --line: #e2dfd8; --faint: #efede8;
  --accent: #0a6ba3; --good: #0a6e4f; --bad: #b3261e; --warn: #8a5a00; --good-bg: #e3f2ec; --bad-bg: #fbe9e7; --warn-bg: #f8efdc;
  --series-0: #737d84; --series-1: #b86a00; --series-2: #0a6ba3; --series-3: #00805f; --series-4: #a3487c; --series-5: #5b4fa8;
  --void: rgba(115, 125, 132, .16);
}
@media (prefers-color-scheme: dark) {
  :root:not(.printing) {
    --paper: #14181b; --card: #1b2024; --ink: #e7e9ea; --soft: #a3adb3; --line: #30373c; --faint: #22282c;
    --accent: #6cb8e8; --good: #62c9a2; --bad: #ff9b8f; --warn: #e6b65c; --good-bg: #17352b; --bad-bg: #40201d; --warn-bg: #382d17;
    --series-0: #98a2a9; --series-1: #eba54a; --series-2: #6cb8e8; --series-3: #4fc79c; --series-4: #dd93bd; --series-5: #a99df0;
    --void: rgba(152, 162, 169, .18);
  }
}
* { box-sizing: border-box; }
html { -webkit-text-size-adjust: 100%; }
body {
  margin: 0; background: var(--paper); color: var(--ink);
  font: 16px/1.6 system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", sans-serif;
  font-variant-numeric: tabular-nums; -webkit-font-smoothing: antialiased;
}
main { max-width: 1040px; margin: 0 auto; padding: 56px 32px 96px; }
p, ul, dl, figure { margin: 0 0 16px; }
p, li { max-width: 70ch; overflow-wrap: anywhere; }
ul { padding-left: 1.2em; }
li { margin: 4px 0; }
h1 { font-size: clamp(1.6rem, 1.1rem + 2vw, 2.45rem); line-height: 1.18; letter-spacing: -.02em; font-weight: 650;
  margin: 0 0 20px; max-width: 28ch; text-wrap: balance; overflow-wrap: anywhere; }
h1 .bounds { font-weight: 400; color: var(--soft); font-size: .72em; letter-spacing: 0; white-space: nowrap; }
h2 { font-size: 1.3rem; line-height: 1.3; letter-spacing: -.01em; font-weight: 650; margin: 0 0 12px; text-wrap: balance; }
h3 { font-size: .95rem; font-weight: 650; margin: 0 0 8px; }
section { padding-top: 40px; margin-top: 40px; border-top: 1px solid var(--line); }
section > :last-child { margin-bottom: 0; }
#verdict { padding: 0; margin: 0; border: 0; }
.eyebrow { color: var(--soft); font-size: .9rem; margin-bottom: 14px; max-width: none; }
.lead { font-size: 1.14rem; line-height: 1.55; max-width: 62ch; }
.quiet, .caption, figcaption, .meaning { color: var(--soft); font-size: .9rem; }
.note { border-left: 3px solid var(--line); padding: 2px 0 2px 16px; margin: 24px 0 0; }
.note h3 { margin-bottom: 4px; }
.note.warn { border-color: var(--warn); }
.note.leak { border-color: var(--bad); background: var(--bad-bg); padding: 14px 18px; border-radius: 0 8px 8px 0; margin: 0 0 24px; }
.note > :last-child { margin-bottom: 0; }
.plot { min-height: 120px; }
.plot svg { display: block; }
figure { break-inside: avoid; }
figcaption { max-width: 70ch; margin-top: 4px; }
.two { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(340px, 100%), 1fr)); gap: 24px; }
.two > *, .cards > * { min-width: 0; }
.cards { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(270px, 100%), 1fr)); gap: 16px; margin: 0 0 8px; }
.card { background: var(--card); border: 1px solid var(--line); border-radius: 10px; padding: 18px 20px; break-inside: avoid; }
.card.wide { grid-column: span 2; }
.card p, .card dl, .card ul { font-size: .93rem; line-height: 1.5; margin-bottom: 8px; }
.card > :last-child { margin-bottom: 0; }
dl > div { display: flex; justify-content: space-between; gap: 16px; padding: 3px 0; }
dt { color: var(--soft); }
dd { margin: 0; text-align: right; overflow-wrap: break-word; min-width: min-content; }
.caption { margin: 24px 0 4px; }
.scroll { overflow-x: auto; margin: 0 0 20px; }
.scroll:focus-visible, a:focus-visible { outline: 2px solid var(--accent); outline-offset: 3px; }
table { border-collapse: separate; border-spacing: 0; width: 100%; font-size: .93rem; line-height: 1.4; }
th, td { text-align: left; vertical-align: top; padding: 9px 16px 9px 0; border-bottom: 1px solid var(--line); }
thead th { font-weight: 600; color: var(--soft); font-size: .84rem; vertical-align: bottom; }
tbody th { font-weight: 600; min-width: 8em; max-width: 16em; overflow-wrap: break-word; }
#levels tbody th { min-width: 13em; }
td:nth-child(2) { white-space: nowrap; }
td small, th small { display: block; color: var(--soft); font-size: .82rem; font-weight: 400; white-space: nowrap; }
th small { white-space: normal; }
.chip { display: inline-block; padding: 1px 9px 2px; border-radius: 99px; font-size: .84rem; font-weight: 600; white-space: nowrap;
  background: var(--faint); color: var(--soft); }
.chip.lift { background: var(--good-bg); color: var(--good); }
.chip.harm { background: var(--bad-bg); color: var(--bad); }
pre { background: var(--card); border: 1px solid var(--line); border-radius: 10px; padding: 16px 18px; overflow-x: auto; margin: 0 0 16px;
  font: .82rem/1.55 ui-monospace, SFMono-Regular, Menlo, Consolas, monospace; }
code { font: .88em ui-monospace, SFMono-Regular, Menlo, Consolas, monospace; overflow-wrap: anywhere; }
@media (max-width: 720px) { .card.wide { grid-column: auto; } }
@media (max-width: 600px) {
  main { padding: 28px 18px 56px; }
  section { padding-top: 30px; margin-top: 30px; }
  .lead { font-size: 1.06rem; }
  tbody th, #levels tbody th { min-width: 8.5em; max-width: 10em; position: sticky; left: 0; background: var(--paper); }
  thead th:first-child { position: sticky; left: 0; background: var(--paper); }
}
@media print {
  @page { margin: 16mm; }
  body { font-size: 10.5pt; background: none; }
  main { max-width: none; padding: 0; }
  .scroll { overflow: visible; }
  .two { display: block; }
  h2 + p { break-after: avoid; }
  pre { white-space: pre-wrap; }
  section { margin-top: 22px; padding-top: 22px; }
  h2, h3, .caption { break-after: avoid; }
  tr { break-inside: avoid; }
}
"""

# A figure names colours as var(--name), which plotly does not know: they are looked up here, and again when the theme changes.
# Paper is light and narrower than a screen, and a printed figure no longer adapts: both are set before printing.
SCRIPT = """
(function () {
  var root = document.documentElement;
  var narrow = matchMedia('(max-width: 600px)');
  function themed(value, css) {
    if (typeof value === 'string') {
      var name = /^var\\((--[a-z0-9-]+)\\)$/.exec(value);
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
      var plot = themed(JSON.parse(source.textContent), css);
      if (narrow.matches && plot.narrow) Object.assign(plot.layout, plot.narrow);
      if (root.classList.contains('printing')) plot.layout.width = 640;
      if (!box.classList.contains('drawn')) { box.textContent = ''; box.classList.add('drawn'); }
      Plotly.react(box, plot.data, plot.layout, { displayModeBar: false, responsive: true });
    });
  }
  if (typeof Plotly === 'undefined') return;
  draw();
  matchMedia('(prefers-color-scheme: dark)').addEventListener('change', draw);
  narrow.addEventListener('change', draw);
  addEventListener('beforeprint', function () { root.classList.add('printing'); draw(); });
  addEventListener('afterprint', function () { root.classList.remove('printing'); draw(); });
})();
"""
