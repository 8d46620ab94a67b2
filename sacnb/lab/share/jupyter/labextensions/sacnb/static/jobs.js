// Refreshes on the server: each is followed to its end, whichever tenant the panel shows meanwhile.

const EVERY_MS = 500;
const AWAY_MS = 3000;
const FORGOTTEN = {message: "The Jupyter server was started again, and the refresh ended.", hint: "What is cached stays. Refresh again."};

export class Jobs {
  /** `ask` sends a request; `on` has what to do: show a job, with the error where the server is away, and its end. */
  constructor(ask, on, pause = (milliseconds) => new Promise((resolve) => setTimeout(resolve, milliseconds))) {
    this.ask = ask;
    this.on = on;
    this.pause = pause;
    this.running = new Map(); // by profile
    this.ended = new Map(); // by profile, until somebody has seen the end
  }

  of(profile) {
    return this.running.get(profile) || null;
  }

  /** Return the job of a tenant whose end nobody has seen yet. */
  takeEnded(profile) {
    const job = this.ended.get(profile) || null;
    this.ended.delete(profile);
    return job;
  }

  /** Follow the running jobs among these, which may have been started in another tab. */
  adopt(jobs) {
    for (const job of jobs) {
      if (job.state === "running") this.follow(job);
    }
  }

  async follow(job) {
    const {id, profile} = job;
    if (this.running.has(profile)) return; // another one is adopted when this one has ended
    this.running.set(profile, job);
    let error = null;
    while (job.state === "running") {
      this.on.show(job, error);
      await this.pause(error ? AWAY_MS : EVERY_MS);
      try {
        job = await this.ask("GET", `jobs/${id}`);
        error = null;
        this.running.set(profile, job);
      } catch (caught) {
        // One that is away for a moment goes on with it.
        if (caught.status === 404) job = {...job, state: "failed", error: FORGOTTEN};
        else error = caught;
      }
    }
    this.running.delete(profile);
    this.ended.set(profile, job);
    this.on.end(job);
  }
}
