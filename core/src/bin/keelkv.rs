//! The server: what belongs to a process around [`Server`]. Arguments, log, signals, exit status.

use std::ffi::OsString;
use std::process::ExitCode;

use keelkv_core::config::{self, ConfigError, LogOptions, Note, NoteLevel, Request, RestoreOptions, ServerConfig};
use keelkv_core::logging::{self, FATAL, Sink};
use keelkv_core::node::Restored;
use keelkv_core::server::{self, Server, ServiceState, Traffic, notify, watchdog_interval};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use signal_hook::consts::{SIGINT, SIGTERM};
use tokio::signal::unix::{Signal, SignalKind, signal};

#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

/// Why a server that ran has ended.
enum Ended {
    /// This signal asked for it.
    Signal(i32),
    /// It could not go on, and has said why.
    Failed,
}

#[allow(clippy::print_stdout, reason = "answers to --help and --version")]
fn main() -> ExitCode {
    let arguments: Result<Vec<String>, _> = std::env::args_os().map(OsString::into_string).collect();
    let arguments = match arguments {
        Ok(arguments) => arguments,
        Err(argument) => {
            eprintln!("argument {argument:?} is not UTF-8: write it in UTF-8");
            return ExitCode::from(2);
        }
    };
    let environment: Vec<(String, String)> = std::env::vars_os()
        .filter_map(|(key, value)| Some((key.into_string().ok()?, value.into_string().ok()?)))
        .collect();
    match config::load(&arguments[1..], &environment, |path| std::fs::read_to_string(path)) {
        Ok(Request::Help) => {
            eprintln!("{}", config::usage());
            print!("{}", config::flag_list());
            ExitCode::SUCCESS
        }
        Ok(Request::Restore(options)) => restore(&options),
        Ok(Request::RestoreHelp) => {
            print!("{}", config::RESTORE_USAGE);
            ExitCode::SUCCESS
        }
        Ok(Request::Version) => {
            print!("{}", config::version_text());
            ExitCode::SUCCESS
        }
        Ok(Request::Serve(config, notes)) => run(*config, &notes, &arguments),
        Err(error) => refuse(&error),
    }
}

/// Says why the configuration is refused, with etcd's exit status.
fn refuse(error: &ConfigError) -> ExitCode {
    if let ConfigError::Usage(_) = error {
        eprintln!("{error}\n{}", config::usage());
    } else if let Some(log) = start_log(&LogOptions::default()) {
        match error {
            ConfigError::Shadowed { variable } => {
                tracing::error!(target: FATAL, environment_variable = variable, "{error}");
            }
            _ => tracing::warn!(%error, "failed to verify flags"),
        }
        log.flush();
    }
    ExitCode::from(error.exit_status())
}

/// Makes a data directory, and tells of it.
fn restore(options: &RestoreOptions) -> ExitCode {
    let Some(log) = start_log(&LogOptions::default()) else { return ExitCode::FAILURE };
    let (path, data_dir) = (options.file.display(), options.data_dir.display());
    tracing::info!(%path, %data_dir, "restoring snapshot");
    let made = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| error.to_string())
        .and_then(|runtime| runtime.block_on(server::restore(options)).map_err(|error| error.to_string()));
    let status = match made {
        Ok(Restored { revision, cluster_id, member_id }) => {
            let (cluster, member) = (format!("{cluster_id:x}"), format!("{member_id:x}"));
            tracing::info!(%path, %data_dir, revision, cluster, member, "restored snapshot");
            ExitCode::SUCCESS
        }
        Err(error) => {
            tracing::error!(target: FATAL, %path, %error, "nothing was restored");
            ExitCode::FAILURE
        }
    };
    log.flush();
    status
}

fn start_log(options: &LogOptions) -> Option<Sink> {
    match logging::start(options) {
        Ok((subscriber, sink)) => {
            // Nobody else in this process installs one.
            let _ = tracing::subscriber::set_global_default(subscriber);
            Some(sink)
        }
        Err(error) => {
            eprintln!("{error}");
            None
        }
    }
}

/// Each connection takes a descriptor, and the usual limit is made for programs that have few.
fn raise_file_limit() {
    let limit = getrlimit(Resource::Nofile);
    if let Err(error) = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, ..limit }) {
        tracing::warn!(%error, "the limit on open files stays as it is");
    }
}

