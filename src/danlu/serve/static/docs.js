"use strict";
// The interface's documentation, drawn from this server's own openapi.json. Every call can be sent from here.

const said = JSON.parse(document.body.dataset.said);
const lang = document.body.dataset.lang;
const template = document.getElementById("call");

// JSON for reading: what fits on one line stays on one line.
function pretty(value, indent = "") {
  const line = JSON.stringify(value, null, 1).replace(/\n\s*/g, " ");
  if (line.length + indent.length < 44 || value === null || typeof value !== "object") return line;
  const deeper = indent + "  ";
  const items = Array.isArray(value)
    ? value.map((item) => pretty(item, deeper))
    : Object.entries(value).map(([key, item]) => JSON.stringify(key) + ": " + pretty(item, deeper));
  const [open, close] = Array.isArray(value) ? "[]" : "{}";
  return open + "\n" + items.map((item) => deeper + item).join(",\n") + "\n" + indent + close;
}

function schemaBox(name, schema) {
  const box = document.createElement("pre");
  box.appendChild(document.createElement("b")).textContent = name;
  box.appendChild(document.createElement("code")).textContent = pretty(schema);
  return box;
}

async function send(path, verb, card) {
  const status = card.querySelector(".status");
  const result = card.querySelector(".result");
  const button = card.querySelector("button");
  button.disabled = true;
  try {
    const options = { method: verb, headers: { "accept-language": lang } };
    if (verb === "POST") {
      options.body = card.querySelector(".body").value;
      options.headers["content-type"] = "application/json";
    }
    const started = performance.now();
    const response = await fetch(path.slice(1), options);
    const text = await response.text();
    status.textContent = `${response.status} · ${Math.round(performance.now() - started)} ms`;
    status.classList.toggle("bad", !response.ok);
    let shown = text;
    try { shown = pretty(JSON.parse(text)); } catch { /* not JSON: as it is */ }
    result.firstElementChild.textContent = shown;
    result.hidden = false;
  } catch {
    status.textContent = said.unreachable;
    status.classList.add("bad");
    result.hidden = true;
  }
  status.hidden = false;
  button.disabled = false;
}

function card(path, verb, call, schemas) {
  const copy = template.content.cloneNode(true).firstElementChild;
  const set = (where, text) => { copy.querySelector(where).textContent = text || ""; copy.querySelector(where).hidden = !text; };
  set(".verb", verb);
  copy.querySelector(".verb").classList.add(verb);
  set(".path", path);
  set(".about", call.summary);
  set(".more", call.description);
  const content = call.requestBody && call.requestBody.content;
  set(".types", content && Object.keys(content).join("  ·  "));
  if (content) {
    const body = copy.querySelector(".body");
    body.value = pretty(content["application/json"].example);
    body.hidden = false;
    copy.open = true;
    copy.querySelector(".schemas").append(...Object.entries(schemas).map(([name, schema]) => schemaBox(name, schema)));
  }
  copy.querySelector("button").addEventListener("click", () => send(path, verb, copy));
  return copy;
}

async function draw() {
  const calls = document.getElementById("calls");
  try {
    const api = await (await fetch("openapi.json?lang=" + lang)).json();
    for (const [path, verbs] of Object.entries(api.paths))
      for (const [verb, call] of Object.entries(verbs)) calls.append(card(path, verb.toUpperCase(), call, api.components.schemas));
  } catch {
    calls.textContent = said.unreachable;
  }
}

draw();
