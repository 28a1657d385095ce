// Looks whether the app is there in place of reloading the page, which would take a screen reader back to its beginning.
"use strict";

async function look() {
  try {
    const answer = await fetch(location.href, { headers: { Accept: "text/html" }, cache: "no-store", redirect: "manual" });
    const isWaiting = answer.headers.has("X-Kns-Waiting");
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
  setTimeout(look, 1000 * Number(document.body.dataset.reload));
}

setTimeout(look, 1000 * Number(document.body.dataset.reload));
