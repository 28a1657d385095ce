// Keeps an open page current. Without this script the page works the same and is renewed by the browser's reload.
//
// The server says only that something changed. The page is then fetched again like a reload, and the parts marked with
// data-live are replaced. Focus, open details, scroll positions and the selection stay: what can have one of them in such
// a part has an id or an address, or is in the help of an app.
"use strict";

const RETRY_MS = 5000; // after the server did not answer; up to twice as long, so that not all pages come back at once
const OFF_MS = 60000; // after the server refused a stream, though it answers
const AWAY_MS = 15000; // a stream that has not come back by then
const policy = window.trustedTypes
  ? window.trustedTypes.createPolicy("kns", { createHTML: (text) => text }) // only pages of this server, see renew()
  : { createHTML: (text) => text };

const note = document.getElementById("connection");
const announcer = document.getElementById("announce");
let stream = null;
let renewing = false;
let again = false;
let off = false; // the server refused the stream
let over = false; // there is nothing to follow any more
let away = 0; // the timer of a stream that broke
let retry = 0; // the timer of the next attempt; only one, or an outage would add another with each cause to look

function later() {
  return RETRY_MS * (1 + Math.random());
}

function say(text) {
  if (announcer.textContent !== text) announcer.textContent = text;
}

function show(text, link) {
  if (!note) return;
  if (note.dataset.text === (text || "")) return;
  note.dataset.text = text || "";
  note.hidden = !text;
  note.textContent = text || "";
  if (link) note.append(" ", Object.assign(document.createElement("a"), link));
  if (text) say(text);
}

async function renew() {
  if (renewing) {
    again = true;
    return;
  }
  renewing = true;
  clearTimeout(retry);
  try {
    const answer = await fetch(location.href, { headers: { Accept: "text/html" }, cache: "no-store" });
    if (answer.redirected && new URL(answer.url).pathname.endsWith("/sign-in")) {
      end("Your session has ended.", { href: answer.url, textContent: "Sign in again" });
      return;
    }
    if (answer.status === 404) {
      end("This job no longer exists.");
      return;
    }
    if (!answer.ok) throw new Error(String(answer.status));
    const next = new DOMParser().parseFromString(policy.createHTML(await answer.text()), "text/html");
    replace(next);
    if (!next.body.dataset.stream) {
      over = true;
      close();
    }
    show(off ? "Live updates are off, because too many pages are open. Reload to see changes." : "");
    if (!stream && !off && !over && !document.hidden) open();
  } catch {
    off = false; // that is why the stream was refused
    show("kns does not answer. This page is not current; it tries again by itself.");
    retry = setTimeout(renew, later());
  } finally {
    renewing = false;
    if (again) {
      again = false;
      renew();
    }
  }
}

function replace(next) {
  for (const old of document.querySelectorAll("[data-live]")) {
    const fresh = next.getElementById(old.id);
    if (!fresh || fresh.isEqualNode(old)) continue;
    const focus = old.contains(document.activeElement) ? place(old, document.activeElement) : null;
    const open = [...old.querySelectorAll("details[open]")].map((each) => place(old, each));
    const text = old.querySelector("#text");
    const atEnd = !text || text.scrollTop + text.clientHeight >= text.scrollHeight - 5;
    const scrolled = [...old.querySelectorAll("[tabindex]")].map((each) => [each.id, each.scrollLeft, each.scrollTop]);
    old.replaceChildren(...fresh.childNodes);
    for (const each of open) find(old, each)?.setAttribute("open", "");
    for (const [id, left, top] of scrolled) document.getElementById(id)?.scrollTo(left, top);
    const renewed = old.querySelector("#text");
    if (renewed && atEnd) renewed.scrollTop = renewed.scrollHeight;
    if (focus) (find(old, focus) || document.getElementById("main")).focus({ preventScroll: true });
  }
  document.title = next.title;
  const state = document.getElementById("state");
  if (state) say(state.dataset.announce);
  else announceList();
}