fn run(config: ServerConfig, notes: &[Note], arguments: &[String]) -> ExitCode {
    let Some(log) = start_log(&config.log) else { return ExitCode::FAILURE };
    tracing::info!(args = ?arguments, "Running: ");
    notes.iter().for_each(note);
    raise_file_limit();
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            tracing::error!(target: FATAL, %error, "cannot start: the system gives no event queue");
            log.flush();
            return ExitCode::FAILURE;
        }
    };
    let ended = runtime.block_on(serve(&config));
    log.flush();
    match ended {
        // The kernel does not end process 1 by a signal.
        Ended::Signal(_) if std::process::id() == 1 => ExitCode::SUCCESS,
        Ended::Signal(number) => {
            // Returns only if the signal could not be raised; then an exit must do.
            let _ = signal_hook::low_level::emulate_default_handler(number);
            ExitCode::SUCCESS
        }
        Ended::Failed => ExitCode::FAILURE,
    }
}

/// Starts, serves until something ends it, stops in order.
async fn serve(config: &ServerConfig) -> Ended {
    let mut signals = match Signals::listen() {
        Ok(signals) => signals,
        Err(error) => {
            tracing::error!(target: FATAL, %error, "cannot start: the system lets no signals be handled");
            return Ended::Failed;
        }
    };
    let server = tokio::select! {
        started = Server::start(config) => match started {
            Ok(server) => server,
            Err(error) => {
                tracing::error!(target: FATAL, %error, "cannot start");
                return Ended::Failed;
            }
        },
        // Nothing was promised to anybody yet.
        number = signals.next() => return Ended::Signal(number),
    };
    let ready = async {
        if server.ready().await {
            announce(&server);
        }
        std::future::pending::<()>().await;
    };
    let ended = tokio::select! {
        number = signals.next() => Ended::Signal(number),
        reason = server.failed() => {
            tracing::error!(target: FATAL, reason, "the member cannot go on");
            Ended::Failed
        }
        () = ready => Ended::Failed,
        () = feed_watchdog(&server) => Ended::Failed,
    };
    tell_systemd(ServiceState::Stopping);
    // Signals that come now are taken and change nothing: the server is stopping already.
    server.stop().await;
    ended
}

/// Tells everybody who waits for it that clients are served.
fn announce(server: &Server) {
    tracing::info!("ready to serve client requests");
    for Traffic { address, kind, secure } in server.traffic() {
        if *secure {
            tracing::info!(address, traffic = kind, "serving client traffic securely");
        } else {
            tracing::info!(address, traffic = kind, "serving client traffic insecurely; this is strongly discouraged!");
        }
    }
    tell_systemd(ServiceState::Ready);
}

fn tell_systemd(state: ServiceState) {
    if let Err(error) = notify(std::env::var("NOTIFY_SOCKET").ok().as_deref(), state) {
        tracing::warn!(%error, ?state, "failed to notify systemd");
    }
}

/// Tells systemd that the member lives, if it wants to know, for as long as the thread that the member runs on goes
/// through its tasks: if that hangs, systemd starts the server again.
async fn feed_watchdog(server: &Server) {
    let variable = |name| std::env::var(name).ok();
    let interval = watchdog_interval(variable("WATCHDOG_USEC").as_deref(), variable("WATCHDOG_PID").as_deref());
    let Some(interval) = interval else { return std::future::pending().await };
    loop {
        server.turn().await;
        tell_systemd(ServiceState::Alive);
        server.node().env().sleep(interval).await;
    }
}

/// The signals that end a server.
struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    fn listen() -> std::io::Result<Self> {
        Ok(Self { terminate: signal(SignalKind::terminate())?, interrupt: signal(SignalKind::interrupt())? })
    }

    async fn next(&mut self) -> i32 {
        let (number, name) = tokio::select! {
            _ = self.terminate.recv() => (SIGTERM, "terminated"),
            _ = self.interrupt.recv() => (SIGINT, "interrupt"),
        };
        tracing::info!(signal = name, "received signal; shutting down");
        number
    }
}

/// The fields that notes are about: tracing wants their names fixed.
macro_rules! log_note {
    ($level:ident, $note:expr, [$($field:ident)*]) => {
        match &$note.subject {
            $(Some((what, name)) if what.replace('-', "_") == stringify!($field) => {
                tracing::$level!($field = name, "{}", $note.message);
            })*
            Some((what, name)) => tracing::$level!("{} ({what}: {name})", $note.message),
            None => tracing::$level!("{}", $note.message),
        }
    };
}

fn note(note: &Note) {
    match note.level {
        NoteLevel::Info => log_note!(info, note, [variable_name path]),
        NoteLevel::Warn => {
            log_note!(warn, note, [environment_variable flag_name feature_gate data_dir key name client_url])
        }
    }
}
