// Search and chat by the gateway that served this page. Nothing here asks any other server, and no text of anybody's
// becomes markup: it is set as text alone.
"use strict";

const WORDS = 80; // of a passage; the gateway refuses one that is too long for the model, and then it is halved
const TOGETHER = 16; // passages in one request
const element = (id) => document.getElementById(id);
let model = null;
let stopping = null;

function say(text, wrong = false) {
  element("state").textContent = text;
  element("state").classList.toggle("wrong", wrong);
}

async function ask(path, body, signal) {
  const headers = {};
  const key = element("key").value;
  if (key) headers.authorization = `Bearer ${key}`;
  if (body) headers["content-type"] = "application/json";
  const answer = await fetch(path, { method: body ? "POST" : "GET", headers, body: body && JSON.stringify(body), signal });
  if (!answer.ok) {
    const told = await answer.json().catch(() => null);
    const error = new Error(told?.error?.message ?? `the gateway answered with status ${answer.status}`);
    error.status = answer.status;
    throw error;
  }
  return answer;
}

function shown(bytes) {
  const power = Math.min(3, Math.max(0, Math.floor(Math.log10(Math.max(bytes, 1)) / 3)));
  return `${(bytes / 1000 ** power).toPrecision(3)} ${["B", "kB", "MB", "GB"][power]}`;
}

async function showCost(answer, seconds) {
  const numbers = (answer.headers.get("secure-sessions") ?? "").split(",").map(Number).filter(Boolean);
  const number = numbers.at(-1);
  if (!number) return;
  let spent = null;
  for (let turn = 0; turn < 100 && !spent; turn++) {
    try {
      spent = await (await ask(`v1/sessions/${number}`)).json();
    } catch (error) {
      if (error.status !== 404) throw error; // while others' answers in the same session go on
      await new Promise((resolve) => setTimeout(resolve, 300));
    }
  }
  if (!spent) return;
  const dealt = spent.dealer_bytes ? `, ${shown(spent.dealer_bytes)} from the dealer` : "";
  element("cost").textContent =
    `${seconds.toFixed(2)} s here. Session ${number} with the parties: ${spent.seconds.toFixed(2)} s, ${spent.rounds} ` +
    `rounds, ${shown(spent.online_bytes)} between the parties${dealt}; ${spent.rows === 1 ? "1 row travelled" : `${spent.rows} rows travelled together`}` +
    (numbers.length > 1 ? `; the last of ${numbers.length} sessions` : "");
  const rows = { "this page and the gateway": "your text and the answer, in the clear", ...spent.learned };
  element("saw").replaceChildren(
    ...Object.entries(rows).flatMap(([who, what]) => {
      const term = document.createElement("dt");
      const about = document.createElement("dd");
      term.textContent = who;
      about.textContent = what;
      return [term, about];
    }),
  );
}

// What is kept: passages with their vectors, by model, in this browser's IndexedDB.

function database() {
  return new Promise((resolve, reject) => {
    const opening = indexedDB.open("private-search", 1);
    opening.onupgradeneeded = () => opening.result.createObjectStore("passages", { keyPath: ["model", "text"] });
    opening.onsuccess = () => resolve(opening.result);
    opening.onerror = () => reject(opening.error);
  });
}

async function kept(mode, work) {
  const base = await database();
  return new Promise((resolve, reject) => {
    const moved = base.transaction("passages", mode);
    const asked = work(moved.objectStore("passages"));
    moved.oncomplete = () => { base.close(); resolve(asked?.result); };
    moved.onerror = () => { base.close(); reject(moved.error); };
  });
}

const ofThisModel = () => IDBKeyRange.bound([model], [model, []]);

async function count() {
  const passages = await kept("readonly", (store) => store.count(ofThisModel()));
  element("kept").textContent = `${passages} passages are kept here.`;
}

function passages(text) {
  const found = [];
  for (const part of text.split(/\n\s*\n/)) {
    const words = part.trim().split(/\s+/).filter(Boolean);
    for (let start = 0; start < words.length; start += WORDS) found.push(words.slice(start, start + WORDS).join(" "));
  }
  return found;
}

async function embedded(texts) {
  const began = performance.now();
  const answer = await ask("v1/embeddings", { model, input: texts });
  const vectors = (await answer.json()).data.map((entry) => entry.embedding);
  await showCost(answer, (performance.now() - began) / 1000);
  return vectors;
}

