// Never run: a program as users write it, for the type checker, and mistakes that it must find.

import { Code, EventKind, KeelkvError, Node, type Batch, type FileURL, type KeyValue } from '../index.js';

declare const place: FileURL;

export async function program(): Promise<bigint> {
  await using node = await Node.start({ name: 'one', dataDir: 'data' });
  const revision: bigint = await node.put('k', new Uint8Array([1]));
  const found: KeyValue | undefined = await node.get('k');
  // @ts-expect-error it may be absent
  found.value;
  await Node.start({ dataDir: place, name: null });
  // @ts-expect-error no path
  await Node.start({ dataDir: 1 });
  // @ts-expect-error no such option
  await Node.start({ colour: 'red' });
  // @ts-expect-error revisions do not fit into numbers
  node.watch('k', { startRevision: 1 });
  // @ts-expect-error members are started
  new Node();
  for await (const batch of node.watch('k', { rangeEnd: '\0', startRevision: revision })) {
    const { events }: Batch = batch;
    if (events.some((event) => event.kind === EventKind.DELETE)) break;
  }
  try {
    await node.stop();
  } catch (error) {
    if (error instanceof KeelkvError && error.code === Code.STOPPED && !error.mayHaveBeenDone) return revision;
    throw error;
  }
  return revision;
}
