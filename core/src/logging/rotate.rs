//! A log file that is put away when it is full, with lumberjack's names and rules.
//!
//! ```text
//! write: full? -> server.log becomes server-2006-01-02T15-04-05.000.log, a new server.log begins
//!                   | and at the start
//!                   v
//! thread: the oldest beyond the count or the age go, the others are compressed to .gz
//! ```

use std::collections::HashSet;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use crossbeam_channel::{Sender, bounded};
use flate2::Compression;
use flate2::write::GzEncoder;
use time::{Date, Month, OffsetDateTime, PrimitiveDateTime, Time, UtcOffset};

use crate::config::LogRotation;

/// The file that is written to.
#[derive(Debug)]
pub(super) struct RotatingFile {
    names: Names,
    options: LogRotation,
    offset: UtcOffset,
    file: File,
    size: u64,
    /// Wakes the thread that tidies up.
    tidy: Sender<()>,
}

/// How the files that were put away are called.
#[derive(Clone, Debug)]
struct Names {
    path: PathBuf,
    directory: PathBuf,
    /// Of the file's name, up to the last dot, and a dash.
    prefix: String,
    /// From the last dot on.
    suffix: String,
}

/// A file that was put away.
#[derive(Debug)]
struct Old {
    name: String,
    at: OffsetDateTime,
}

impl RotatingFile {
    /// Opens or makes the file. Blocks, and must be called before the process has threads: later nobody can say
    /// safely what the local time is.
    pub(super) fn open(path: &Path, options: LogRotation) -> io::Result<Self> {
        let names = Names::of(path)?;
        fs::create_dir_all(&names.directory)?;
        let (file, size) = append_to(path, 0o600)?;
        let offset = match options.local_time {
            true => UtcOffset::current_local_offset().map_err(io::Error::other)?,
            false => UtcOffset::UTC,
        };
        let tidy = start_tidying(names.clone(), options)?;
        let this = Self { names, options, offset, file, size, tidy };
        this.wake();
        Ok(this)
    }

    fn rotate(&mut self) -> io::Result<()> {
        let mut at = OffsetDateTime::from(now()).to_offset(self.offset);
        let mut old = self.names.old(at);
        // What was put away in the same millisecond stays.
        while old.exists() {
            at += Duration::from_millis(1);
            old = self.names.old(at);
        }
        let mode = self.file.metadata()?.mode();
        match fs::rename(&self.names.path, old) {
            // Somebody else has put it away, or an earlier attempt came no further than that.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            renamed => renamed?,
        }
        (self.file, self.size) = append_to(&self.names.path, mode)?;
        self.wake();
        Ok(())
    }

    /// If it is awake already it looks once more when it is done.
    fn wake(&self) {
        let _ = self.tidy.try_send(());
    }
}

impl Write for RotatingFile {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        let is_full = self.size + line.len() as u64 > self.options.max_bytes;
        if is_full && self.size > 0 {
            // A file that cannot be put away goes on: better too long than without the line.
            let _ = self.rotate();
        }
        let written = self.file.write(line)?;
        self.size += written as u64;
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

fn append_to(path: &Path, mode: u32) -> io::Result<(File, u64)> {
    let file = OpenOptions::new().create(true).append(true).mode(mode & 0o777).open(path)?;
    let size = file.metadata()?.len();
    Ok((file, size))
}

/// The thread ends with the file that wakes it.
#[allow(clippy::disallowed_methods, reason = "the log is the process's, not a member's, and blocks on disks")]
fn start_tidying(names: Names, options: LogRotation) -> io::Result<Sender<()>> {
    let (wake, woken) = bounded(1);
    let run = move || {
        while woken.recv().is_ok() {
            // There is no better place to tell; the next rotation tries again.
            let _ = names.tidy(&options, now());
        }
    };
    std::thread::Builder::new().name("keelkv-log-old".into()).spawn(run)?;
    Ok(wake)
}

impl Names {
    fn of(path: &Path) -> io::Result<Self> {
        let name = path.file_name().and_then(|name| name.to_str());
        let name = name.ok_or_else(|| io::Error::new(io::ErrorKind::InvalidInput, "it has no name in UTF-8"))?;
        let (stem, suffix) = name.split_at(name.rfind('.').unwrap_or(name.len()));
        let directory = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or_else(|| Path::new("."));
        Ok(Self {
            path: path.to_owned(),
            directory: directory.to_owned(),
            prefix: format!("{stem}-"),
            suffix: suffix.to_owned(),
        })
    }