async function keep(name, texts) {
  let vectors;
  try {
    vectors = await embedded(texts);
  } catch (error) {
    if (error.status !== 400) throw error;
    if (texts.length > 1) {
      for (const text of texts) await keep(name, [text]);
      return;
    }
    const words = texts[0].split(" ");
    if (words.length < 2) throw error;
    const middle = words.length >> 1;
    await keep(name, [words.slice(0, middle).join(" ")]);
    await keep(name, [words.slice(middle).join(" ")]);
    return;
  }
  await kept("readwrite", (store) => {
    texts.forEach((text, number) => store.put({ model, text, name, vector: new Float32Array(vectors[number]) }));
  });
}

async function take(files) {
  for (const file of files) {
    const texts = [...new Set(passages(await file.text()))];
    for (let start = 0; start < texts.length; start += TOGETHER) {
      say(`${file.name}: ${start} of ${texts.length} passages`);
      await keep(file.name, texts.slice(start, start + TOGETHER));
      await count();
    }
    say(`${file.name} is kept`);
  }
}

async function search(question) {
  say("Searching…");
  const [vector] = await embedded([question]);
  const everything = await kept("readonly", (store) => store.getAll(ofThisModel()));
  const scored = everything.map((entry) => ({ ...entry, score: entry.vector.reduce((sum, x, i) => sum + x * vector[i], 0) }));
  scored.sort((one, other) => other.score - one.score);
  element("found").replaceChildren(
    ...scored.slice(0, 10).map((entry) => {
      const item = document.createElement("li");
      const about = document.createElement("small");
      about.textContent = ` ${entry.name}, ${entry.score.toFixed(3)}`;
      item.append(entry.text, about);
      return item;
    }),
  );
  say("The vectors were compared in this browser.");
}

// Chat, as a stream.

const messages = [];

function bubble(role, text) {
  const made = document.createElement("p");
  made.className = role;
  made.textContent = text;
  element("said").append(made);
  return made;
}

async function* events(answer) {
  const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
  let left = "";
  for (;;) {
    const { done, value } = await reader.read();
    if (done) return;
    left += value;
    const parts = left.split("\n\n");
    left = parts.pop();
    for (const part of parts) {
      const data = part.split("\n").filter((line) => line.startsWith("data: ")).map((line) => line.slice(6)).join("\n");
      if (data === "[DONE]") return;
      if (data) yield JSON.parse(data);
    }
  }
}

async function chat(text) {
  messages.push({ role: "user", content: text });
  bubble("user", text);
  const made = bubble("assistant", "");
  stopping = new AbortController();
  element("send").disabled = true;
  element("stop").disabled = false;
  const began = performance.now();
  say("The answer comes token by token…");
  let answer = null;
  try {
    answer = await ask("v1/chat/completions", { model, messages, stream: true }, stopping.signal);
    for await (const event of events(answer)) {
      if (event.error) throw new Error(event.error.message);
      made.textContent += event.choices?.[0]?.delta?.content ?? "";
    }
    say("");
  } catch (error) {
    if (error.name !== "AbortError") throw error;
    say("Stopped; its session with the parties has ended.");
  } finally {
    messages.push({ role: "assistant", content: made.textContent });
    element("send").disabled = false;
    element("stop").disabled = true;
  }
  if (answer) await showCost(answer, (performance.now() - began) / 1000);
}

// What happens when.

function trying(work) {
  return async (event) => {
    event?.preventDefault();
    try {
      await work(event);
    } catch (error) {
      say(error.message, true);
    }
  };
}

const begin = trying(async () => {
  const found = (await (await ask("v1/models")).json()).data[0];
  model = found.id;
  element("model").textContent = model;
  element("search").hidden = found.serves !== "embeddings";
  element("chat").hidden = found.serves === "embeddings";
  if (found.serves === "embeddings") await count();
  const ready = await fetch("ready").then((answer) => answer.json());
  say(ready.ready ? "The parties serve." : `Not ready: ${ready.reason}`, !ready.ready);
});

element("key").addEventListener("change", begin);
element("keys").addEventListener("submit", (event) => event.preventDefault()); // a changed key has begun already
element("files").addEventListener("change", trying((event) => take(event.target.files)));
element("ask").addEventListener("submit", trying(() => search(element("question").value)));
element("forget").addEventListener("click", trying(async () => {
  await kept("readwrite", (store) => { store.delete(ofThisModel()); });
  element("found").replaceChildren();
  await count();
}));
for (const name of ["dragover", "dragleave", "drop"]) {
  element("drop").addEventListener(name, (event) => {
    event.preventDefault();
    element("drop").classList.toggle("over", name === "dragover");
  });
}
element("drop").addEventListener("drop", trying((event) => take(event.dataTransfer.files)));
element("say").addEventListener("submit", trying(async () => {
  const text = element("message").value;
  element("message").value = "";
  await chat(text);
}));
element("stop").addEventListener("click", () => stopping?.abort());
begin();
