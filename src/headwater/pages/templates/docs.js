const page = document.getElementById("routes"), token = document.getElementById("token"), state = document.getElementById("state");
const make = (tag, text, parent) => { const e = document.createElement(tag); if (text) e.textContent = text; parent.append(e); return e; };
const headers = () => token.value ? { authorization: "Bearer " + token.value } : {};
let described = {};

function example(schema, depth = 0) {
  if (schema.$ref) schema = described.components.schemas[schema.$ref.split("/").pop()];
  const options = schema.oneOf || schema.anyOf;
  if (options) return example(options[0], depth);
  if (schema.enum) return schema.enum.find(one => one !== null) ?? null;
  const type = Array.isArray(schema.type) ? schema.type[0] : schema.type;
  if (type === "object") {
    const names = schema.required || Object.keys(schema.properties || {});
    return Object.fromEntries(names.map(name => [name, example(schema.properties[name], depth + 1)]));
  }
  if (type === "array") return schema.items && depth < 6 ? [example(schema.items, depth + 1)] : [];
  if (type === "string" && schema.format === "date-time") return new Date().toISOString();
  if (type === "string") return schema.format === "date" ? new Date().toISOString().slice(0, 10) : "text";
  if (type === "integer") return Math.max(schema.minimum > -1e9 ? schema.minimum : 1, 1);
  if (type === "number") return 1.5;
  return type === "boolean" ? false : null;
}

function show(path, method, operation) {
  const box = make("details", "", page), head = make("summary", "", box);
  make("b", method.toUpperCase(), head); make("code", path, head); make("span", " " + operation.summary, head);
  if (operation.description) make("p", operation.description, box);
  const content = operation.requestBody && operation.requestBody.content;
  const kind = content && Object.keys(content)[0], schema = content && content[kind].schema;
  const fields = (operation.parameters || []).map(one => {
    const label = make("label", one.name + (one.required ? " (needed): " : ": "), box), input = make("input", "", label);
    input.placeholder = one.description || "";
    if (one.required) input.value = String(example(one.schema) ?? "");
    return [one.name, input];
  });
  let body = null;
  if (schema) { body = make("textarea", "", box); body.value = JSON.stringify(example(schema), null, 1); }
  const send = make("button", "Send", box), answer = make("pre", "", box);
  answer.hidden = true;
  send.onclick = async () => {
    const query = new URLSearchParams(fields.filter(([, input]) => input.value).map(([name, input]) => [name, input.value])).toString();
    answer.hidden = false; answer.textContent = "...";
    try {
      const begin = performance.now();
      const options = body ? { body: body.value, headers: { ...headers(), "content-type": kind } } : { headers: headers() };
      const reply = await fetch(path + (query ? "?" + query : ""), { method: method.toUpperCase(), ...options });
      let text = await reply.text();
      try { text = JSON.stringify(JSON.parse(text), null, 1); } catch { /* shown as it is */ }
      answer.textContent = reply.status + " in " + (performance.now() - begin).toFixed(1) + " ms, request " + reply.headers.get("x-request-id") + "\n" + text;
    } catch (error) { answer.textContent = String(error); }
  };
  const answers = Object.values((operation.responses["200"] || {}).content || {});
  for (const [name, shape] of [["Request", schema], ["Answer", answers.map(one => one.schema)[0]]]) {
    if (!shape) continue;
    const more = make("details", "", box); make("summary", name + ": schema", more); make("pre", JSON.stringify(shape, null, 1), more);
  }
}

async function load() {
  state.textContent = ""; page.replaceChildren();
  const reply = await fetch("/openapi.json", { headers: headers() });
  described = await reply.json();
  if (!reply.ok) { state.textContent = described.error; return; }
  document.title = described.info.title; document.getElementById("title").textContent = described.info.title;
  for (const [path, methods] of Object.entries(described.paths)) for (const [method, operation] of Object.entries(methods)) show(path, method, operation);
  const shared = make("details", "", page); make("summary", "Schemas", shared); make("pre", JSON.stringify(described.components, null, 1), shared);
}

document.getElementById("load").onclick = load;
load();
