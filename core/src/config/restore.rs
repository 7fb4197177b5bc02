//! The command that makes a data directory out of a backup, with the flags of `etcdutl snapshot restore`.

use std::path::PathBuf;

use super::endpoint::Endpoint;
use super::error::ConfigError;
use super::initial_cluster::InitialCluster;
use super::number;

/// What `keelkv restore` is told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RestoreOptions {
    /// The backup.
    pub file: PathBuf,
    /// The directory to make.
    pub data_dir: PathBuf,
    /// The directory of the log, if it has one of its own.
    pub wal_dir: Option<PathBuf>,
    /// The member's name.
    pub name: String,
    /// The members of the new cluster.
    pub initial_cluster: InitialCluster,
    /// Keeps the ids of clusters apart.
    pub initial_cluster_token: String,
    /// Where the other members reach this one.
    pub advertise_peer: Vec<Endpoint>,
    /// Whether the checksum of the file is left alone.
    pub skip_hash_check: bool,
    /// By how much the revision is raised.
    pub bump_revision: u64,
}

/// How the command is used.
pub const RESTORE_USAGE: &str = "\
Usage:

  keelkv restore FILE [flags]
    Make the data directory of a member out of a backup: one of keelkv's, or of etcd's (3.5 and later).

Flags:

  --data-dir ''                 the directory to make; '<name>.etcd' if not given
  --wal-dir ''                  the directory of the log; within the data directory if not given
  --name 'default'              the member's name
  --initial-cluster 'default=http://localhost:2380'
                                all members of the new cluster; each is restored from the same file
  --initial-cluster-token 'etcd-cluster'
                                keeps the ids of clusters apart
  --initial-advertise-peer-urls 'http://localhost:2380'
                                where the other members reach this one
  --skip-hash-check 'false'     take a file without its checksum, such as a copy of member/snap/db
  --bump-revision 0             raise the revision by so much, so that it is above all that clients have seen
  --mark-compacted 'false'      have all before that compacted; goes with --bump-revision
";

/// Reads the arguments behind `restore`.
pub(super) fn parse(arguments: &[String]) -> Result<Option<RestoreOptions>, ConfigError> {
    let (mut data_dir, mut wal_dir) = (String::new(), String::new());
    let (mut name, mut token) = ("default".to_owned(), "etcd-cluster".to_owned());
    let (mut cluster, mut peer_urls) = ("default=http://localhost:2380".to_owned(), "http://localhost:2380".to_owned());
    let (mut skip_hash_check, mut mark_compacted) = ("false".to_owned(), "false".to_owned());
    let (mut bump_revision, mut memory_map) = ("0".to_owned(), "0".to_owned());
    let mut files = Vec::new();
    let mut rest = arguments.iter();
    while let Some(argument) = rest.next() {
        let Some(flag) = argument.strip_prefix("--").filter(|flag| !flag.is_empty()) else {
            if argument == "-h" {
                return Ok(None);
            }
            if argument.len() > 1 && argument.starts_with('-') && argument != "--" {
                return Err(usage(format!("unknown shorthand flag: {argument}")));
            }
            files.extend((argument != "--").then_some(argument));
            continue;
        };
        let (flag, value) = flag.split_once('=').map_or((flag, None), |(flag, value)| (flag, Some(value)));
        let (place, is_switch) = match flag {
            "data-dir" => (&mut data_dir, false),
            "wal-dir" => (&mut wal_dir, false),
            "name" => (&mut name, false),
            "initial-cluster" => (&mut cluster, false),
            "initial-cluster-token" => (&mut token, false),
            "initial-advertise-peer-urls" => (&mut peer_urls, false),
            "bump-revision" => (&mut bump_revision, false),
            // What etcd maps into memory at once.
            "initial-memory-map-size" => (&mut memory_map, false),
            "skip-hash-check" => (&mut skip_hash_check, true),
            "mark-compacted" => (&mut mark_compacted, true),
            "help" => return Ok(None),
            _ => return Err(usage(format!("unknown flag: --{flag}"))),
        };
        *place = match value {
            Some(value) => value.to_owned(),
            None if is_switch => "true".to_owned(),
            None => rest.next().cloned().ok_or_else(|| usage(format!("flag needs an argument: --{flag}")))?,
        };
    }
    let [file] = files[..] else {
        return Err(ConfigError::invalid("snapshot restore requires exactly one argument"));
    };
    let switch = |flag: &str, text: &str| {
        number::parse_bool(text).ok_or_else(|| usage(format!("invalid argument {text:?} for \"--{flag}\" flag")))
    };
    let bump_revision: u64 = bump_revision
        .parse()
        .map_err(|error| usage(format!("invalid argument {bump_revision:?} for \"--bump-revision\" flag: {error}")))?;
    if (bump_revision > 0) != switch("mark-compacted", &mark_compacted)? {
        return Err(ConfigError::invalid("--mark-compacted required if --revision-bump > 0"));
    }
    let initial_cluster = InitialCluster::parse(&cluster).map_err(ConfigError::invalid)?;
    let advertise_peer = Endpoint::parse_list(&peer_urls).map_err(ConfigError::invalid)?;
    initial_cluster.check(&name, &advertise_peer).map_err(ConfigError::invalid)?;
    Ok(Some(RestoreOptions {
        file: file.into(),
        data_dir: if data_dir.is_empty() { format!("{name}.etcd").into() } else { data_dir.into() },
        wal_dir: (!wal_dir.is_empty()).then(|| wal_dir.into()),
        name,
        initial_cluster,
        initial_cluster_token: token,
        advertise_peer,
        skip_hash_check: switch("skip-hash-check", &skip_hash_check)?,
        bump_revision,
    }))
}

fn usage(text: String) -> ConfigError {
    ConfigError::Usage(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(line: &str) -> Result<Option<RestoreOptions>, ConfigError> {
        parse(&line.split_whitespace().map(str::to_owned).collect::<Vec<_>>())
    }

    fn refused(line: &str) -> String {
        parsed(line).unwrap_err().to_string()
    }

    #[test]
    fn flags_and_file_come_in_any_order() {
        let options = parsed(
            "--name=a back.db --initial-cluster a=http://h:1,b=http://h:2 --initial-advertise-peer-urls http://h:1 \
             --skip-hash-check --bump-revision 7 --mark-compacted=true --wal-dir /w",
        );
        let options = options.unwrap().unwrap();
        assert_eq!((options.file, options.data_dir), ("back.db".into(), "a.etcd".into()));
        assert_eq!((options.wal_dir, options.bump_revision), (Some("/w".into()), 7));
        assert!(options.skip_hash_check);
        assert_eq!(options.initial_cluster.members().len(), 2);
        let plain = parsed("f").unwrap().unwrap();
        assert_eq!((plain.data_dir, plain.wal_dir, plain.bump_revision), ("default.etcd".into(), None, 0));
        assert_eq!(parsed("--help").unwrap(), None);
    }

    #[test]
    fn refuses_in_etcds_words() {
        assert_eq!(refused(""), "snapshot restore requires exactly one argument");
        assert_eq!(refused("a b"), "snapshot restore requires exactly one argument");
        assert_eq!(refused("a --bump-revision 7"), "--mark-compacted required if --revision-bump > 0");
        assert_eq!(refused("a --mark-compacted"), "--mark-compacted required if --revision-bump > 0");
        assert_eq!(refused("a --bump-revision"), "flag needs an argument: --bump-revision");
        assert_eq!(refused("a --nonsense"), "unknown flag: --nonsense");
        assert_eq!(refused("a --name b"), "couldn't find local name \"b\" in the initial cluster configuration");
    }
}
