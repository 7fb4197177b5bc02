//! A process that is given a limited time.

use std::io::{self, Read};
use std::process::{Child, Command, Output, Stdio};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

/// Between two looks at whether it has ended.
const PAUSE: Duration = Duration::from_millis(5);

/// Runs a command to its end, and takes what it prints; what it says to stderr only if that is not shown. None if it
/// has not ended within `limit`: it is killed then.
pub(crate) fn run(mut command: Command, limit: Duration, shows_errors: bool) -> io::Result<Option<Output>> {
    let stderr = if shows_errors { Stdio::inherit() } else { Stdio::piped() };
    let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(stderr).spawn()?;
    // It must not wait for somebody to read.
    let (stdout, stderr) = (child.stdout.take().map(read), child.stderr.take().map(read));
    let Some(status) = wait(&mut child, limit)? else { return Ok(None) };
    Ok(Some(Output { status, stdout: taken(stdout)?, stderr: taken(stderr)? }))
}

fn wait(child: &mut Child, limit: Duration) -> io::Result<Option<std::process::ExitStatus>> {
    let began = Instant::now();
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok(Some(status));
        }
        if began.elapsed() > limit {
            child.kill()?;
            child.wait()?;
            return Ok(None);
        }
        thread::sleep(PAUSE);
    }
}

type Reader = JoinHandle<io::Result<Vec<u8>>>;

fn read(mut pipe: impl Read + Send + 'static) -> Reader {
    thread::spawn(move || {
        let mut bytes = Vec::new();
        pipe.read_to_end(&mut bytes).map(|_| bytes)
    })
}

fn taken(reader: Option<Reader>) -> io::Result<Vec<u8>> {
    let Some(reader) = reader else { return Ok(Vec::new()) };
    reader.join().unwrap_or_else(|_| Err(io::Error::other("a reader has panicked")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(script: &str) -> Command {
        let mut command = Command::new("sh");
        command.args(["-c", script]);
        command
    }

    #[test]
    fn a_process_that_does_not_end_is_killed() {
        let ended = run(shell("exec sleep 1000"), Duration::from_millis(50), false).expect("it can be started");
        assert!(ended.is_none());
    }

    #[test]
    fn all_that_a_process_prints_is_taken() {
        let script = "head -c 300000 /dev/zero; head -c 200000 /dev/zero >&2; exit 3";
        let ended = run(shell(script), Duration::from_secs(60), false).expect("it can be started").expect("it ends");
        assert_eq!((ended.stdout.len(), ended.stderr.len(), ended.status.code()), (300_000, 200_000, Some(3)));
    }
}
