//! Runs many seeds, each in a process of its own, so that nothing of one is left for the next.

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io::{self, BufRead, BufReader, Write};
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use crate::child;
use crate::options::Options;
use crate::report::Totals;
use crate::trace::Story;

/// Lines of a story that are printed when it ends badly.
const SHOWN: usize = 60;

/// A seed takes some seconds; one that takes so long does not come to its end.
const LIMIT: Duration = Duration::from_secs(120);

/// Runs the seeds that are asked for; whether all is well.
pub(crate) fn run(options: &Options) -> io::Result<bool> {
    let began = Instant::now();
    let came = run_each(options, one)?;
    let totals = Totals::of(came.stories.values());
    let hour = came.ran as f64 * 3600.0 / began.elapsed().as_secs_f64();
    println!("{totals}, {hour:.0} seeds an hour");
    if let Some(name) = &options.planted {
        let is_found = came.found.is_some();
        println!(
            "the bug {name} is {}",
            came.found.map_or_else(|| "not found".to_owned(), |how| format!("found, {how}"))
        );
        return Ok(is_found);
    }
    for what in totals.rare() {
        println!("too rare to be tested: {what}");
    }
    Ok(totals.failed() == 0 && totals.rare().is_empty())
}

/// What came of the seeds.
#[derive(Debug, Default)]
struct Came {
    /// By seed, those of earlier runs included, without their lines.
    stories: BTreeMap<u64, Story>,
    /// Seeds of this run.
    ran: u64,
    /// The first violation of this run.
    found: Option<String>,
}

/// Has each seed that is asked for run once, unless it went well in an earlier run.
fn run_each(options: &Options, one: impl Fn(&Options, u64) -> Story + Sync) -> io::Result<Came> {
    let came = Came { stories: earlier(options)?, ..Came::default() };
    let is_done = |seed: &u64| came.stories.get(seed).is_some_and(|story| story.violation.is_none());
    let todo: Vec<u64> = (options.first..options.first + options.count).filter(|seed| !is_done(seed)).collect();
    let (todo, came, stop) = (Mutex::new(todo.into_iter()), Mutex::new(came), AtomicBool::new(false));
    std::thread::scope(|scope| {
        for _ in 0..options.jobs {
            scope.spawn(|| {
                while !stop.load(Ordering::Relaxed) {
                    let Some(seed) = todo.lock().next() else { return };
                    let mut story = one(options, seed);
                    let mut came = came.lock();
                    if let Some(violation) = &story.violation {
                        tell(options, &story);
                        let first = violation.lines().next().unwrap_or_default();
                        came.found.get_or_insert_with(|| format!("seed {}: {first}", story.seed));
                        stop.fetch_or(!options.keep_going || options.planted.is_some(), Ordering::Relaxed);
                    } else if options.count == 1 {
                        println!("{story}");
                    }
                    story.lines.clear();
                    if let Err(error) = keep(options, &story) {
                        println!("cannot write what became of seed {seed}: {error}");
                        stop.store(true, Ordering::Relaxed);
                    }
                    came.ran += 1;
                    came.stories.insert(seed, story);
                }
            });
        }
    });
    Ok(came.into_inner())
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
    match child::run(command, LIMIT, options.log) {
        Err(error) => broken(format!("cannot run the simulator: {error}")),
        Ok(None) => broken(format!("the seed does not come to its end within {LIMIT:?}")),
        Ok(Some(output)) => match serde_json::from_slice(&output.stdout) {
            Ok(story) => story,
            Err(_) => broken(format!(
                "a process ended with {}: {}",
                output.status,
                String::from_utf8_lossy(&output.stderr).trim()
            )),
        },
    }
}

/// What the file has of earlier runs; the last story of a seed counts.
fn earlier(options: &Options) -> io::Result<BTreeMap<u64, Story>> {
    let mut stories = BTreeMap::new();
    let Some(path) = options.resume.as_ref().filter(|path| path.exists()) else { return Ok(stories) };
    for line in BufReader::new(File::open(path)?).lines() {
        // A line that was cut short is a seed that was not done.
        if let Ok(story) = serde_json::from_str::<Story>(&line?) {
            stories.insert(story.seed, story);
        }
    }
    Ok(stories)
}

fn keep(options: &Options, story: &Story) -> io::Result<()> {
    let Some(path) = &options.resume else { return Ok(()) };
    let mut file = OpenOptions::new().create(true).append(true).open(path)?;
    writeln!(file, "{}", serde_json::to_string(story).map_err(io::Error::other)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn story(seed: u64, violation: Option<&str>) -> Story {
        let counts = BTreeMap::from([("elections".to_owned(), seed)]);
        Story { seed, counts, violation: violation.map(str::to_owned), ..Story::default() }
    }

    /// The seeds that a run over 1 to 4 has done, and its totals, if those of the list fail in it.
    fn run_again(options: &Options, failing: &[u64]) -> (Vec<u64>, String) {
        let ran = Mutex::new(Vec::new());
        let came = run_each(options, |_, seed| {
            ran.lock().push(seed);
            story(seed, failing.contains(&seed).then_some("wrong"))
        })
        .expect("the file can be read and written");
        assert_eq!(came.ran, ran.lock().len() as u64);
        assert_eq!(came.found.is_some(), !failing.is_empty());
        (ran.into_inner(), Totals::of(came.stories.values()).to_string())
    }

    #[test]
    fn a_run_that_is_resumed_counts_what_came_before_it() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("stories");
        let arguments = ["1", "4", "--keep-going", "--resume", path.to_str().expect("a plain name")];
        let options = Options::read(arguments.iter().map(|text| (*text).to_owned())).expect("they are right");
        let line = |story| serde_json::to_string(&story).expect("it has a form") + "\n";
        let cut = &line(story(3, None))[..20];
        let before =
            line(story(1, None)) + &line(story(2, Some("wrong"))) + &line(story(9, Some("wrong"))) + cut + "\n";
        std::fs::write(&path, before).expect("it can be written");

        // Seed 9, which nobody asks for now, stays a failure; so does 2, which fails again.
        let (ran, totals) = run_again(&options, &[2]);
        assert_eq!(ran, [2, 3, 4]);
        assert!(totals.ends_with("simulator: 3 passed, 2 failed"), "{totals}");
        assert!(totals.contains("        19  in 100.0 % of the seeds  elections"), "{totals}");
        // It goes well at last, and then there is nothing left to do.
        let (ran, totals) = run_again(&options, &[]);
        assert_eq!(ran, [2]);
        assert!(totals.ends_with("simulator: 4 passed, 1 failed"), "{totals}");
        assert_eq!(run_again(&options, &[]), (vec![], totals));
    }
}
