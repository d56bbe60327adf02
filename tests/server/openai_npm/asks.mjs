// What programs in JavaScript do with OpenAI's own client; test_server_npm.py starts one and reads what it saw.
//
//   node asks.mjs PROGRAM BASE_URL KEY WISH
//
// PROGRAM is one of `programs` below, WISH its argument as JSON. Prints one line of JSON, then lives on with its
// connections until its input ends.

import OpenAI from './openai.mjs';

const [program, baseURL, apiKey, wish] = process.argv.slice(2);
const client = new OpenAI({ baseURL, apiKey, maxRetries: 0, timeout: 60_000 });
const messages = [{ role: 'user', content: 'hello' }];
const asked = { model: 'ruminate', messages };
const tools = [{ type: 'function', function: { name: 'weather', parameters: { type: 'object', properties: {} } } }];

const programs = {
  async chat(more) {
    const whole = await client.chat.completions.create({ ...asked, ...more });
    const pieces = { reasoning: '', content: '' };
    const models = new Set();
    let usage = null;
    const wanted = { ...asked, ...more, stream: true, stream_options: { include_usage: true } };
    for await (const chunk of await client.chat.completions.create(wanted)) {
      models.add(chunk.model);
      usage = chunk.usage ?? usage;
      for (const name of Object.keys(pieces)) pieces[name] += chunk.choices[0]?.delta[name] ?? '';
    }
    const said = whole.choices[0].message;
    const history = [...messages, said, { role: 'user', content: 'more' }];
    const onward = await client.chat.completions.create({ ...asked, ...more, messages: history });
    return { whole, request: whole._request_id, pieces, models: [...models], usage, onward };
  },

  async models() {
    const names = [];
    for await (const model of client.models.list()) names.push(model.id);
    return names;
  },

  // The client's own reader of a stream, which puts the pieces together again.
  async chatReader() {
    const told = { content: '', events: 0 };
    const reader = client.chat.completions.stream({ ...asked, tools, tool_choice: 'required' });
    reader.on('content', (delta) => (told.content += delta));
    reader.on('chunk', () => (told.events += 1));
    const final = await reader.finalChatCompletion();
    return { ...told, final };
  },

  // The client's own loop: it calls the function, sends back what that gave, and asks again.
  async chatTools() {
    const cities = [];
    const weather = {
      name: 'weather',
      parameters: { type: 'object', properties: { city: { type: 'string' } } },
      parse: JSON.parse,
      function: ({ city }) => (cities.push(city), 'sunny'),
    };
    const loop = client.chat.completions.runTools(
      { ...asked, tools: [{ type: 'function', function: weather }] },
      { maxChatCompletions: 2 },
    );
    const roles = [];
    loop.on('message', (message) => roles.push(message.role));
    await loop.done();
    return { cities, roles };
  },

  async responses(more) {
    const first = await client.responses.create({ model: 'ruminate', input: 'hello', ...more });
    const events = [];
    const wanted = { model: 'ruminate', input: 'more', previous_response_id: first.id, stream: true };
    for await (const event of await client.responses.create(wanted)) events.push(event);
    return { first, text: first.output_text, events };
  },

  async responsesReader() {
    const { name, parameters } = tools[0].function;
    const told = { text: '', thought: '' };
    const reader = client.responses.stream({
      model: 'ruminate',
      input: 'hello',
      tools: [{ type: 'function', name, parameters, strict: false }],
      tool_choice: 'required',
    });
    reader.on('response.output_text.delta', (event) => (told.text += event.delta));
    reader.on('response.reasoning_text.delta', (event) => (told.thought += event.delta));
    const final = await reader.finalResponse();
    return { ...told, final, said: final.output_text };
  },

  // Each of `refused` is [what to call, with what]; gives the error of each.
  async refusals(refused) {
    const calls = {
      chat: (body) => client.chat.completions.create({ ...asked, ...body }),
      responses: (body) => client.responses.create({ model: 'ruminate', input: 'hello', ...body }),
      embeddings: (body) => client.embeddings.create({ model: 'ruminate', input: 'hello', ...body }),
      path: (body) => client.get('/nothing', body),
    };
    const errors = [];
    for (const [call, body] of refused) errors.push(await failed(() => calls[call](body)));
    return errors;
  },

  // Streams that break off: what was read until then, and the error that ended each.
  async broken() {
    const content = [];
    const chat = await failed(async () => {
      for await (const chunk of await client.chat.completions.create({ ...asked, stream: true }))
        content.push(chunk.choices[0]?.delta.reasoning ?? '');
    });
    let last = null;
    for await (const event of await client.responses.create({ model: 'ruminate', input: 'hello', stream: true }))
      last = event;
    const reader = await failed(() => client.chat.completions.stream(asked).finalChatCompletion());
    return { read: content.join(''), chat, last, reader };
  },

  // Goes away in the middle of an answer; the process and its other connections stay.
  async leave(how) {
    let read = '';
    if (how === 'signal') {
      const control = new AbortController();
      const error = failed(() => client.chat.completions.create(asked, { signal: control.signal }));
      while (!(await engines())[0].in_flight) await new Promise((again) => setTimeout(again, 20));
      control.abort();
      return { read, error: await error };
    }
    const stream = how.startsWith('responses')
      ? await client.responses.create({ model: 'ruminate', input: 'hello', stream: true })
      : await client.chat.completions.create({ ...asked, stream: true });
    for await (const event of stream) {
      read += event.choices?.[0]?.delta.reasoning ?? event.delta ?? '';
      if (!read.includes('thinks1')) continue;
      if (how.endsWith('break')) break;
      stream.controller.abort();
    }
    return { read, error: null };
  },

  // Two at once where one is allowed: the client waits as it is told, and asks again.
  async patience() {
    const patient = client.withOptions({ maxRetries: 5 });
    const statuses = [];
    const counting = patient.withOptions({
      fetch: async (...call) => {
        const answer = await fetch(...call);
        statuses.push(answer.status);
        return answer;
      },
    });
    const answers = await Promise.all([1, 2].map(() => counting.chat.completions.create(asked)));
    return { statuses, answers: answers.map((answer) => answer.choices[0].message.content) };
  },
};

async function engines() {
  return (await (await fetch(new URL('/api/admin/engines', baseURL))).json()).data;
}

// The error that `call` ends in, in the client's own terms; null when it ends in none.
async function failed(call) {
  try {
    await call();
    return null;
  } catch (error) {
    const kind = Object.keys(OpenAI).find((name) => error.constructor === OpenAI[name]) ?? error.constructor.name;
    const { status = null, code = null, param = null, type = null, message } = error;
    return { kind, status, code, param, type, message };
  }
}

console.log(JSON.stringify(await programs[program](JSON.parse(wish))));
process.stdin.on('end', () => process.exit(0)).resume();