    fn old(&self, at: OffsetDateTime) -> PathBuf {
        self.directory.join(format!("{}{}{}", self.prefix, stamp(at), self.suffix))
    }

    fn parse(&self, name: &str) -> Option<OffsetDateTime> {
        let name = name.strip_suffix(".gz").unwrap_or(name);
        parse_stamp(name.strip_prefix(&self.prefix)?.strip_suffix(&self.suffix)?)
    }

    /// Removes and compresses what the rules say.
    fn tidy(&self, options: &LogRotation, now: SystemTime) -> io::Result<()> {
        let mut files = Vec::new();
        for entry in fs::read_dir(&self.directory)? {
            let entry = entry?;
            if let Ok(name) = entry.file_name().into_string()
                && let Some(at) = self.parse(&name)
                && entry.file_type()?.is_file()
            {
                files.push(Old { name, at });
            }
        }
        files.sort_by_key(|file| std::cmp::Reverse(file.at));
        // A file and its compressed form, of which one is not finished, count as one.
        let mut counted = HashSet::new();
        let oldest = options.max_age.map(|age| OffsetDateTime::from(now) - age);
        for file in &files {
            let plain = file.name.strip_suffix(".gz").unwrap_or(&file.name);
            counted.insert(plain);
            let path = self.directory.join(&file.name);
            let too_many = options.max_backups.is_some_and(|most| counted.len() > most);
            if too_many || oldest.is_some_and(|oldest| file.at < oldest) {
                fs::remove_file(path)?;
            } else if options.compress && plain == file.name {
                compress(&path)?;
            }
        }
        Ok(())
    }
}

/// Puts a compressed form in the place of a file.
fn compress(path: &Path) -> io::Result<()> {
    let mut compressed = path.as_os_str().to_owned();
    compressed.push(".gz");
    let compressed = PathBuf::from(compressed);
    let write = || {
        let mut from = File::open(path)?;
        let mode = from.metadata()?.mode() & 0o777;
        let to = OpenOptions::new().create(true).write(true).truncate(true).mode(mode).open(&compressed)?;
        let mut encoder = GzEncoder::new(to, Compression::default());
        io::copy(&mut from, &mut encoder)?;
        encoder.finish()?.sync_all()
    };
    if let Err(error) = write() {
        let _ = fs::remove_file(&compressed);
        return Err(error);
    }
    fs::remove_file(path)
}

#[allow(clippy::disallowed_methods, reason = "the age of a file is by the wall clock")]
fn now() -> SystemTime {
    SystemTime::now()
}

fn stamp(at: OffsetDateTime) -> String {
    let (year, month, day) = at.to_calendar_date();
    let (hour, minute, second, millis) = at.to_hms_milli();
    format!("{year:04}-{:02}-{day:02}T{hour:02}-{minute:02}-{second:02}.{millis:03}", u8::from(month))
}

/// Taken for UTC, as lumberjack does; an age in days need not be more exact.
fn parse_stamp(text: &str) -> Option<OffsetDateTime> {
    let number = |from: usize, to: usize| {
        text.get(from..to).filter(|digits| digits.bytes().all(|b| b.is_ascii_digit()))?.parse::<u16>().ok()
    };
    let small = |from: usize| u8::try_from(number(from, from + 2)?).ok();
    let date = Date::from_calendar_date(number(0, 4)?.into(), Month::try_from(small(5)?).ok()?, small(8)?).ok()?;
    let time = Time::from_hms_milli(small(11)?, small(14)?, small(17)?, number(20, 23)?).ok()?;
    let at = PrimitiveDateTime::new(date, time).assume_utc();
    (stamp(at) == text).then_some(at)
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use flate2::read::GzDecoder;

    use super::*;

    const PLAIN: LogRotation =
        LogRotation { max_bytes: 100, max_age: None, max_backups: None, local_time: false, compress: false };

    fn names(directory: &Path) -> Vec<String> {
        let mut names: Vec<_> =
            fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    #[test]
    fn a_full_file_is_put_away_whole_and_in_order() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("sub/server.log");
        let mut file = RotatingFile::open(&path, PLAIN).unwrap();
        for line in 0..25 {
            writeln!(file, "line {line:02} {}", "x".repeat(21)).unwrap();
        }
        drop(file);
        let mut file = RotatingFile::open(&path, LogRotation { local_time: true, ..PLAIN }).unwrap();
        file.write_all(&[b'y'; 300]).unwrap();
        file.write_all(b"z\n").unwrap();
        let names = names(path.parent().unwrap());
        // Three lines in a file; the last of nine makes way for the long one, and that for the short one.
        assert_eq!((names.len(), names.last().map(String::as_str)), (11, Some("server.log")));
        assert!(names[..10].iter().all(|name| Names::of(&path).unwrap().parse(name).is_some()), "{names:?}");
        let text: String =
            names[..9].iter().map(|name| fs::read_to_string(path.with_file_name(name)).unwrap()).collect();
        let numbers: Vec<String> = text.lines().map(|line| line[5..7].to_owned()).collect();
        assert_eq!(numbers, (0..25).map(|line| format!("{line:02}")).collect::<Vec<_>>());
        assert_eq!(fs::read_to_string(&path).unwrap(), "z\n");
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o777, 0o600);
    }

