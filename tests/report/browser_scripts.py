"""What the tests ask a page, in its own language."""

from __future__ import annotations

STRUCTURE = """() => {
  const found = {};
  for (const node of document.querySelectorAll('*')) {
    // a table that scrolls can be reached by keyboard: that hangs on the width of its words
    const names = node.getAttributeNames().filter((name) => name !== 'tabindex' || !node.matches('.scroll'));
    const key = [node.namespaceURI.slice(-4), node.localName, ...names.sort()].join(' ');
    found[key] = (found[key] ?? 0) + 1;
  }
  return found;
}"""
"""Elements with the names of their attributes, and how many there are of each."""

MISSING = """() => {
  const SKIPPED = new RegExp('^(run[.](mode|fingerprint)|funnel[.](kind|reasons[.]kind)|'
    + 'rules[.](id|comparison|setting|about)|whatif|overlap[.]rules[.]rule|lengths[.]unit)');
  const shown = new Set();
  const walker = document.createTreeWalker(document.getElementById('report'), NodeFilter.SHOW_TEXT);
  while (walker.nextNode()) shown.add(walker.currentNode.data);
  const missing = [];
  const walk = (value, path) => {
    if (SKIPPED.test(path)) return;
    if (typeof value === 'string') {
      if (value && !shown.has(value)) missing.push(`${path}: ${JSON.stringify(value)}`);
    } else if (Array.isArray(value)) {
      for (const one of path.startsWith('samples') ? value.slice(0, 5) : value) walk(one, path);
    } else if (value !== null && typeof value === 'object') {
      for (const [key, one] of Object.entries(value)) {
        if (path === 'samples.dropped') walk(key, 'samples.key');
        walk(one, path ? `${path}.${path === 'samples.dropped' ? 'x' : key}` : key);
      }
    }
  };
  walk(JSON.parse(document.getElementById('data').textContent), '');
  return missing;
}"""
"""Strings of the island that are not, to the letter, the text of a node; but those that are shown in part or not."""

PRESS = """() => {
  for (const node of document.querySelectorAll('button, input[type=checkbox]')) node.click();
  for (const node of document.querySelectorAll('input[type=range]')) {
    node.value = String(Number(node.value) + 1);
    node.dispatchEvent(new Event('input', { bubbles: true }));
  }
  for (const node of document.querySelectorAll('#report *')) {
    for (const kind of ['mouseover', 'focus', 'load', 'error', 'begin']) node.dispatchEvent(new Event(kind));
  }
}"""
"""Every button, slider and box, and events that hostile attributes wait for."""

ATTACK = """() => {
  const script = document.createElement('script');
  script.textContent = 'window.__pwned = 1';
  document.body.append(script);
  const image = document.createElement('img');
  image.src = 'https://evil.example/x.png';
  document.body.append(image);
  const styled = document.createElement('p');
  styled.setAttribute('style', 'color: red');
  const base = document.createElement('base');
  base.href = 'https://evil.example/';
  document.head.append(styled, base);
}"""
"""What a hole in the page would let in."""

MOVE = """(places) => {
  window.tokenmill.openAll();
  for (const [place, at] of Object.entries(places)) {
    const node = document.getElementById(`rule-${place}`);
    node.value = String(at);
    node.dispatchEvent(new Event('input', { bubbles: true }));
  }
}"""
"""Sliders by their place, to edges."""

UNNAMED = """() => {
  const names = (node) => (node.getAttribute('aria-labelledby') ?? '').split(' ').map((id) =>
    document.getElementById(id)?.textContent ?? '').join('');
  const wanted = 'svg[role=img], input, button, nav, [role=region], aside, article';
  return [...document.querySelectorAll(wanted)].filter((node) =>
    !(node.getAttribute('aria-label') || names(node) || node.labels?.[0]?.textContent || node.textContent).trim()
  ).map((node) => node.outerHTML.slice(0, 120));
}"""
"""Controls and charts without an accessible name."""

CONTRAST = """() => {
  const light = (name) => {
    const node = document.createElement('i');
    node.style.color = `var(${name})`;
    document.body.append(node);
    const canvas = new OffscreenCanvas(1, 1).getContext('2d');
    canvas.fillStyle = getComputedStyle(node).color;
    canvas.fillRect(0, 0, 1, 1);
    node.remove();
    const pixel = [...canvas.getImageData(0, 0, 1, 1).data].slice(0, 3);
    const [r, g, b] = pixel.map((v) => (v <= 10 ? v / 3294.6 : ((v / 255 + 0.055) / 1.055) ** 2.4));
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const between = (a, b) => (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
  const found = {};
  for (const back of ['--paper', '--panel']) {
    for (const front of ['--ink', '--soft', '--accent', '--kept', '--removed', '--quarantined', '--plain']) {
      found[`${front} on ${back}`] = between(light(front), light(back));
    }
  }
  return found;
}"""
"""Contrast of the colours (WCAG 2.2), by pair."""

HEADINGS = "() => [...document.querySelectorAll('h1,h2,h3,h4')].map((node) => Number(node.localName[1]))"
WIDTH = "() => document.documentElement.scrollWidth"
CLOSED = "() => document.querySelectorAll('details:not([open]):not(.numbers)').length"
PRESSABLE = """() => [...document.querySelectorAll('button, input[type=range], .contents, .numbers > summary')].filter(
  (node) => node.checkVisibility() && !node.matches('.open-reasons')).length"""
