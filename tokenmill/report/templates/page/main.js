// Puts the page together.

function guarded(make) {
  try {
    return make();
  } catch (error) {
    // one broken part must not take the others with it
    return el("section", null, el("p", { class: "warn" }, `A part of this report (${make.name}) could not be shown: `, text(error.message)));
  }
}

function themeButton() {
  const dark = () => (document.documentElement.dataset.theme ?? (matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light")) === "dark";
  const button = el("button", { type: "button", class: "quiet theme" });
  const label = () => {
    button.textContent = dark() ? "Light page" : "Dark page";
  };
  button.addEventListener("click", () => {
    document.documentElement.dataset.theme = dark() ? "light" : "dark";
    label();
  });
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", label);
  label();
  return button;
}

function contents() {
  const links = new Map(sections.map(({ id, title }) => [id, el("a", { href: `#${id}` }, title)]));
  const nav = el(
    "nav", { class: "contents", "aria-label": "Contents" },
    el("ul", null, [...links.values()].map((link) => el("li", null, link))), themeButton(),
  );
  if (typeof IntersectionObserver === "function") {
    const seen = new Set();
    const observer = new IntersectionObserver((entries) => {
      for (const { target, isIntersecting } of entries) {
        if (isIntersecting) seen.add(target.id);
        else seen.delete(target.id);
      }
      const now = sections.find(({ id }) => seen.has(id))?.id;
      for (const [id, link] of links) {
        if (id === now) link.setAttribute("aria-current", "true");
        else link.removeAttribute("aria-current");
      }
    }, { rootMargin: "-15% 0px -70% 0px" });
    for (const { id } of sections) {
      const node = document.getElementById(id);
      if (node) observer.observe(node);
    }
  }
  return nav;
}

// On paper everything is open; afterwards it is as it was.
const closed = [];

function openAll() {
  expandAll();
  for (const details of document.querySelectorAll("details:not([open]):not(.numbers)")) {
    closed.push(details);
    details.open = true;
  }
  expandAll();
}

function closeAgain() {
  for (const details of closed.splice(0)) details.open = false;
}

addEventListener("beforeprint", openAll);
addEventListener("afterprint", closeAgain);

const main = document.getElementById("report");
const parts = [
  header, funnelSection, explorerSection, rulesSection, samplesSection, languagesSection, domainsSection, clustersSection,
  lengthsSection, costSection, piiSection, optoutSection, phrasesSection, rephrasedSection, notesSection,
].map(guarded);
append(main, parts);
main.before(contents());
main.removeAttribute("aria-busy");

timing.opened = performance.now();
window.tokenmill = Object.freeze({ timing, openAll, closeAgain, expandAll });
