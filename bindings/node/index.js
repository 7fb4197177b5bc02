'use strict';
// keelkv inside a Node.js program. The native half moves values; what users see is here and in index.d.ts.

const { fileURLToPath } = require('node:url');
const native = require('./keelkv.node');

const Code = Object.freeze(native.codes());
const EventKind = Object.freeze({ PUT: 0, DELETE: 1 });

const uncertain = new Set(native.uncertain());

class KeelkvError extends Error {
  constructor(code, message, options) {
    super(message, options);
    this.name = 'KeelkvError';
    this.code = code;
    this.mayHaveBeenDone = uncertain.has(code);
  }
}

// What the native half throws has a number; the rest are mistakes in types.
function translated(error) {
  return typeof error?.code === 'number' ? new KeelkvError(error.code, error.message, { cause: error }) : error;
}

async function settled(call) {
  try {
    return await call();
  } catch (error) {
    throw translated(error);
  }
}

const encoder = new TextEncoder();

function bytes(value, what) {
  if (typeof value === 'string') return encoder.encode(value);
  if (value instanceof Uint8Array) return value;
  throw new TypeError(`${what} is neither a string nor a Uint8Array`);
}

// The options with the names that they have in JavaScript, as `dataDir` for `data-dir`.
const optionNames = new Map(
  native.options().map((name) => [name.replace(/-[a-z]/g, (letters) => letters[1].toUpperCase()), name]),
);

// The options as the native half takes them: texts only, so that nothing is guessed from what is none.
function nativeOptions(options) {
  if (typeof options !== 'object' || Array.isArray(options)) {
    throw new TypeError("options must be an object, as in Node.start({ dataDir: 'data' })");
  }
  const chosen = {};
  for (const [name, value] of Object.entries(options ?? {})) {
    if (!optionNames.has(name)) {
      const names = [...optionNames.keys()].join(', ');
      throw new KeelkvError(Code.BAD_REQUEST, `there is no option "${name}": use one of these: ${names}`);
    }
    if (value === undefined || value === null) continue;
    const text = name === 'dataDir' && value instanceof URL && value.protocol === 'file:' ? fileURLToPath(value) : value;
    if (typeof text !== 'string') {
      throw new TypeError(`option ${name} must be a string${name === 'dataDir' ? ', or a file: URL' : ''}`);
    }
    chosen[optionNames.get(name)] = text;
  }
  return chosen;
}

class Watch {
  #native;

  constructor(watch) {
    this.#native = watch;
  }

  async next() {
    try {
      return { done: false, value: await settled(() => this.#native.next()) };
    } catch (error) {
      if (error.code === Code.WATCH_CANCELED) return { done: true, value: undefined };
      throw error;
    }
  }

  async return() {
    this.cancel();
    return { done: true, value: undefined };
  }

  cancel() {
    this.#native.cancel();
  }

  [Symbol.asyncIterator]() {
    return this;
  }
}

class Node {
  #native;

  constructor(node) {
    this.#native = node;
  }

  static async start(options = {}) {
    return new Node(await settled(() => native.Node.start(nativeOptions(options))));
  }

  async put(key, value) {
    return settled(() => this.#native.put(bytes(key, 'key'), bytes(value, 'value')));
  }

  async get(key) {
    return (await settled(() => this.#native.get(bytes(key, 'key')))) ?? undefined;
  }

  watch(key, { rangeEnd = '', startRevision = 0n } = {}) {
    try {
      return new Watch(this.#native.watch(bytes(key, 'key'), bytes(rangeEnd, 'rangeEnd'), startRevision));
    } catch (error) {
      throw translated(error);
    }
  }

  async stop() {
    return settled(() => this.#native.stop());
  }
}

// `await using`, where the language has it.
if (Symbol.asyncDispose) {
  Node.prototype[Symbol.asyncDispose] = Node.prototype.stop;
  Watch.prototype[Symbol.asyncDispose] = Watch.prototype.return;
}

module.exports = { Code, EventKind, KeelkvError, Node, Watch, version: native.VERSION };
