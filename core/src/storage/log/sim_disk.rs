//! A disk in memory that forgets what was not synced when it is told to crash, and fails on demand.
//!
//! What it may forget is decided by a seed: any part of the writes after a file's last sync, down to
//! few bytes, in any order; and any of the names made, changed or removed since the last sync of the
//! directory.

use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::sync::Arc;

use parking_lot::Mutex;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::disk::{Disk, DiskFile};

/// How a disk goes down.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Crash {
    /// Only the process: everything written stays.
    Process,
    /// The power: what was not synced may be lost, as this seed decides.
    Power(u64),
}

/// What goes wrong with one operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SimFault {
    /// A write stops half way, and from then on nothing works.
    Stop,
    /// The operation answers EIO.
    Io,
    /// The operation answers ENOSPC.
    NoSpace,
}

/// The simulated disk. Operations that change it are counted, so that faults can be aimed.
pub struct SimDisk {
    state: Arc<Mutex<State>>,
}

#[derive(Default)]
struct State {
    files: BTreeMap<u64, File>,
    names: BTreeMap<String, u64>,
    synced_names: BTreeMap<String, u64>,
    unsynced_names: Vec<Change>,
    operations: u64,
    faults: BTreeMap<u64, SimFault>,
    capacity: Option<u64>,
    stopped: bool,
}

#[derive(Clone)]
enum Change {
    Made(String, u64),
    Renamed(String, String),
    Removed(String),
}

#[derive(Clone, Default)]
struct File {
    bytes: Vec<u8>,
    synced: Vec<u8>,
    unsynced: Vec<(usize, Vec<u8>)>,
}

struct Handle {
    state: Arc<Mutex<State>>,
    id: u64,
}

impl SimDisk {
    /// An empty disk.
    pub fn new() -> Arc<Self> {
        Arc::new(Self { state: Arc::default() })
    }

    /// What a member finds after this disk went down. The old disk does nothing any more.
    pub fn crash(&self, how: Crash) -> Arc<Self> {
        let mut old = self.state.lock();
        old.stopped = true;
        let mut new = State { operations: old.operations, capacity: old.capacity, ..State::default() };
        match how {
            Crash::Process => {
                new.files.clone_from(&old.files);
                new.names.clone_from(&old.names);
                new.synced_names.clone_from(&old.synced_names);
                new.unsynced_names.clone_from(&old.unsynced_names);
            }
            Crash::Power(seed) => {
                let mut random = ChaCha8Rng::seed_from_u64(seed);
                new.names = surviving_names(&old, &mut random);
                new.synced_names.clone_from(&new.names);
                for id in new.names.values() {
                    let bytes = surviving_bytes(&old.files[id], &mut random);
                    new.files.insert(*id, File { synced: bytes.clone(), bytes, unsynced: Vec::new() });
                }
            }
        }
        Arc::new(Self { state: Arc::new(Mutex::new(new)) })
    }

    /// The same again, as a backup is, with everything that was written.
    pub fn copy(&self) -> Arc<Self> {
        let old = self.state.lock();
        let mut new = State { operations: old.operations, names: old.names.clone(), ..State::default() };
        new.synced_names.clone_from(&new.names);
        for id in new.names.values() {
            let bytes = old.files[id].bytes.clone();
            new.files.insert(*id, File { synced: bytes.clone(), bytes, unsynced: Vec::new() });
        }
        Arc::new(Self { state: Arc::new(Mutex::new(new)) })
    }

    /// Operations that changed the disk so far.
    pub fn operations(&self) -> u64 {
        self.state.lock().operations
    }

    /// Has the changing operation after the next `skip` ones fail.
    pub fn fail_after(&self, skip: u64, fault: SimFault) {
        let mut state = self.state.lock();
        let at = state.operations + skip;
        state.faults.insert(at, fault);
    }

    /// Limits the bytes of all files together.
    pub fn set_capacity(&self, capacity: Option<u64>) {
        self.state.lock().capacity = capacity;
    }