// Where an element is: by id, else by the address of a link. The help of an app has no ids, but it does not change either.
function place(root, element) {
  if (element.id) return { id: element.id };
  if (element.tagName === "SUMMARY" && element.parentElement.id) return { summary: element.parentElement.id };
  if (element.hasAttribute("href")) return { href: element.getAttribute("href") };
  const like = `.foreign ${element.localName}`;
  return { like, index: [...root.querySelectorAll(like)].indexOf(element) };
}

function find(root, { id, summary, href, like, index }) {
  if (id) return document.getElementById(id);
  if (summary) return document.getElementById(summary)?.querySelector("summary");
  if (like) return root.querySelectorAll(like)[index];
  return [...root.querySelectorAll("a[href]")].find((each) => each.getAttribute("href") === href);
}

let listed = describeList();

function describeList() {
  return new Map([...document.querySelectorAll(".card[id]")].map((card) => [card.id, card.querySelector(".state").textContent]));
}

function announceList() {
  const now = describeList();
  const news = [...now].filter(([id, state]) => listed.get(id) !== state);
  listed = now;
  if (news.length) say(news.map(([id, state]) => `${id.replace("-", " ")}: ${state}`).join(". "));
}

function end(text, link) {
  over = true;
  close();
  document.removeEventListener("visibilitychange", watch);
  show(text, link);
}

function close() {
  clearTimeout(away);
  away = 0;
  if (stream) stream.close();
  stream = null;
}

function open() {
  stream = new EventSource(document.body.dataset.stream);
  stream.addEventListener("changed", renew);
  stream.addEventListener("open", () => {
    clearTimeout(away);
    away = 0;
    renew(); // a change while there was no stream was not reported
  });
  stream.addEventListener("error", () => {
    if (!stream) return;
    if (stream.readyState !== EventSource.CLOSED) {
      // The browser connects again by itself, and says nothing while it cannot.
      away ||= setTimeout(() => {
        away = 0;
        renew();
      }, AWAY_MS);
      return;
    }
    // An answer that is no stream: kns refuses it, or a proxy says that kns is not there. The page itself tells which.
    close();
    off = true;
    setTimeout(() => {
      off = false;
      if (!stream && !over && !document.hidden) open();
    }, OFF_MS);
    renew();
  });
}

// A hidden page needs no stream: browsers open only a few connections to one host.
function watch() {
  if (document.hidden) {
    close();
  } else if (!stream && !over) {
    if (!off) open();
    renew();
  }
}

if (document.body.dataset.stream && window.EventSource) {
  const text = document.querySelector("#lines pre");
  if (text) text.scrollTop = text.scrollHeight;
  if (!document.hidden) open();
  document.addEventListener("visibilitychange", watch);
  window.addEventListener("pagehide", close);
  window.addEventListener("pageshow", (event) => event.persisted && watch());
}

// Forms: a field that depends on others is shown while it is used.
function settle() {
  for (const field of document.querySelectorAll("[data-needs], [data-needs-not]")) {
    const isOn = (name) => document.querySelector(`input[name="${CSS.escape(name)}"]`)?.checked;
    const needs = JSON.parse(field.dataset.needs || "[]");
    const needsNot = JSON.parse(field.dataset.needsNot || "[]");
    const used = needs.every(isOn) && !needsNot.some(isOn);
    field.hidden = !used;
    // A field that cannot be seen must not hold up the form. Browsers do not check one that is disabled. A checkbox is
    // always right, and others may depend on it, so it is sent.
    for (const input of field.querySelectorAll("input:not([type=checkbox]), select, textarea")) input.disabled = !used;
    for (const input of field.querySelectorAll("[data-required]")) input.required = used;
  }
}

if (document.querySelector("[data-needs], [data-needs-not]")) {
  document.addEventListener("change", settle);
  settle();
}
// A file that the server would refuse is refused before everything else in the form is sent, and lost.
document.addEventListener("change", ({ target }) => {
  if (target.type !== "file" || !target.dataset.most) return;
  const most = Number(target.dataset.most);
  const size = target.files.length ? target.files[0].size : 0;
  target.setCustomValidity(size > most ? `The file has ${size} bytes. At most ${most} are accepted.` : "");
  target.reportValidity();
});

const refused = document.querySelector("[aria-invalid=true]");
if (refused) refused.focus();
