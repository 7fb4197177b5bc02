//! Runs many seeds, each in a process of its own, so that nothing of one is left for the next.

use std::collections::BTreeSet;
use std::fs::{File, OpenOptions};
use std::io::{self, BufRead, BufReader, Write};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};

use parking_lot::Mutex;

use crate::options::Options;
use crate::report::Totals;
use crate::trace::Story;

/// Lines of a story that are printed when it ends badly.
const SHOWN: usize = 60;

/// Runs the seeds that are asked for; whether all is well.
pub(crate) fn run(options: &Options) -> io::Result<bool> {
    let done = done(options)?;
    let todo: Vec<u64> = (options.first..options.first + options.count).filter(|seed| !done.contains(seed)).collect();
    let todo = Mutex::new(todo.into_iter());
    let (totals, stop) = (Mutex::new(Totals::default()), AtomicBool::new(false));
    let found = Mutex::new(None);
    std::thread::scope(|scope| {
        for _ in 0..options.jobs {
            scope.spawn(|| {
                while !stop.load(Ordering::Relaxed) {
                    let Some(seed) = todo.lock().next() else { return };
                    let story = one(options, seed);
                    let mut totals = totals.lock();
                    totals.add(&story);
                    if let Err(error) = keep(options, &story) {
                        println!("cannot write what became of seed {seed}: {error}");
                        stop.store(true, Ordering::Relaxed);
                    }
                    if let Some(violation) = &story.violation {
                        tell(options, &story);
                        let first = violation.lines().next().unwrap_or_default();
                        found.lock().get_or_insert(format!("seed {}: {first}", story.seed));
                        stop.fetch_or(!options.keep_going || options.planted.is_some(), Ordering::Relaxed);
                    } else if options.count == 1 {
                        println!("{story}");
                    }
                }
            });
        }
    });
    let totals = totals.into_inner();
    println!("{totals}");
    if let Some(name) = &options.planted {
        let found = found.into_inner();
        let is_found = found.is_some();
        println!("the bug {name} is {}", found.map_or_else(|| "not found".to_owned(), |how| format!("found, {how}")));
        return Ok(is_found);
    }
    for what in totals.rare() {
        println!("too rare to be tested: {what}");
    }
    Ok(totals.failed() == 0 && totals.rare().is_empty())
}

fn tell(options: &Options, story: &Story) {
    let lines: Vec<&String> = story.lines.iter().rev().take(SHOWN).collect();
    for line in lines.into_iter().rev() {
        println!("  {line}");
    }
    println!("seed {}: {}", story.seed, story.violation.as_deref().unwrap_or_default());
    let planted = options.planted.as_ref().map_or_else(String::new, |name| format!(" --planted {name}"));
    println!("again: ci/sim/run {} 1 --seconds {}{planted} --log", story.seed, options.seconds);
}

/// One seed, perhaps twice.
fn one(options: &Options, seed: u64) -> Story {
    let mut story = child(options, seed);
    if story.violation.is_none() && (options.twice || seed.is_multiple_of(8)) {
        let again = child(options, seed);
        if again.digest != story.digest {
            let differs = story.lines.iter().zip(&again.lines).position(|(one, other)| one != other);
            let at = differs.unwrap_or_default();
            let line = |story: &Story| story.lines.get(at).cloned().unwrap_or_default();
            story.violation =
                Some(format!("the second run differs from the first:\n{}\n{}", line(&story), line(&again)));
        }
    }
    story
}

/// One seed in a process of its own.
fn child(options: &Options, seed: u64) -> Story {
    let broken = |why: String| Story { seed, violation: Some(why), ..Story::default() };
    let Ok(program) = std::env::current_exe() else { return broken("where is the simulator?".to_owned()) };
    let mut command = Command::new(program);
    command.args([&seed.to_string(), "1", "--story", "--seconds", &options.seconds.to_string()]);
    if let Some(planted) = &options.planted {
        command.args(["--planted", planted]);
    }
    if options.log {
        command.arg("--log");
    }
    let stderr = if options.log { Stdio::inherit() } else { Stdio::piped() };
    match command.stdin(Stdio::null()).stderr(stderr).output() {
        Err(error) => broken(format!("cannot run the simulator: {error}")),
        Ok(output) => match serde_json::from_slice(&output.stdout) {
            Ok(story) => story,
            Err(_) => broken(format!(
                "a process ended with {}: {}",
                output.status,
                String::from_utf8_lossy(&output.stderr).trim()
            )),
        },
    }
}

/// Seeds that are in the file already.
fn done(options: &Options) -> io::Result<BTreeSet<u64>> {
    let Some(path) = options.resume.as_ref().filter(|path| path.exists()) else { return Ok(BTreeSet::new()) };
    let mut done = BTreeSet::new();
    for line in BufReader::new(File::open(path)?).lines() {
        // A line that was cut short is a seed that was not done.
        if let Ok(story) = serde_json::from_str::<Story>(&line?) {
            done.insert(story.seed);
        }
    }
    Ok(done)
}

fn keep(options: &Options, story: &Story) -> io::Result<()> {
    let Some(path) = &options.resume else { return Ok(()) };
    let mut short = story.clone();
    short.lines.clear();
    let mut file = OpenOptions::new().create(true).append(true).open(path)?;
    writeln!(file, "{}", serde_json::to_string(&short).map_err(io::Error::other)?)
}
