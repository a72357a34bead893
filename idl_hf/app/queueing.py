"""How the events of the page wait for each other."""

from typing import Literal, TypedDict


class Queueing(TypedDict):
    """What an event of Gradio takes: how many of a name run at once, and who may call it but the page."""

    concurrency_limit: int
    concurrency_id: str
    api_visibility: Literal["private"]


# A model writes one reply at a time, whoever asked for it
ONE_AT_A_TIME = Queueing(concurrency_limit=1, concurrency_id="model", api_visibility="private")

# Gradio's page reads what becomes of its events from one stream, and the server has it close that after the last one.
# Where the number of a new event comes to the page before this word does, the page takes the stream for one that goes
# on, then closes it, and opens none for the new event, which waits for ever. So while there is such an event, the
# page is kept from the word and goes on with the next stream instead.
KEPT_STREAMS = """<script>(() => {
  const plain = window.fetch.bind(window), running = new Set(), asBytes = new TextEncoder();

  async function pass(answer, asked, writer) {
    const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
    for (let rest = "";;) {
      const {value, done} = await reader.read();
      if (done) return;
      const messages = (rest + value).split("\\n\\n");
      rest = messages.pop();
      for (const message of messages) {
        const {msg, event_id} = JSON.parse(message.slice("data:".length));
        if (msg === "process_completed") running.delete(event_id);
        if (msg === "close_stream" && running.size) {
          const next = await plain(...asked);
          if (!next.ok) throw new Error(`The stream of events answers ${next.status}`);
          return pass(next, asked, writer);
        }
        await writer.write(asBytes.encode(message + "\\n\\n"));
        if (msg === "close_stream") return;
      }
    }
  }

  window.fetch = async (...asked) => {
    const answer = await plain(...asked), {pathname} = new URL(asked[0].url ?? asked[0], location);
    if (answer.ok && pathname.endsWith("/queue/join")) running.add((await answer.clone().json()).event_id);
    if (!answer.ok || !pathname.endsWith("/queue/data")) return answer;
    const {readable, writable} = new TransformStream(), writer = writable.getWriter();
    pass(answer, asked, writer).then(() => writer.close(), error => writer.abort(error)).catch(() => {});
    return new Response(readable, answer);
  };
})()</script>"""
