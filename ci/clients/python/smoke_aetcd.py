"""A program on the Python client aetcd: smoke_aetcd.py HOST PORT."""

import asyncio
import sys

import aetcd


async def kv(client: aetcd.Client) -> None:
    await client.put(b"py/a", b"1")
    await client.put(b"py/b", b"2")
    replaced = await client.put(b"py/a", b"3", prev_kv=True)
    assert replaced.prev_kv.value == b"1", replaced
    got = await client.get(b"py/a")
    assert got.value == b"3" and got.version == 2, got
    found = await client.get_prefix(b"py/", sort_order="descend", sort_target="key")
    assert [kv.key for kv in found] == [b"py/b", b"py/a"], found
    deleted = await client.delete(b"py/a", prev_kv=True)
    assert deleted.prev_kv.value == b"3", deleted
    assert await client.get(b"py/a") is None
    assert await client.replace(b"py/b", b"2", b"4")
    assert not await client.replace(b"py/b", b"2", b"5")


async def txn(client: aetcd.Client) -> None:
    on = client.transactions
    for succeeds in (True, False):
        done, _ = await client.transaction(
            compare=[on.version(b"py-txn") == 0],
            success=[on.put(b"py-txn", b"made")],
            failure=[on.get(b"py-txn")],
        )
        assert done is succeeds


async def watch(client: aetcd.Client) -> None:
    first = await client.put(b"py/watch", b"0")
    for n in range(1, 5):
        await client.put(b"py/watch", b"%d" % n)
    await client.delete(b"py/watch")
    events = []
    watched = await client.watch(b"py/watch", start_revision=first.header.revision, prev_kv=True)
    async for event in watched:
        events.append((event.kind, event.kv.value))
        if len(events) == 6:
            break
    await watched.cancel()
    kinds = aetcd.rtypes.EventKind
    assert events == [(kinds.PUT, b"%d" % n) for n in range(5)] + [(kinds.DELETE, b"")], events


async def lease(client: aetcd.Client) -> None:
    granted = await client.lease(1000)
    await client.put(b"py/lease", b"x", lease=granted)
    renewed = await client.refresh_lease(granted.id)
    assert renewed.TTL == 1000, renewed
    left = await client.get_lease_info(granted.id)
    assert left.grantedTTL == 1000 and list(left.keys) == [b"py/lease"], left
    await client.revoke_lease(granted.id)
    assert await client.get(b"py/lease") is None


async def lock(client: aetcd.Client) -> None:
    held = 0
    most = 0

    async def worker() -> None:
        nonlocal held, most
        async with client.lock(b"py/lock", ttl=20):
            held += 1
            most = max(most, held)
            await client.put(b"py/held", b"x")
            held -= 1

    await asyncio.gather(*(worker() for _ in range(3)))
    assert most == 1, most


async def status(client: aetcd.Client) -> None:
    told = await client.status()
    assert told.version.startswith("3.") and told.db_size > 0, told
    members = [member async for member in client.members()]
    assert len(members) == 1, members


async def main() -> None:
    parts = (kv, txn, watch, lease, lock, status)
    async with aetcd.Client(host=sys.argv[1], port=int(sys.argv[2]), timeout=10) as client:
        for part in parts:
            await asyncio.wait_for(part(client), 30)
    sys.stdout.write(f"aetcd: {len(parts)} passed, 0 failed\n")


asyncio.run(main())
