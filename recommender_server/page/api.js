// The API as the page uses it: requests with the key, if there is one, and the live report as it comes.

let key = sessionStorage.getItem("key") || "";

export function useKey(text) {
  key = text;
  sessionStorage.setItem("key", text);
}

const headers = (more = {}) => (key ? { ...more, Authorization: `Bearer ${key}` } : more);

export async function ask(path, options = {}) {
  const response = await fetch(path, { ...options, headers: headers(options.headers) });
  const body = response.status === 204 ? {} : await response.json();
  if (!response.ok) throw new Error(said(body, response.status));
  return body;
}

function said(problem, status) {
  if (problem.type === "/problems/no-key") return "This server wants a key: give it one in the operator's view.";
  return problem.detail || `the server answered ${status}`;
}

export const post = (path, body) =>
  ask(path, { method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(body) });

export const query = (path, members) => `${path}?${new URLSearchParams(members)}`;

// EventSource sends no key, so the stream is read here. Calls back with every report, and with null when it broke off.
export async function watch(heard) {
  for (;;) {
    try {
      const response = await fetch("/v1/metrics/stream", { headers: headers() });
      if (!response.ok) throw new Error(said(await response.json(), response.status));
      const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
      let text = "";
      for (let part = await reader.read(); !part.done; part = await reader.read()) {
        text += part.value.replaceAll("\r\n", "\n");
        const blocks = text.split("\n\n");
        text = blocks.pop();
        for (const block of blocks) {
          const lines = block.split("\n");
          const data = lines.filter((line) => line.startsWith("data:")).map((line) => line.slice(5)).join("\n");
          if (lines.some((line) => line.trim() === "event: report") && data) heard(JSON.parse(data), null);
        }
      }
      heard(null, "the server ended the stream");
    } catch (error) {
      heard(null, error.message);
    }
    await new Promise((done) => setTimeout(done, 1000));
  }
}
