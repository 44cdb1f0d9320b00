// The Batcher of the seeds (the documents' version, one key per item), as it is there; logging left out, and the window
// a binding, so that no batch goes out while adding is measured.
import { DurableObject } from "cloudflare:workers";

export class Batcher extends DurableObject {
  constructor(ctx, env) {
    super(ctx, env);
    this.storage = ctx.storage;
    this.ctx.blockConcurrencyWhile(async () => {
      const last = await this.storage.list({ reverse: true, limit: 1 });
      this.count = last.size === 0 ? 0 : parseInt(last.keys().next().value);
    });
  }

  async fetch(request) {
    this.count++;
    if ((await this.storage.getAlarm()) === null) {
      this.storage.setAlarm(Date.now() + Number(this.env.WINDOW_MS));
    }
    await this.storage.put(this.count, await request.text());
    return Response.json({ queued: this.count });
  }

  async alarm() {
    await this.storage.deleteAll();
    this.count = 0;
  }
}

export default {
  async fetch(request, env) {
    if (request.headers.get("authorization") !== `Bearer ${env.TOKEN}`) return new Response("", { status: 401 });
    const name = new URL(request.url).pathname.split("/")[2];
    return env.BATCHER.get(env.BATCHER.idFromName(name)).fetch(request);
  },
};
