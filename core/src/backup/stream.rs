//! A backup, piece by piece.

use std::io;

use bytes::Bytes;
use keelkv_proto::keelkv::AppliedRecord;
use prost::Message;
use sha2::{Digest, Sha256};

use super::bolt::{Planner, Writer};
use super::rows::{Next, Rows, State, Value};
use crate::storage::backing::Backing;
use crate::storage::engine::Table;

/// Bytes of a piece, as etcd cuts them.
const PIECE_BYTES: usize = 32 << 10;
/// Rows of a step in which nothing is written.
const PLANNED_ROWS: usize = 4096;

/// Reads a state that stands still twice, while the member goes on, and makes etcd's file of it. In memory are some pages
/// and what is read from tables at a time, however large the state.
#[derive(Debug)]
pub struct Backup {
    state: State,
    rows: Rows,
    stage: Stage,
    checksum: Sha256,
    remaining: u64,
}

#[derive(Debug)]
enum Stage {
    Planning(Planner),
    Writing(Box<Writer>),
    /// All rows are written; some of it is left to be taken.
    Written(Box<Writer>),
    Ended,
}

/// What a step came to.
#[derive(Debug)]
pub enum Step {
    /// There is nothing to send yet.
    NotYet,
    /// The next bytes of the file, and how many are left then; at last the checksum, which is not counted.
    Piece(Bytes, u64),
    /// That was all.
    End,
}

impl Backup {
    /// Pins the state as it is now, or a little later; while the disk is full, as it was when it was written last.
    /// `None` if nothing was applied by then.
    pub async fn open(backing: &Backing) -> io::Result<Option<Self>> {
        let view = backing.pin_written().await?;
        let Some(applied) = view.get(Table::System, b"")? else { return Ok(None) };
        let applied = AppliedRecord::decode(applied).map_err(io::Error::other)?;
        let state = State { view, applied };
        let rows = Rows::new(state.clone(), false)?;
        let stage = Stage::Planning(Planner::default());
        Ok(Some(Self { state, rows, stage, checksum: Sha256::new(), remaining: 0 }))
    }

    /// The version of etcd's storage that the file is of; empty while the cluster has not agreed on one.
    pub const fn version(&self) -> &String {
        &self.state.applied.cluster_version
    }

    /// Goes on for some milliseconds. Blocks for the disk.
    pub fn step(&mut self) -> io::Result<Step> {
        loop {
            match &mut self.stage {
                Stage::Planning(planner) => {
                    if plan(&mut self.rows, planner)? {
                        return Ok(Step::NotYet);
                    }
                    let plan = std::mem::take(planner).finish();
                    self.remaining = plan.bytes();
                    self.rows = Rows::new(self.state.clone(), true)?;
                    self.stage = Stage::Writing(Box::new(Writer::new(plan)));
                }
                Stage::Writing(writer) => {
                    while writer.written().len() < PIECE_BYTES {
                        if !write(&mut self.rows, writer)? {
                            let Stage::Writing(writer) = std::mem::replace(&mut self.stage, Stage::Ended) else {
                                unreachable!("it was matched above");
                            };
                            self.stage = Stage::Written(writer);
                            break;
                        }
                    }
                    if let Stage::Writing(writer) = &mut self.stage {
                        let piece = writer.written().split_to(PIECE_BYTES).freeze();
                        return Ok(self.piece(piece));
                    }
                }
                Stage::Written(writer) => {
                    let left = writer.written();
                    if left.is_empty() {
                        self.stage = Stage::Ended;
                        let checksum = self.checksum.finalize_reset();
                        return Ok(Step::Piece(Bytes::copy_from_slice(&checksum), 0));
                    }
                    let piece = left.split_to(left.len().min(PIECE_BYTES)).freeze();
                    return Ok(self.piece(piece));
                }
                Stage::Ended => return Ok(Step::End),
            }
        }
    }

    fn piece(&mut self, piece: Bytes) -> Step {
        self.checksum.update(&piece);
        self.remaining = self.remaining.saturating_sub(piece.len() as u64);
        Step::Piece(piece, self.remaining)
    }
}

/// Plans some rows; false after the last.
fn plan(rows: &mut Rows, planner: &mut Planner) -> io::Result<bool> {
    for _ in 0..PLANNED_ROWS {
        match rows.next()? {
            Next::Row(key, Value::Bytes(value)) => planner.row(key, value.len())?,
            Next::Row(key, Value::Length(length)) => planner.row(key, length)?,
            Next::EndOfBucket(name) => planner.end_bucket(name),
            Next::End => return Ok(false),
        }
    }
    Ok(true)
}

/// Writes a row; false after the last.
fn write(rows: &mut Rows, writer: &mut Writer) -> io::Result<bool> {
    match rows.next()? {
        Next::Row(key, Value::Bytes(value)) => writer.row(key, value)?,
        Next::Row(_, Value::Length(_)) => return Err(io::Error::other("a row was read without its value")),
        Next::EndOfBucket(name) => writer.end_bucket(name),
        Next::End => {
            writer.finish()?;
            return Ok(false);
        }
    }
    Ok(true)
}
