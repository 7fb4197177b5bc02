//! A leader whose disk stalls.

use std::io;

use keelkv_core::storage::log::SimDisk;
use keelkv_core::storage::log::disk::{Disk, DiskFile};
use keelkv_core::storage::memory::MemoryEngine;
use parking_lot::{Condvar, Mutex};

use super::*;

/// Whether syncs wait just now.
#[derive(Debug, Default)]
struct Gate {
    closed: Mutex<bool>,
    changed: Condvar,
}

impl Gate {
    fn close(&self, closed: bool) {
        *self.closed.lock() = closed;
        self.changed.notify_all();
    }

    fn pass(&self) {
        let mut closed = self.closed.lock();
        while *closed {
            self.changed.wait(&mut closed);
        }
    }
}

/// A disk that syncs no file while its gate is closed.
#[derive(Debug)]
struct Stalling<T: ?Sized>(Arc<Gate>, Arc<T>);

impl Stalling<dyn Disk> {
    #[allow(clippy::unnecessary_wraps, reason = "what files are made of is wrapped in passing")]
    fn wrap(&self, file: Arc<dyn DiskFile>) -> io::Result<Arc<dyn DiskFile>> {
        Ok(Arc::new(Stalling(Arc::clone(&self.0), file)))
    }
}

impl Disk for Stalling<dyn Disk> {
    fn list(&self) -> io::Result<Vec<String>> {
        self.1.list()
    }

    fn create(&self, name: &str, size: u64) -> io::Result<Arc<dyn DiskFile>> {
        self.wrap(self.1.create(name, size)?)
    }

    fn open(&self, name: &str) -> io::Result<Arc<dyn DiskFile>> {
        self.wrap(self.1.open(name)?)
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        self.1.rename(from, to)
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        self.1.remove(name)
    }

    fn sync_dir(&self) -> io::Result<()> {
        self.1.sync_dir()
    }

    fn space(&self) -> io::Result<(u64, u64)> {
        self.1.space()
    }
}

impl DiskFile for Stalling<dyn DiskFile> {
    fn size(&self) -> io::Result<u64> {
        self.1.size()
    }

    fn read_exact_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        self.1.read_exact_at(buffer, offset)
    }

    fn write_all_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        self.1.write_all_at(bytes, offset)
    }

    fn sync_data(&self) -> io::Result<()> {
        self.0.pass();
        self.1.sync_data()
    }
}

#[tokio::test]
async fn a_leader_whose_disk_stalls_hands_over() {
    let board = Switchboard::new();
    let gates: Vec<Arc<Gate>> = (0..3).map(|_| Arc::default()).collect();
    let mut nodes = Vec::new();
    for (number, gate) in gates.iter().enumerate() {
        let disk = Arc::new(Stalling::<dyn Disk>(Arc::clone(gate), SimDisk::new()));
        let storage = StorageConfig::Parts { disk, engine: Arc::new(MemoryEngine::new()) };
        let config = NodeConfig { storage, ..config(&board, number, 3) };
        nodes.push(Some(Node::start(config, env()).await.expect("starts")));
    }
    let cluster = Cluster { board, nodes };
    for (_, node) in cluster.running() {
        node.ready().await.expect("a quorum");
    }
    let old = cluster.leader().await;
    put(cluster.node(old), "a", "1").await.expect("a quorum");
    // It is heard all the time, and the others' disks make a quorum: nobody but itself can see a reason.
    gates[old].close(true);
    let others: Vec<usize> = (0..3).filter(|number| *number != old).collect();
    let new = tokio::time::timeout(Duration::from_secs(20), async {
        let mut writes = 0;
        loop {
            if let Some(new) = others.iter().find(|number| cluster.node(**number).is_leader()) {
                return *new;
            }
            // Something has to want the disk.
            writes += 1;
            let written = put(cluster.node(others[0]), "b", &writes.to_string()).await;
            // One that is on its way while the lead changes may be lost, and is said to be.
            let lost = written.is_err_and(|code| code != Code::TimeoutDueToLeaderFail);
            assert!(!lost, "two are a quorum");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    });
    let new = new.await.expect("another leads");
    put(cluster.node(new), "c", "1").await.expect("two are a quorum");
    gates[old].close(false);
    assert_eq!(get(cluster.node(old), "c").await, Ok(Some("1".into())));
    cluster.stop().await;
}
