"use strict";
// The try-it page: one row from the form to POST /predict, and its answer as bars.

const said = JSON.parse(document.body.dataset.said);
const limit = Number(document.body.dataset.maxBody);
const form = document.getElementById("ask");
const inputs = JSON.parse(form.dataset.inputs);
const state = document.getElementById("state");
const answer = document.getElementById("answer");
const labels = document.getElementById("labels");
const SHOWN = 8;
const files = {};
let latest = 0;

const percent = (share) => (share * 100).toFixed(1) + "%";

function tell(sentence, bad) {
  state.textContent = sentence;
  state.classList.toggle("bad", Boolean(bad));
  state.hidden = false;
  answer.hidden = true;
  labels.hidden = true;
}

function bar(name, share) {
  const item = document.createElement("li");
  const line = document.createElement("p");
  for (const text of [name, percent(share)]) line.appendChild(document.createElement("span")).textContent = text;
  const fill = document.createElement("i");
  fill.style.width = percent(share);
  const track = document.createElement("div");
  track.append(fill);
  item.append(line, track);
  return item;
}

function show(prediction) {
  const ranked = Object.entries(prediction.scores).sort((a, b) => b[1] - a[1]);
  const list = answer.querySelector("ol");
  list.replaceChildren(...ranked.slice(0, SHOWN).map(([name, share]) => bar(name, share)));
  if (ranked.length > SHOWN) {
    const more = document.createElement("li");
    more.className = "more";
    more.textContent = said.rows.replace("{n}", ranked.length - SHOWN);
    more.textContent += "  " + percent(ranked.slice(SHOWN).reduce((sum, [, share]) => sum + share, 0));
    list.append(more);
  }
  answer.querySelector("b").textContent = prediction.label;
  answer.querySelector("span").textContent = percent(prediction.score);
  state.hidden = labels.hidden = true;
  answer.hidden = false;
}

function body() {
  const parts = new FormData();
  for (const [field, kind] of Object.entries(inputs)) {
    if (kind === "text") {
      const text = form.elements[field].value;
      if (!text.trim()) return null;
      parts.append(field, text);
    } else {
      if (!files[field]) return null;
      parts.append(field, files[field], files[field].name || "recording.wav");
    }
  }
  return parts;
}

async function ask() {
  const parts = body();
  if (!parts) return;
  const mine = ++latest;
  tell(said.asking);
  try {
    const response = await fetch("predict", { method: "POST", body: parts, headers: { "accept-language": document.body.dataset.lang } });
    const found = await response.json();
    if (mine !== latest) return;
    if (response.ok) show(found);
    else tell([found.error.message, found.error.hint].join(" "), true);
  } catch {
    if (mine === latest) tell(said.unreachable, true);
  }
}

function take(area, file) {
  const { field, kind } = area.dataset;
  if (!file) return;
  if (!file.type.startsWith(kind + "/")) return tell(said["wrong-kind"], true);
  if (file.size > limit) return tell(said["too-large"], true);
  files[field] = file;
  const preview = area.nextElementSibling;
  const media = preview.querySelector("img, audio");
  if (media.src) URL.revokeObjectURL(media.src);
  media.hidden = false;
  media.onload = () => media.classList.toggle("small", media.naturalWidth < 112);
  media.onerror = () => { media.hidden = true; };
  media.src = URL.createObjectURL(file);
  preview.querySelector(".name").textContent = file.name || "";
  preview.hidden = false;
  ask();
}

for (const area of document.querySelectorAll(".drop")) {
  const chooser = area.querySelector("input");
  chooser.addEventListener("change", () => { take(area, chooser.files[0]); chooser.value = ""; });
  area.addEventListener("keydown", (event) => { if (event.key === "Enter" || event.key === " ") { event.preventDefault(); chooser.click(); } });
  for (const name of ["dragenter", "dragover"]) area.addEventListener(name, (event) => { event.preventDefault(); area.classList.add("over"); });
  for (const name of ["dragleave", "drop"]) area.addEventListener(name, (event) => { event.preventDefault(); area.classList.remove("over"); });
  area.addEventListener("drop", (event) => take(area, event.dataTransfer.files[0]));
  document.addEventListener("paste", (event) => { if (event.clipboardData.files.length) take(area, event.clipboardData.files[0]); });
}

form.addEventListener("submit", (event) => { event.preventDefault(); ask(); });
form.addEventListener("keydown", (event) => { if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) ask(); });

// -- recording: the browser's own format is decoded here and sent as WAV, which every server reads ---------------------------------
function wav(samples, rate) {
  const view = new DataView(new ArrayBuffer(44 + samples.length * 2));
  const word = (at, text) => [...text].forEach((letter, i) => view.setUint8(at + i, letter.charCodeAt(0)));
  word(0, "RIFF"); view.setUint32(4, 36 + samples.length * 2, true); word(8, "WAVEfmt "); view.setUint32(16, 16, true);
  view.setUint16(20, 1, true); view.setUint16(22, 1, true); view.setUint32(24, rate, true); view.setUint32(28, rate * 2, true);
  view.setUint16(32, 2, true); view.setUint16(34, 16, true); word(36, "data"); view.setUint32(40, samples.length * 2, true);
  samples.forEach((sample, i) => view.setInt16(44 + i * 2, Math.max(-1, Math.min(1, sample)) * 32767, true));
  return new Blob([view], { type: "audio/wav" });
}

async function decoded(blob) {
  const context = new AudioContext();
  try {
    const sound = await context.decodeAudioData(await blob.arrayBuffer());
    return wav(sound.getChannelData(0), sound.sampleRate);
  } finally {
    context.close();
  }
}

const button = document.getElementById("record");
if (button) {
  let recorder = null;
  const area = document.querySelector(`.drop[data-field="${CSS.escape(button.dataset.field)}"]`);
  const mark = (on) => {
    button.classList.toggle("on", on);
    button.querySelector("span").textContent = on ? button.dataset.stop : button.dataset.start;
  };
  button.addEventListener("click", async () => {
    if (recorder) return recorder.stop();
    try {
      const stream = await navigator.mediaDevices.getUserMedia({ audio: true });
      const chunks = [];
      recorder = new MediaRecorder(stream);
      recorder.ondataavailable = (event) => chunks.push(event.data);
      recorder.onstop = async () => {
        stream.getTracks().forEach((track) => track.stop());
        recorder = null;
        mark(false);
        take(area, await decoded(new Blob(chunks)));
      };
      recorder.start();
      mark(true);
      tell(said.recording);
    } catch {
      recorder = null;
      mark(false);
      tell(said["no-microphone"], true);
    }
  });
}
