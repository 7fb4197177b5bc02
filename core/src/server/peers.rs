//! Where other members connect.

use super::{StartError, sockets};
use crate::config::ServerConfig;
use crate::peer::tcp::{PeerLimits, PeerListener, PeerOptions};
use crate::tls::Tls;

/// What a frame's length can say, and memory bear.
const LARGEST_FRAME: usize = 1 << 30;

/// Binds the peer URLs and reads the certificates. Nothing listens to what comes before a transport is made of it.
pub fn peer_options(config: &ServerConfig) -> Result<PeerOptions, StartError> {
    let tls = config.peer_tls.clone().map(Tls::open).transpose().map_err(StartError::new)?;
    let mut listeners = Vec::new();
    for endpoint in &config.listen_peer {
        let socket = sockets::bind(endpoint, "listen-peer-urls", config.sockets).map_err(StartError::new)?;
        listeners.push(PeerListener { socket, secure: endpoint.is_secure() });
    }
    let mut limits = PeerLimits { silence: config.peer_silence, ..PeerLimits::default() };
    // The largest request must pass, and its value within a state, with whatever else is sent together with it.
    for lane in [&mut limits.log, &mut limits.bulk] {
        lane.frame = lane.frame.saturating_add(config.limits.max_request_bytes).min(LARGEST_FRAME);
    }
    Ok(PeerOptions { member_name: config.name.clone(), listeners, tls, limits, observer: None })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Request, load};

    fn options(arguments: &[&str]) -> Result<PeerOptions, StartError> {
        let arguments: Vec<_> = arguments.iter().map(|a| (*a).to_owned()).collect();
        match load(&arguments, &[], |_| unreachable!("no file is named")) {
            Ok(Request::Serve(config, _)) => peer_options(&config),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn the_largest_request_passes_on_the_lanes_for_entries_and_for_states() {
        let directory = tempfile::tempdir().unwrap();
        let data_dir = format!("--data-dir={}", directory.path().display());
        let urls = "--listen-peer-urls=http://127.0.0.1:0";
        let options = |more| options(&["--name=a", &data_dir, urls, more]).unwrap().limits;
        let (usual, large) = (PeerLimits::default(), options("--max-request-bytes=100000000"));
        assert_eq!(large.log.frame, usual.log.frame + 100_000_000);
        assert_eq!(large.bulk.frame, usual.bulk.frame + 100_000_000);
        assert_eq!(large.control.frame, usual.control.frame);
        assert_eq!(options("--max-request-bytes=2000000000").bulk.frame, LARGEST_FRAME);
    }

    #[test]
    fn members_may_be_silent_for_longer_but_not_for_less() {
        let directory = tempfile::tempdir().unwrap();
        let data_dir = format!("--data-dir={}", directory.path().display());
        let urls = "--listen-peer-urls=http://127.0.0.1:0";
        let silence = |more| options(&["--name=a", &data_dir, urls, more]).unwrap().limits.silence.as_secs();
        assert_eq!(silence("--raft-read-timeout=30s"), 30);
        assert_eq!(silence("--raft-read-timeout=10ms"), 5);
    }

    #[test]
    fn peer_urls_are_bound_with_or_without_tls() {
        let directory = tempfile::tempdir().unwrap();
        let data_dir = format!("--data-dir={}", directory.path().display());
        let urls = "--listen-peer-urls=http://127.0.0.1:0,https://127.0.0.1:0";
        let found = options(&["--name=a", &data_dir, urls, "--peer-auto-tls"]).unwrap();
        let mut secure: Vec<_> = found.listeners.iter().map(|l| l.secure).collect();
        secure.sort();
        assert_eq!((secure, found.tls.is_some()), (vec![false, true], true));
        assert!(directory.path().join("fixtures/peer/key.pem").exists());
        let taken = format!("--listen-peer-urls=http://{}", found.listeners[0].socket.local_addr().unwrap());
        let error = options(&["--name=a", &data_dir, &taken]).unwrap_err().to_string();
        assert!(error.contains("(--listen-peer-urls)"), "{error}");
        let files = ["--peer-cert-file=/no/cert", "--peer-key-file=/no/key", "--listen-peer-urls=https://127.0.0.1:0"];
        let error = options(&["--name=a", files[0], files[1], files[2]]).unwrap_err().to_string();
        assert!(error.starts_with("cannot use /no/cert (--peer-cert-file): No such file"), "{error}");
    }
}
