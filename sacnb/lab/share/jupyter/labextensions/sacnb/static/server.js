// The routes of the Jupyter server.

/** An error of a route, in the words that the server has for it. */
export class Refused extends Error {
  constructor({message, hint = "", details = []}, status = 0) {
    super(message);
    this.status = status; // 0 where there was no answer
    this.hint = hint;
    this.details = details;
  }
}

/** Ask a route of the server; JupyterLab's own requests carry its address, token and XSRF token. */
export async function ask(app, {services, coreutils}, method, path, {body, ...query} = {}) {
  const settings = app.serviceManager.serverSettings;
  const given = Object.entries(query).filter(([, value]) => value);
  const url = coreutils.URLExt.join(settings.baseUrl, "sacnb", path) + (given.length ? `?${new URLSearchParams(given)}` : "");
  let answer;
  try {
    answer = await services.ServerConnection.makeRequest(url, {method, ...(body ? {body: JSON.stringify(body)} : {})}, settings);
  } catch {
    throw new Refused({message: "The Jupyter server does not answer.", hint: "Look at the terminal in which Jupyter was started. When it runs again, load this page again."});
  }
  const found = await answer.json().catch(() => ({}));
  if (answer.ok) return found;
  if (found.error) throw new Refused(found.error, answer.status);
  if (answer.status === 404) {
    throw new Refused({message: "The server part of sacnb is not running.", hint: "Run: jupyter server extension enable sacnb.lab, and start Jupyter again."}, answer.status);
  }
  throw new Refused({message: `The Jupyter server answered ${answer.status}.`, hint: "Load the page again, which may ask you to log in."}, answer.status);
}
