// Signs and words of the panel: ages, times, progress. The refresh panel in a notebook has the same.

export const SIGNS = {
  idle: '<circle cx="8" cy="8" r="6" fill="none" stroke="#767676" stroke-width="2"/>',
  busy: '<path d="M8 2a6 6 0 1 1-6 6" fill="none" stroke="#0072b2" stroke-width="2.5" stroke-linecap="round"/>',
  good: '<circle cx="8" cy="8" r="8" fill="#00825f"/><path d="M4.3 8.3l2.6 2.6 4.9-5.4" fill="none" stroke="#fff" stroke-width="2"/>',
  old: '<path d="M8 0.8L16 15H0z" fill="#d55e00"/><path d="M8 5.5v4.6M8 11.6v2" stroke="#fff" stroke-width="2"/>',
  stopped: '<circle cx="8" cy="8" r="8" fill="#767676"/><path d="M5 5h6v6H5z" fill="#fff"/>',
  failed: '<circle cx="8" cy="8" r="8" fill="#d4004a"/><path d="M5 5l6 6M11 5l-6 6" stroke="#fff" stroke-width="2"/>',
};

export const count = (number, word) => `${number.toLocaleString("en")} ${word}${number === 1 ? "" : "s"}`;

export function ageOf(moment) {
  const seconds = Math.max(0, Math.floor((Date.now() - Date.parse(moment)) / 1000));
  for (const [size, word] of [[86400, "day"], [3600, "hour"], [60, "minute"]]) {
    if (seconds >= size) return count(Math.floor(seconds / size), word);
  }
  return count(seconds, "second");
}

export function clock(moment) {
  const at = new Date(moment);
  const pad = (number) => String(number).padStart(2, "0");
  const minutes = -at.getTimezoneOffset();
  const [hours, rest] = [Math.floor(Math.abs(minutes) / 60), Math.abs(minutes) % 60];
  const zone = minutes ? `UTC${minutes < 0 ? "-" : "+"}${hours}${rest ? `:${pad(rest)}` : ""}` : "UTC";
  const day = at.toDateString() === new Date().toDateString() ? "" : `${at.getFullYear()}-${pad(at.getMonth() + 1)}-${pad(at.getDate())} `;
  return `${day}${pad(at.getHours())}:${pad(at.getMinutes())} ${zone}`;
}

export const cachedText = (cached) => (cached ? `${count(cached.rows, "row")}, ${ageOf(cached.refreshed_at)} old` : "");

const duration = (seconds) => (seconds < 90 ? `${Math.max(1, Math.round(seconds))} s` : `${Math.round(seconds / 60)} min`);

/** Return `12,000 of 34,200 rows, about 6 s left`, as far as it is known. */
export function progressText({rows, expected_rows: expected, elapsed_s: seconds}) {
  if (!rows) return "refreshing";
  const rate = seconds > 0.5 ? rows / seconds : 0; // measured over less time it would be a guess
  const remaining = rate && expected > rows ? (expected - rows) / rate : 0;
  const left = remaining ? `, about ${duration(remaining)} left` : "";
  return `${rows.toLocaleString("en")}${expected ? ` of ${expected.toLocaleString("en")}` : ""} rows${left}`;
}

/** Return the sign and the words for the state of a token. */
export function tokenText(token) {
  if (!token || token.state === "absent") return ["idle", "No token yet"];
  if (token.state === "busy") return ["busy", "Renewing the token"];
  if (token.state === "endless") return ["good", "Pasted token; it does not say when it expires"];
  const isOver = token.state === "expired" || Date.parse(token.expires_at) <= Date.now();
  return isOver ? ["old", `Token expired at ${clock(token.expires_at)}`] : ["good", `Token valid until ${clock(token.expires_at)}`];
}
