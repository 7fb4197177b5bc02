//! Places of servers: each has a name, a directory, and addresses that nobody else listens on.

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;

use crate::ports;

/// The place of one member; it keeps it over restarts.
#[derive(Clone, Debug)]
pub(crate) struct Seat {
    pub(crate) name: String,
    pub(crate) directory: PathBuf,
    pub(crate) client: SocketAddr,
    pub(crate) peer: SocketAddr,
    /// All members of its cluster, as etcd's flag has them.
    pub(crate) initial_cluster: String,
}

/// Places for the members of one cluster, given their names and directories.
pub(crate) fn seats(members: &[(String, PathBuf)]) -> io::Result<Vec<Seat>> {
    let addresses = ports::free(2 * members.len())?;
    let (clients, peers) = addresses.split_at(members.len());
    let with_peers = members.iter().zip(peers);
    let initial_cluster =
        with_peers.map(|((name, _), peer)| format!("{name}=http://{peer}")).collect::<Vec<_>>().join(",");
    let seat = |((name, directory), (client, peer)): (&(String, PathBuf), (&SocketAddr, &SocketAddr))| Seat {
        name: name.clone(),
        directory: directory.clone(),
        client: *client,
        peer: *peer,
        initial_cluster: initial_cluster.clone(),
    };
    Ok(members.iter().zip(clients.iter().zip(peers)).map(seat).collect())
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn members_know_each_other_and_share_no_address() {
        let seats = seats(&[("a".into(), "x".into()), ("b".into(), "y".into())]).unwrap();
        let expected = format!("a=http://{},b=http://{}", seats[0].peer, seats[1].peer);
        assert!(seats.iter().all(|seat| seat.initial_cluster == expected));
        assert_eq!(seats.iter().flat_map(|seat| [seat.client, seat.peer]).collect::<HashSet<_>>().len(), 4);
    }
}
