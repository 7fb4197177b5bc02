// The package with the addon beside it, with members in memory and on disk.

import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { access, mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { after, test } from 'node:test';
import { Code, EventKind, KeelkvError, Node, version } from '../index.js';

const text = (bytes) => new TextDecoder().decode(bytes);
const refused = (code, words = '') => (error) =>
  error instanceof KeelkvError && error.code === code && error.message.includes(words);

// A member for one test.
async function member(t, options) {
  const node = await Node.start(options);
  t.after(() => node.stop());
  return node;
}

// They go when all members have stopped.
const root = await mkdtemp(join(tmpdir(), 'keelkv-node-'));
after(() => rm(root, { recursive: true }));
const directory = () => mkdtemp(join(root, 'data-'));

test('put and get', async (t) => {
  const node = await member(t);
  assert.match(version, /^\d+\.\d+\.\d+/);
  assert.equal(await node.get('k'), undefined);
  assert.equal(await node.put('k', 'v'), 2n);
  assert.equal(await node.put(new Uint8Array([0, 255]), ''), 3n);
  const found = await node.get('k');
  assert.deepEqual(
    { ...found, key: text(found.key), value: text(found.value) },
    { key: 'k', value: 'v', createRevision: 2n, modRevision: 2n, version: 1n, lease: 0n },
  );
  assert.equal((await node.get(new Uint8Array([0, 255]))).value.length, 0);
});

test('data survives a restart, and a directory has one member', async (t) => {
  const dataDir = await directory();
  const first = await Node.start({ dataDir, name: 'one' });
  await first.put('k', 'v');
  await assert.rejects(Node.start({ dataDir }), refused(Code.NOT_STARTED, 'in use by another member, in this process or another one'));
  await first.stop();
  const second = await member(t, { dataDir, name: 'one' });
  assert.equal(text((await second.get('k')).value), 'v');
});

test('what is no option is left out, and a directory may be a URL', async (t) => {
  await Promise.all([await Node.start(null), await Node.start({ dataDir: null, name: undefined })].map((node) => node.stop()));
  await assert.rejects(access('null'), { code: 'ENOENT' });
  const dataDir = await directory();
  const first = await Node.start({ dataDir: pathToFileURL(dataDir) });
  await first.put('k', 'v');
  await first.stop();
  const second = await member(t, { dataDir });
  assert.equal(text((await second.get('k')).value), 'v');
});

test('errors say whether it may have been done', async (t) => {
  const node = await member(t);
  await assert.rejects(node.put('', 'v'), (error) => error.mayHaveBeenDone === false);
  assert.equal(new KeelkvError(Code.TIMEOUT, 'late').mayHaveBeenDone, true);
});

test('a watch hears of the past and of what comes, and the event loop goes on', async (t) => {
  const node = await member(t);
  const start = await node.put('a1', '1');
  const watch = node.watch('a', { rangeEnd: 'b', startRevision: start });
  const heard = [];
  let turns = 0;
  const ticking = setInterval(() => turns++, 1);
  setTimeout(async () => {
    await node.put('c', 'no');
    await node.put('a2', '2');
  }, 20);
  for await (const { revision, events } of watch) {
    assert.ok(revision >= start);
    heard.push(...events.map(({ kind, kv }) => [kind, text(kv.key), kv.modRevision]));
    if (heard.length === 2) break;
  }
  clearInterval(ticking);
  assert.deepEqual(heard, [
    [EventKind.PUT, 'a1', start],
    [EventKind.PUT, 'a2', start + 2n],
  ]);
  assert.ok(turns > 0, 'timers fired while it waited');
  assert.equal((await watch.next()).done, true, 'leaving the loop ended it');
});

test('cancel ends a wait', async (t) => {
  const watch = (await member(t)).watch('k');
  const waits = watch.next();
  watch.cancel();
  assert.equal((await waits).done, true);
});

test('a stop ends waits, and comes once', async () => {
  const node = await Node.start();
  const watch = node.watch('k');
  const waits = assert.rejects(watch.next(), refused(Code.STOPPED, 'etcdserver: server stopped'));
  await Promise.all([node.stop(), node.stop()]);
  await node.stop();
  await waits;
  await assert.rejects(node.put('k', 'v'), refused(Code.STOPPED));
  await assert.rejects(node.get('k'), refused(Code.STOPPED));
  assert.throws(() => node.watch('k'), refused(Code.STOPPED));
});

test('misuse', async (t) => {
  const noSuchOption = 'there is no option "colour": use one of these: name, dataDir';
  await assert.rejects(Node.start({ colour: 'red' }), refused(Code.BAD_REQUEST, noSuchOption));
  for (const [options, words] of [
    [{ dataDir: 7 }, /option dataDir must be a string/],
    [{ dataDir: new URL('http://localhost/data') }, /option dataDir must be a string, or a file: URL/],
    [{ name: ['one'] }, /option name must be a string$/],
    ['data', /options must be an object/],
    [['data'], /options must be an object/],
  ]) {
    await assert.rejects(Node.start(options), (error) => error instanceof TypeError && words.test(error.message));
  }
  const node = await member(t);
  await assert.rejects(node.put('', 'v'), refused(Code.EMPTY_KEY, 'etcdserver: key is not provided'));
  await assert.rejects(node.put(1, 'v'), TypeError);
  assert.throws(() => node.watch('k', { startRevision: -1n }), refused(Code.COMPACTED));
  assert.throws(() => node.watch('k', { startRevision: 1 }), (error) => !(error instanceof KeelkvError));
});

// A program of its own: how it ends is what counts.
async function ends(script, ...words) {
  const child = spawn(process.execPath, ['--expose-gc', '-e', script, ...words], {
    cwd: new URL('..', import.meta.url),
    stdio: ['ignore', 'inherit', 'pipe'],
    timeout: 30_000,
  });
  let complaint = '';
  child.stderr.on('data', (data) => (complaint += data));
  const [status, signal] = await once(child, 'close');
  assert.deepEqual({ status, signal, complaint }, { status: 0, signal: null, complaint: '' });
}

test('the process ends by itself', async () => {
  const begin = "(async () => { const { Node } = require('./index.js'); const dataDir = process.argv[1];";
  const use = "let node = await Node.start({ dataDir }); await node.put('k', 'v'); let watch = node.watch('k');";
  await ends(`${begin} ${use} const waits = watch.next(); watch.cancel(); await waits; await node.stop(); })()`, await directory());
  await ends(`${begin} ${use} })()`, await directory());
  await ends(`${begin} ${use} watch.next(); process.exit(0); })()`, await directory());
  await ends(`${begin} ${use} node = watch = null; gc(); })()`, await directory());
});

test('a worker thread may have a member, and be ended', async () => {
  await ends(`
    const { Worker } = require('node:worker_threads');
    const script = "const { Node } = require('./index.js'); Node.start().then((node) => { "
      + "node.watch('k').next(); require('node:worker_threads').parentPort.postMessage('runs'); })";
    const worker = new Worker(script, { eval: true });
    worker.once('message', () => worker.terminate());
  `);
});

test('a worker thread that ends waits for a start that is under way', async () => {
  const dataDir = await directory();
  // When the worker has gone the directory is free.
  await ends(`
    const { Worker } = require('node:worker_threads');
    const { once } = require('node:events');
    const script = "const { Node } = require('./index.js'); const { parentPort, workerData } = require('node:worker_threads');"
      + "Node.start({ dataDir: workerData }); parentPort.postMessage('starts');";
    (async () => {
      for (let round = 0; round < 3; round++) {
        const worker = new Worker(script, { eval: true, workerData: process.argv[1] });
        await once(worker, 'message');
        await worker.terminate();
        const { Node } = require('./index.js');
        await (await Node.start({ dataDir: process.argv[1] })).stop();
      }
    })();
  `, dataDir);
});

test('the event loop goes on while a forgotten member stops', async () => {
  // The stop writes all of that to files, which takes much longer than a turn: after the one that forgot it, it still
  // has the directory.
  await ends(`
    const { Node } = require('./index.js');
    (async () => {
      const dataDir = process.argv[1];
      let node = await Node.start({ dataDir });
      const value = 'v'.repeat(64 * 1024);
      await Promise.all(Array.from({ length: 512 }, (_, number) => node.put('k' + number, value)));
      node = null;
      await new Promise(setImmediate);
      gc();
      await new Promise(setImmediate);
      await require('node:assert').rejects(Node.start({ dataDir }), /in use by another member/);
      // It stops by itself.
      for (;;) {
        try {
          await (await Node.start({ dataDir })).stop();
          break;
        } catch (error) {
          if (!/in use by another member/.test(error.message)) throw error;
        }
      }
    })();
  `, await directory());
});