    #[test]
    fn a_file_that_somebody_else_put_away_is_followed_by_a_new_one() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("a.log");
        let mut file = RotatingFile::open(&path, PLAIN).unwrap();
        file.write_all(&[b'1'; 60]).unwrap();
        fs::rename(&path, directory.path().join("theirs")).unwrap();
        file.write_all(&[b'2'; 60]).unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "2".repeat(60));
        assert_eq!(fs::read_to_string(directory.path().join("theirs")).unwrap(), "1".repeat(60));
        assert_eq!(names(directory.path()), ["a.log", "theirs"]);
    }

    #[test]
    fn old_files_go_by_count_and_age_and_are_compressed() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("a.log");
        let old = |day: u8, more: &str| format!("a-2026-01-{day:02}T00-00-00.000.log{more}");
        let foreign = ["a-2026-01-01.log", "a-2026-13-01T00-00-00.000.log", "b-2026-01-01T00-00-00.000.log", "a.log"];
        for name in (1..=6).map(|day| old(day, "")).chain(foreign.map(str::to_owned)) {
            fs::write(directory.path().join(name), "text").unwrap();
        }
        // Half finished when the process ended.
        fs::write(directory.path().join(old(6, ".gz")), "te").unwrap();
        let found = Names::of(&path).unwrap();
        let at = |day: u8| SystemTime::from(found.parse(&old(day, "")).unwrap());
        let left = |wanted: &[String]| {
            let mut all: Vec<String> = foreign.iter().map(|name| (*name).to_owned()).chain(wanted.to_vec()).collect();
            all.sort();
            assert_eq!(names(directory.path()), all);
        };
        let age = Some(Duration::from_secs(4 * 86_400));
        found.tidy(&LogRotation { max_age: age, ..PLAIN }, at(6)).unwrap();
        left(&[old(2, ""), old(3, ""), old(4, ""), old(5, ""), old(6, ""), old(6, ".gz")]);
        found.tidy(&LogRotation { max_backups: Some(3), ..PLAIN }, at(6)).unwrap();
        left(&[old(4, ""), old(5, ""), old(6, ""), old(6, ".gz")]);
        found.tidy(&LogRotation { compress: true, ..PLAIN }, at(6)).unwrap();
        left(&[old(4, ".gz"), old(5, ".gz"), old(6, ".gz")]);
        let mut text = String::new();
        GzDecoder::new(File::open(directory.path().join(old(6, ".gz"))).unwrap()).read_to_string(&mut text).unwrap();
        assert_eq!(text, "text");
    }

    #[test]
    fn names_are_lumberjacks() {
        for (path, name) in [
            ("a/server.log", "a/server-2014-05-04T14-44-33.555.log"),
            ("log", "./log-2014-05-04T14-44-33.555"),
            ("/x/.log", "/x/-2014-05-04T14-44-33.555.log"),
        ] {
            let names = Names::of(Path::new(path)).unwrap();
            let at = parse_stamp("2014-05-04T14-44-33.555").unwrap();
            assert_eq!(names.old(at), Path::new(name));
        }
        assert!(Names::of(Path::new("/")).is_err());
    }
}
