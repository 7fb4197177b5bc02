/** keelkv inside a Node.js program: a member of the key-value store in this process. */

/** This release. */
export const version: string;

/** What can go wrong, as `Code.NO_SPACE`. A number never changes its meaning; new ones are added. */
export const Code: Readonly<Record<string, number>>;

/** A call that failed. The message is etcd's where etcd has one. */
export class KeelkvError extends Error {
  /** One of `Code`. */
  readonly code: number;
  /** Whether what was asked may have been done all the same, or may still be: read before you ask again. */
  readonly mayHaveBeenDone: boolean;
}

/** What happened to a key. */
export const EventKind: { readonly PUT: 0; readonly DELETE: 1 };

/** A key as it was at one revision. */
export interface KeyValue {
  readonly key: Uint8Array;
  readonly value: Uint8Array;
  /** The revision that made the key. */
  readonly createRevision: bigint;
  /** The revision of its last change. */
  readonly modRevision: bigint;
  /** How many changes it has seen since it was made. */
  readonly version: bigint;
  /** The lease that it hangs on, or 0. */
  readonly lease: bigint;
}

/** One change. */
export interface Event {
  readonly kind: 0 | 1;
  /** The key after it. After a deletion only `key` and `modRevision` say something. */
  readonly kv: KeyValue;
}

/** Events of one or more whole revisions, in order. */
export interface Batch {
  /** The store's revision when they were sent. */
  readonly revision: bigint;
  readonly events: readonly Event[];
}

/** A `URL` of a file, as `new URL('data', import.meta.url)` makes it. Not every program has a type for these. */
export interface FileURL {
  readonly href: string;
  readonly protocol: string;
}

export interface NodeOptions {
  /** What the member calls itself; `default` unless given. */
  name?: string | null;
  /** Where its data is kept, made if it is missing. Without it the data is in memory, gone with the member. */
  dataDir?: string | FileURL | null;
}

export interface WatchOptions {
  /** Keys up to, and without, this one. Without it one key; `'\0'` for all keys from the first on. */
  rangeEnd?: string | Uint8Array;
  /** From this revision on, or from now on if it is 0. */
  startRevision?: bigint;
}

/**
 * Events of some keys, in order and without gaps. Leaving a `for await` loop ends it. While somebody waits for events
 * the process does not end by itself.
 */
export class Watch implements AsyncIterableIterator<Batch> {
  private constructor();
  next(): Promise<IteratorResult<Batch, undefined>>;
  return(): Promise<IteratorResult<Batch, undefined>>;
  /** Ends the watch, also for those who wait for it. */
  cancel(): void;
  [Symbol.asyncIterator](): this;
  [Symbol.asyncDispose](): Promise<void>;
}

/** A member that runs in this process, on threads of its own. By itself it does not keep the process from ending. */
export class Node {
  private constructor();
  /** Starts a member; it serves once this is there. */
  static start(options?: NodeOptions | null): Promise<Node>;
  /**
   * Writes a key: its new revision, once that is durable. A `KeelkvError` whose `mayHaveBeenDone` is true leaves open
   * whether it was written.
   */
  put(key: string | Uint8Array, value: string | Uint8Array): Promise<bigint>;
  /** Reads a key, with everything that was acknowledged before. */
  get(key: string | Uint8Array): Promise<KeyValue | undefined>;
  /** Watches keys. */
  watch(key: string | Uint8Array, options?: WatchOptions): Watch;
  /** Stops the member: those who wait are told, and its directory is free afterwards. A second time does nothing. */
  stop(): Promise<void>;
  [Symbol.asyncDispose](): Promise<void>;
}
