//! A data directory out of a backup, as the command line asks for it.

use std::sync::Arc;

use super::StartError;
use super::running::founders;
use crate::config::RestoreOptions;
use crate::env::{Env, TokioEnv};
use crate::node::{ClusterConfig, NodeConfig, Restore, Restored};

/// Makes the directory, or nothing.
pub async fn restore(options: &RestoreOptions) -> Result<Restored, StartError> {
    let env: Arc<dyn Env> = TokioEnv::new(tokio::runtime::Handle::current());
    let texts = |urls: &[crate::config::Endpoint]| urls.iter().map(ToString::to_string).collect();
    let listed = options.initial_cluster.members().get(&options.name);
    let member = NodeConfig {
        name: options.name.clone(),
        // As listed: the same place may have several names, and ids are made of them.
        peer_urls: texts(listed.unwrap_or(&options.advertise_peer)),
        cluster: ClusterConfig { members: founders(&options.initial_cluster), ..ClusterConfig::default() },
        cluster_token: options.initial_cluster_token.clone(),
        ..NodeConfig::default()
    };
    let restore = Restore {
        file: options.file.clone(),
        data_dir: options.data_dir.clone(),
        wal_dir: options.wal_dir.clone(),
        member,
        skip_hash_check: options.skip_hash_check,
        bump_revision: options.bump_revision,
    };
    restore.run(&env).await
}
