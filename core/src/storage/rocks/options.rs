//! What RocksDB is told about memory, files and safety.

use std::path::PathBuf;

use rocksdb::{BlockBasedOptions, Cache, ColumnFamilyDescriptor, DBCompressionType, InfoLogger, LogLevel, Options};

use super::watchman::Watchman;
use crate::storage::engine::Table;
use crate::storage::reserve::disk_bytes;

/// What a block in the cache is expected to take.
const BLOCK_BYTES: usize = 4500;

/// How a [`super::RocksEngine`] uses the machine. The defaults keep it small: about 100 MiB at most.
#[derive(Clone, Debug)]
pub struct RocksOptions {
    /// Where the files are; made if it is not there.
    pub directory: PathBuf,
    /// The most that one table keeps in memory. Must be above twice
    /// [`crate::storage::backing::BackingOptions::flush_bytes`], or RocksDB flushes on its own.
    pub write_buffer_bytes: usize,
    /// Blocks of files kept in memory, their indexes included.
    pub block_cache_bytes: usize,
    /// Open files at a time.
    pub open_files_max: i32,
    /// Threads that flush and compact.
    pub background_jobs: i32,
    /// Space set aside for the time when the disk is full. On a small disk it is an eighth of it.
    pub ballast_bytes: u64,
    /// Free space that compactions may need for a while: below this the reserve is taken into use.
    /// On a small disk it is an eighth of it.
    pub headroom_bytes: u64,
}

impl RocksOptions {
    /// The defaults, for a store in `directory`.
    pub fn new(directory: impl Into<PathBuf>) -> Self {
        Self {
            directory: directory.into(),
            write_buffer_bytes: 20 << 20,
            block_cache_bytes: 8 << 20,
            open_files_max: 256,
            background_jobs: 2,
            ballast_bytes: 64 << 20,
            headroom_bytes: 128 << 20,
        }
    }

    pub(super) fn database(&self, watchman: &Watchman) -> Options {
        let mut options = Options::default();
        options.create_if_missing(true);
        options.create_missing_column_families(true);
        options.set_paranoid_checks(true);
        options.set_atomic_flush(true);
        options.set_allow_mmap_reads(false);
        options.set_allow_mmap_writes(false);
        options.set_max_open_files(self.open_files_max);
        options.set_max_background_jobs(self.background_jobs);
        // The default starts sixteen threads for each table, to open files of which there are few.
        options.set_max_file_opening_threads(4);
        // There is one writer, and its keys come in order.
        options.set_allow_concurrent_memtable_write(false);
        // Little and often to the disk, so that a flush does not hold up the log's next fsync.
        options.set_bytes_per_sync(1 << 20);
        options.set_avoid_unnecessary_blocking_io(true);
        // A start reads what it needs and no more.
        options.set_skip_stats_update_on_db_open(true);
        options.set_max_manifest_file_size(16 << 20);
        options.set_stats_dump_period_sec(0);
        options.set_stats_persist_period_sec(0);
        let watchman = watchman.clone();
        options.set_info_logger(InfoLogger::new_callback_logger(LogLevel::Warn, move |_, line| watchman.heard(line)));
        options
    }

    pub(super) fn tables(&self) -> Vec<ColumnFamilyDescriptor> {
        let cache = Cache::new_hyper_clock_cache(self.block_cache_bytes, BLOCK_BYTES);
        let mut blocks = BlockBasedOptions::default();
        blocks.set_block_cache(&cache);
        // What is not in the cache's budget is not bounded.
        blocks.set_cache_index_and_filter_blocks(true);
        blocks.set_pin_l0_filter_and_index_blocks_in_cache(true);
        Table::ALL
            .into_iter()
            .map(|table| ColumnFamilyDescriptor::new(name(table), self.table(table, &blocks)))
            .collect()
    }

    /// The size of the disk; an unknown one is taken for large.
    fn directory_bytes(&self) -> u64 {
        disk_bytes(&self.directory).map_or(u64::MAX, |(_, all)| all)
    }

    fn table(&self, table: Table, blocks: &BlockBasedOptions) -> Options {
        let mut options = Options::default();
        options.set_write_buffer_size(self.write_buffer_bytes);
        options.set_max_write_buffer_number(4);
        options.set_block_based_table_factory(blocks);
        options.set_compression_type(DBCompressionType::Lz4);
        // A compaction needs as much space again as it reads, for as long as it runs: small steps fit into
        // what is left of a disk that is nearly full. What is appended in order moves down as it is.
        let step = step_bytes(self.directory_bytes());
        options.set_max_bytes_for_level_base(step);
        options.set_max_compaction_bytes(step);
        options.set_target_file_size_base(step / 4);
        // What is written was acknowledged already and waits in bounded memory: a slower writer would
        // only move the limit. Many small files are better than a stall.
        options.set_level_zero_slowdown_writes_trigger(40);
        options.set_level_zero_stop_writes_trigger(80);
        if matches!(table, Table::History | Table::Values | Table::Revisions) {
            // Appended in order, and looked up only by keys that are there: no filters. What a
            // compaction of the history deletes lies in files of its own; give that space back soon.
            options.add_compact_on_deletion_collector_factory(4096, 1024, 0.5);
        }
        options
    }
}

/// How much one compaction takes on, about: half the headroom on a large disk.
fn step_bytes(disk_bytes: u64) -> u64 {
    (disk_bytes / 16).clamp(1 << 20, 64 << 20)
}

/// The column family of a table. The names are on disk.
pub(super) const fn name(table: Table) -> &'static str {
    match table {
        // RocksDB insists on a family of this name.
        Table::System => "default",
        Table::History => "history",
        Table::Values => "values",
        Table::Revisions => "revisions",
        Table::Leases => "leases",
        Table::Alarms => "alarms",
        Table::Members => "members",
        Table::Auth => "auth",
    }
}
