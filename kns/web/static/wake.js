// Looks whether the app is there in place of reloading the page, which would take a screen reader back to its beginning.
"use strict";

// What an ingress controller answers while it does not know the pods of the app yet. An app may answer the same.
const AWAY = new Set([404, 502, 503, 504]);
const MOST_AWAY = 5; // answers of that kind, one after the other; then they are the app's
let away = 0;

async function look() {
  try {
    const answer = await fetch(location.href, { headers: { Accept: "text/html" }, cache: "no-store", redirect: "manual" });
    const isWaiting = answer.headers.has("X-Kns-Waiting");
    away = !isWaiting && AWAY.has(answer.status) ? away + 1 : 0;
    if (away > 0 && away < MOST_AWAY) return later();
    // The app answers, or nobody has woken the job yet: only a visit of the page does.
    if (!isWaiting || !(answer.headers.get("Content-Type") || "").startsWith("text/html")) return location.reload();
    const next = new DOMParser().parseFromString(await answer.text(), "text/html");
    for (const id of ["step", "steps"]) {
      const [old, fresh] = [document.getElementById(id), next.getElementById(id)];
      if (!fresh.isEqualNode(old)) old.replaceChildren(...fresh.childNodes);
    }
    document.getElementById("progress").value = next.getElementById("progress").value;
  } catch {
    // Nobody answers at this moment.
  }
  later();
}

function later() {
  setTimeout(look, 1000 * Number(document.body.dataset.reload));
}

later();
