//! A whole history, and its form as lines of JSON.

use std::borrow::Cow;
use std::io;
use std::io::{BufRead, Write};

use serde::{Deserialize, Serialize};

use crate::record::{
    Acts, Administration, Alarm, Change, Digest, FullHistory, Hash, Login, Operation, Restart, Settings, Watch,
};

/// All that was recorded in one run.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct History {
    /// The conditions.
    pub settings: Settings,
    /// In no order.
    pub operations: Vec<Operation>,
    /// In no order.
    pub watches: Vec<Watch>,
    /// What members held in the end.
    pub full: Vec<FullHistory>,
    /// HashKVs.
    pub hashes: Vec<Hash>,
    /// Digests.
    pub digests: Vec<Digest>,
    /// When members lost their memory.
    pub restarts: Vec<Restart>,
    /// When the alarm of space stood.
    pub alarms: Vec<Alarm>,
    /// Changes of users and roles, in order; none if there are none to be judged.
    pub changes: Vec<Change>,
    /// Who was let in with a password.
    pub logins: Vec<Login>,
    /// Clients that ask as a user; others may do everything.
    pub acts: Vec<Acts>,
    /// What members hold of users and roles in the end.
    pub administration: Vec<Administration>,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Line<'a> {
    Settings(Cow<'a, Settings>),
    Operation(Cow<'a, Operation>),
    Watch(Cow<'a, Watch>),
    Full(Cow<'a, FullHistory>),
    Hash(Hash),
    Digest(Cow<'a, Digest>),
    Restart(Restart),
    Alarm(Alarm),
    Change(Cow<'a, Change>),
    Login(Cow<'a, Login>),
    Acts(Cow<'a, Acts>),
    Administration(Cow<'a, Administration>),
}

impl History {
    /// Writes one line of JSON for each record.
    pub fn write(&self, mut to: impl Write) -> io::Result<()> {
        use Cow::Borrowed;
        let lines = [Line::Settings(Borrowed(&self.settings))]
            .into_iter()
            .chain(self.operations.iter().map(|record| Line::Operation(Borrowed(record))))
            .chain(self.watches.iter().map(|record| Line::Watch(Borrowed(record))))
            .chain(self.full.iter().map(|record| Line::Full(Borrowed(record))))
            .chain(self.hashes.iter().map(|record| Line::Hash(*record)))
            .chain(self.digests.iter().map(|record| Line::Digest(Borrowed(record))))
            .chain(self.restarts.iter().map(|record| Line::Restart(*record)))
            .chain(self.alarms.iter().map(|record| Line::Alarm(*record)))
            .chain(self.changes.iter().map(|record| Line::Change(Borrowed(record))))
            .chain(self.logins.iter().map(|record| Line::Login(Borrowed(record))))
            .chain(self.acts.iter().map(|record| Line::Acts(Borrowed(record))))
            .chain(self.administration.iter().map(|record| Line::Administration(Borrowed(record))));
        for line in lines {
            serde_json::to_writer(&mut to, &line)?;
            to.write_all(b"\n")?;
        }
        to.flush()
    }

    /// Reads what [`History::write`] wrote.
    pub fn read(from: impl BufRead) -> io::Result<Self> {
        let mut history = Self::default();
        for (number, line) in from.lines().enumerate() {
            let line = line?;
            let record = serde_json::from_str(&line).map_err(|error| {
                io::Error::new(io::ErrorKind::InvalidData, format!("line {} is no record: {error}", number + 1))
            })?;
            match record {
                Line::Settings(record) => history.settings = record.into_owned(),
                Line::Operation(record) => history.operations.push(record.into_owned()),
                Line::Watch(record) => history.watches.push(record.into_owned()),
                Line::Full(record) => history.full.push(record.into_owned()),
                Line::Hash(record) => history.hashes.push(record),
                Line::Digest(record) => history.digests.push(record.into_owned()),
                Line::Restart(record) => history.restarts.push(record),
                Line::Alarm(record) => history.alarms.push(record),
                Line::Change(record) => history.changes.push(record.into_owned()),
                Line::Login(record) => history.logins.push(record.into_owned()),
                Line::Acts(record) => history.acts.push(record.into_owned()),
                Line::Administration(record) => history.administration.push(record.into_owned()),
            }
        }
        Ok(history)
    }
}
