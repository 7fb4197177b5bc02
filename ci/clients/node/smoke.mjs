// A program on the Node client etcd3: node smoke.mjs HOST:PORT
import assert from 'node:assert/strict';
import { Etcd3 } from 'etcd3';

const client = new Etcd3({ hosts: `http://${process.argv[2]}`, defaultCallOptions: () => ({ deadline: Date.now() + 10_000 }) });

async function kv() {
  await client.put('js/a').value('1');
  await client.put('js/b').value('2');
  assert.equal(await client.get('js/a').string(), '1');
  assert.deepEqual(await client.getAll().prefix('js/').strings(), { 'js/a': '1', 'js/b': '2' });
  assert.deepEqual(await client.getAll().prefix('js/').sort('Key', 'Descend').keys(), ['js/b', 'js/a']);
  assert.equal(await client.getAll().prefix('js/').count(), 2);
  await client.delete().key('js/a');
  assert.equal(await client.get('js/a').string(), null);
}

async function txn() {
  const create = () =>
    client.if('js-txn', 'Create', '==', 0).then(client.put('js-txn').value('made')).else(client.get('js-txn')).commit();
  assert.equal((await create()).succeeded, true);
  const again = await create();
  assert.equal(again.succeeded, false);
  assert.equal(again.responses[0].response_range.kvs[0].value.toString(), 'made');
}

async function watch() {
  const first = await client.put('js/watch').value('0');
  const watcher = await client.watch().key('js/watch').startRevision(first.header.revision).withPreviousKV().create();
  const seen = [];
  const all = new Promise((resolve, reject) => {
    watcher.on('error', reject);
    watcher.on('data', (response) => {
      for (const event of response.events) seen.push([event.type, event.kv.value.toString()]);
      if (seen.length === 6) resolve();
    });
  });
  for (let n = 1; n < 5; n++) await client.put('js/watch').value(String(n));
  await client.delete().key('js/watch');
  await all;
  await watcher.cancel();
  assert.deepEqual(seen, [...['0', '1', '2', '3', '4'].map((n) => ['Put', n]), ['Delete', '']]);
}

async function lease() {
  const granted = client.lease(1000);
  await granted.put('js/lease').value('x');
  assert.equal((await granted.keepaliveOnce()).TTL, '1000');
  const left = await client.leaseClient.leaseTimeToLive({ ID: await granted.grant(), keys: true });
  assert.equal(left.grantedTTL, '1000');
  assert.deepEqual(left.keys.map(String), ['js/lease']);
  await granted.revoke();
  assert.equal(await client.get('js/lease').string(), null);
}

async function lock() {
  let held = 0;
  await client.lock('js/lock').ttl(20).do(async () => {
    held += 1;
    await assert.rejects(client.lock('js/lock').ttl(20).acquire());
  });
  assert.equal(held, 1);
}

async function election() {
  const campaign = client.election('js/election').campaign('candidate');
  await new Promise((resolve, reject) => campaign.once('elected', resolve).once('error', reject));
  assert.equal(await client.election('js/election').leader(), 'candidate');
  await campaign.resign();
}

async function status() {
  const told = await client.maintenance.status();
  assert.match(told.version, /^3\./);
}

const hang = setTimeout(() => {
  console.error('etcd3 for Node: it hangs');
  process.exit(1);
}, 60_000);
const parts = [kv, txn, watch, lease, lock, election, status];
for (const part of parts) await part();
client.close();
clearTimeout(hang);
console.log(`etcd3 for Node: ${parts.length} passed, 0 failed`);
