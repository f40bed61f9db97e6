/** Addresses of the server: REST calls, with the token that the page itself was opened with. */

const TOKEN_KEY = "millstream.token";

/** @returns {string} the access token, empty where none is needed; it is moved out of the address bar */
function readToken() {
  const address = new URL(location.href);
  const given = address.searchParams.get("token");
  if (given) {
    sessionStorage.setItem(TOKEN_KEY, given);
    address.searchParams.delete("token");
    history.replaceState(null, "", address);
  }
  return given ?? sessionStorage.getItem(TOKEN_KEY) ?? "";
}

const token = readToken();

/**
 * @param {string} path
 * @param {Record<string, string>} [query]
 * @returns {URL} an absolute address that carries the token
 */
export function url(path, query = {}) {
  const address = new URL(path, location.href);
  for (const [key, value] of Object.entries(query)) address.searchParams.set(key, value);
  if (token) address.searchParams.set("token", token);
  return address;
}

/**
 * @param {string} session
 * @param {"control" | "view"} role
 */
export function liveAddress(session, role) {
  const address = url("/api/v1/live", { session, role });
  address.protocol = address.protocol.replace("http", "ws");
  return address.href;
}

/**
 * @param {string} session
 * @param {string} viewers the token for those who watch, empty where none is needed
 */
export function viewersAddress(session, viewers) {
  const address = new URL("/view", location.href);
  address.searchParams.set("session", session);
  if (viewers) address.searchParams.set("token", viewers);
  return address.href;
}

/**
 * @param {string} path below /api/v1
 * @param {"GET" | "POST" | "PUT" | "DELETE"} [method]
 * @param {unknown} [body]
 * @returns {Promise<any>} the JSON that was answered
 * @throws {Error} with the server's own words
 */
export async function call(path, method = "GET", body = undefined) {
  const request = { method, headers: { "content-type": "application/json" }, body: JSON.stringify(body) };
  const answer = await fetch(url(`/api/v1/${path}`), request);
  const text = await answer.text();
  if (!answer.ok) throw new Error(words(text) || `${answer.status} ${answer.statusText}`);
  return text ? JSON.parse(text) : null;
}

/**
 * @param {string} path below /api/v1
 * @returns {Promise<number>} the HTTP status; 0 where no server answers
 */
export async function statusOf(path) {
  const answer = await fetch(url(`/api/v1/${path}`)).catch(() => null);
  return answer?.status ?? 0;
}

/** @param {string} text */
function words(text) {
  try {
    const { detail, message } = JSON.parse(text);
    return message ?? (typeof detail === "string" ? detail : JSON.stringify(detail));
  } catch {
    return "";
  }
}
