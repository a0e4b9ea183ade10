// A folded section opens where a link leads into it, and for printing.
(function () {
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
})();