    /// Whether a [`SimFault::Stop`] was reached.
    pub fn stopped(&self) -> bool {
        self.state.lock().stopped
    }

    /// Lets a test change a file behind everyone's back.
    pub fn tamper(&self, name: &str, change: impl FnOnce(&mut Vec<u8>)) {
        let mut state = self.state.lock();
        let id = state.names[name];
        let file = state.files.get_mut(&id).expect("every name has a file");
        change(&mut file.bytes);
        file.synced = file.bytes.clone();
        file.unsynced.clear();
    }

    /// Bytes of all files.
    pub fn used(&self) -> u64 {
        self.state.lock().used()
    }
}

impl State {
    /// Counts an operation; says how it goes wrong.
    fn step(&mut self) -> io::Result<Option<SimFault>> {
        if self.stopped {
            return Err(stopped());
        }
        let fault = self.faults.remove(&self.operations);
        self.operations += 1;
        match fault {
            Some(SimFault::Io) => Err(io::Error::from_raw_os_error(libc::EIO)),
            Some(SimFault::NoSpace) => Err(io::Error::from_raw_os_error(libc::ENOSPC)),
            Some(SimFault::Stop) => {
                self.stopped = true;
                Ok(fault)
            }
            None => Ok(None),
        }
    }

    /// The same for an operation that happens whole or not at all.
    fn whole_step(&mut self) -> io::Result<()> {
        if self.step()?.is_some() { Err(stopped()) } else { Ok(()) }
    }

    fn id(&self, name: &str) -> io::Result<u64> {
        if self.stopped {
            return Err(stopped());
        }
        self.names.get(name).copied().ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    fn used(&self) -> u64 {
        self.names.values().map(|id| self.files[id].bytes.len() as u64).sum()
    }
}

impl Disk for SimDisk {
    fn list(&self) -> io::Result<Vec<String>> {
        let state = self.state.lock();
        if state.stopped { Err(stopped()) } else { Ok(state.names.keys().cloned().collect()) }
    }

    fn space(&self) -> io::Result<(u64, u64)> {
        let state = self.state.lock();
        Ok(state.capacity.map_or((0, 0), |capacity| (capacity.saturating_sub(state.used()), capacity)))
    }

    fn create(&self, name: &str, size: u64) -> io::Result<Arc<dyn DiskFile>> {
        let mut state = self.state.lock();
        state.whole_step()?;
        if state.names.contains_key(name) {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        if state.capacity.is_some_and(|capacity| state.used() + size > capacity) {
            return Err(io::Error::from_raw_os_error(libc::ENOSPC));
        }
        let id = state.files.last_key_value().map_or(1, |(id, _)| id + 1);
        let zeros = vec![0; size as usize];
        state.files.insert(id, File { bytes: zeros.clone(), synced: Vec::new(), unsynced: vec![(0, zeros)] });
        state.names.insert(name.to_owned(), id);
        state.unsynced_names.push(Change::Made(name.to_owned(), id));
        Ok(Arc::new(Handle { state: Arc::clone(&self.state), id }))
    }

    fn open(&self, name: &str) -> io::Result<Arc<dyn DiskFile>> {
        let id = self.state.lock().id(name)?;
        Ok(Arc::new(Handle { state: Arc::clone(&self.state), id }))
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        let mut state = self.state.lock();
        state.whole_step()?;
        let id = state.id(from)?;
        state.names.remove(from);
        state.names.insert(to.to_owned(), id);
        state.unsynced_names.push(Change::Renamed(from.to_owned(), to.to_owned()));
        Ok(())
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        let mut state = self.state.lock();
        state.whole_step()?;
        state.id(name)?;
        state.names.remove(name);
        state.unsynced_names.push(Change::Removed(name.to_owned()));
        Ok(())
    }

    fn sync_dir(&self) -> io::Result<()> {
        let mut state = self.state.lock();
        state.whole_step()?;
        state.synced_names = state.names.clone();
        state.unsynced_names.clear();
        Ok(())
    }
}

impl DiskFile for Handle {
    fn size(&self) -> io::Result<u64> {
        let state = self.state.lock();
        if state.stopped { Err(stopped()) } else { Ok(state.files[&self.id].bytes.len() as u64) }
    }

