//! What the command line asks for.

use std::path::PathBuf;

/// How the simulator is used.
pub(crate) const USAGE: &str = "\
ci/sim/run [FIRST [COUNT]] [options]

  --seconds N       simulated seconds of each seed (60)
  --twice           run every seed twice and compare; otherwise every eighth
  --jobs N          processes at a time (1; at most 2)
  --resume FILE     append what each seed came to, and run only those that are not there or failed
  --keep-going      do not stop at the first violation
  --planted NAME    plant a bug, stop when it is found
  --bugs            tell which bugs there are to be planted
  --log             tell what members log, for one seed
  --story           one seed, as JSON";

/// What the command line asks for.
#[derive(Clone, Debug)]
pub(crate) struct Options {
    pub(crate) first: u64,
    pub(crate) count: u64,
    pub(crate) seconds: u64,
    pub(crate) twice: bool,
    pub(crate) jobs: usize,
    pub(crate) resume: Option<PathBuf>,
    pub(crate) keep_going: bool,
    pub(crate) planted: Option<String>,
    pub(crate) bugs: bool,
    pub(crate) log: bool,
    pub(crate) story: bool,
}

impl Options {
    /// Reads the command line.
    pub(crate) fn read(mut arguments: impl Iterator<Item = String>) -> Result<Self, String> {
        let mut options = Self {
            first: 1,
            count: 1,
            seconds: 60,
            twice: false,
            jobs: 1,
            resume: None,
            keep_going: false,
            planted: None,
            bugs: false,
            log: false,
            story: false,
        };
        let mut places = 0;
        let number = |text: Option<String>| {
            let text = text.ok_or("a number is missing")?;
            text.parse::<u64>().map_err(|_| format!("not a number: {text}"))
        };
        while let Some(argument) = arguments.next() {
            match argument.as_str() {
                "--seconds" => options.seconds = number(arguments.next())?.max(10),
                "--twice" => options.twice = true,
                "--jobs" => options.jobs = number(arguments.next())?.clamp(1, 2) as usize,
                "--resume" => options.resume = Some(arguments.next().ok_or("a file is missing")?.into()),
                "--keep-going" => options.keep_going = true,
                "--planted" => options.planted = Some(arguments.next().ok_or("a name is missing")?),
                "--bugs" => options.bugs = true,
                "--log" => options.log = true,
                "--story" => options.story = true,
                other if places < 2 && !other.starts_with('-') => {
                    let value = number(Some(other.to_owned()))?;
                    *[&mut options.first, &mut options.count][places] = value;
                    places += 1;
                }
                other => return Err(format!("unknown: {other}")),
            }
        }
        Ok(options)
    }
}
