//! Looks at a state directory before RocksDB does.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::Path;

use super::OpenError;

/// The format of tables and records that this build writes.
const FORMAT: u32 = 1;
/// Names the format; RocksDB leaves files alone that it does not know.
const FORMAT_FILE: &str = "KEELKV_STATE";
const FORMAT_PREFIX: &str = "keelkv state format ";

/// Makes the directory if it is not there, and refuses one that is not for us.
pub(super) fn prepare(directory: &Path) -> Result<(), OpenError> {
    let not_writable = |source| OpenError::NotWritable { directory: directory.to_owned(), source };
    fs::create_dir_all(directory).map_err(not_writable)?;
    probe(directory).map_err(not_writable)?;
    match fs::read_to_string(directory.join(FORMAT_FILE)) {
        Ok(text) => check_format(directory, &text),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            check_empty(directory)?;
            write_format(directory).map_err(not_writable)
        }
        Err(source) => Err(OpenError::Io { directory: directory.to_owned(), source }),
    }
}

/// Permission bits do not tell all (read-only mounts, other users): try it.
fn probe(directory: &Path) -> io::Result<()> {
    let path = directory.join("KEELKV_PROBE");
    File::create(&path)?;
    fs::remove_file(path)
}

fn check_format(directory: &Path, text: &str) -> Result<(), OpenError> {
    let directory = directory.to_owned();
    let Some(found) = text.trim().strip_prefix(FORMAT_PREFIX).and_then(|number| number.parse().ok()) else {
        return Err(OpenError::Damaged { directory, detail: format!("{FORMAT_FILE} says {:?}", text.trim()) });
    };
    if found > FORMAT {
        return Err(OpenError::NewerFormat { directory, found, known: FORMAT });
    }
    Ok(())
}

fn check_empty(directory: &Path) -> Result<(), OpenError> {
    let io = |source| OpenError::Io { directory: directory.to_owned(), source };
    if directory.join("CURRENT").exists() {
        return Err(OpenError::Damaged {
            directory: directory.to_owned(),
            detail: format!("{FORMAT_FILE} is missing"),
        });
    }
    for entry in fs::read_dir(directory).map_err(io)? {
        let name = entry.map_err(io)?.file_name().to_string_lossy().into_owned();
        // A crash may leave the unfinished file.
        if name != temporary_name() {
            return Err(OpenError::Foreign { directory: directory.to_owned(), name });
        }
    }
    Ok(())
}

fn temporary_name() -> String {
    format!("{FORMAT_FILE}.new")
}

/// Durable before RocksDB writes its first file, so that no crash leaves a store without it.
fn write_format(directory: &Path) -> io::Result<()> {
    let temporary = directory.join(temporary_name());
    let mut file = File::create(&temporary)?;
    writeln!(file, "{FORMAT_PREFIX}{FORMAT}")?;
    file.sync_all()?;
    fs::rename(temporary, directory.join(FORMAT_FILE))?;
    File::open(directory)?.sync_all()?;
    if let Some(parent) = directory.parent() {
        // A relative path of one part has the empty path as its parent.
        let parent = if parent.as_os_str().is_empty() { Path::new(".") } else { parent };
        File::open(parent)?.sync_all()?;
    }
    Ok(())
}