    fn read_exact_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        let state = self.state.lock();
        if state.stopped {
            return Err(stopped());
        }
        let offset = offset as usize;
        let bytes = state.files[&self.id].bytes.get(offset..offset + buffer.len());
        buffer.copy_from_slice(bytes.ok_or(io::ErrorKind::UnexpectedEof)?);
        Ok(())
    }

    fn write_all_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        let mut state = self.state.lock();
        let stops = state.step()?.is_some();
        let bytes = if stops { &bytes[..bytes.len() / 2] } else { bytes };
        let grows = (offset as usize + bytes.len()).saturating_sub(state.files[&self.id].bytes.len()) as u64;
        if grows > 0 && state.capacity.is_some_and(|capacity| state.used() + grows > capacity) {
            return Err(io::Error::from_raw_os_error(libc::ENOSPC));
        }
        let file = state.files.get_mut(&self.id).expect("an open file is there");
        write(&mut file.bytes, offset as usize, bytes);
        file.unsynced.push((offset as usize, bytes.to_vec()));
        if stops { Err(stopped()) } else { Ok(()) }
    }

    fn sync_data(&self) -> io::Result<()> {
        let mut state = self.state.lock();
        state.whole_step()?;
        let file = state.files.get_mut(&self.id).expect("an open file is there");
        file.synced.resize(file.bytes.len(), 0);
        for (offset, bytes) in file.unsynced.drain(..) {
            write(&mut file.synced, offset, &bytes);
        }
        Ok(())
    }
}

impl fmt::Debug for SimDisk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = self.state.lock();
        f.debug_struct("SimDisk").field("names", &state.names).field("operations", &state.operations).finish()
    }
}

impl fmt::Debug for Handle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SimFile").field("id", &self.id).finish()
    }
}

fn stopped() -> io::Error {
    io::Error::other("the simulated disk is down")
}

fn write(into: &mut Vec<u8>, offset: usize, bytes: &[u8]) {
    let end = offset + bytes.len();
    if into.len() < end {
        into.resize(end, 0);
    }
    into[offset..end].copy_from_slice(bytes);
}

fn surviving_names(disk: &State, random: &mut ChaCha8Rng) -> BTreeMap<String, u64> {
    let mut names = disk.synced_names.clone();
    let kept = random.random_range(0..=disk.unsynced_names.len());
    let in_order: bool = random.random();
    for (at, change) in disk.unsynced_names.iter().enumerate() {
        let survives = if in_order { at < kept } else { random.random() };
        if !survives {
            continue;
        }
        match change {
            Change::Made(name, id) => {
                names.insert(name.clone(), *id);
            }
            Change::Renamed(from, to) => {
                if let Some(id) = names.remove(from) {
                    names.insert(to.clone(), id);
                }
            }
            Change::Removed(name) => {
                names.remove(name);
            }
        }
    }
    names
}

fn surviving_bytes(file: &File, random: &mut ChaCha8Rng) -> Vec<u8> {
    let mut bytes = file.synced.clone();
    let piece = [16, 64, 512, 4096, usize::MAX][random.random_range(0..5)];
    let chance = [0.0, 0.1, 0.5, 0.9, 1.0][random.random_range(0..5)];
    for (offset, written) in &file.unsynced {
        let mut start = 0;
        while start < written.len() {
            // Pieces lie at multiples of their size in the file, as sectors do.
            let until_border = piece - (offset + start) % piece;
            let end = start + until_border.min(written.len() - start);
            if random.random_bool(chance) {
                write(&mut bytes, offset + start, &written[start..end]);
            }
            start = end;
        }
    }
    bytes
}
