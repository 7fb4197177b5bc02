//! A name server of our own, and members that find each other by it.

use std::collections::BTreeSet;
use std::net::{SocketAddr, UdpSocket};
use std::thread::JoinHandle;

use futures::future::join_all;
use hickory_resolver::config::{ConnectionConfig, NameServerConfig, ResolverConfig};
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use hickory_resolver::proto::op::{Message, ResponseCode};
use hickory_resolver::proto::rr::rdata::SRV;
use hickory_resolver::proto::rr::{Name, Record};
use socket2::{Domain, Socket, Type};

use super::*;
use crate::config::{Request, load};
use crate::server::Server;

/// A name server with a few records, until it is dropped.
struct NameServer {
    address: SocketAddr,
    thread: Option<JoinHandle<()>>,
}

impl NameServer {
    #[allow(clippy::disallowed_methods, reason = "a server that only tests have")]
    fn start(zone: &[(&str, RData)]) -> Self {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        let address = socket.local_addr().unwrap();
        let zone: Vec<_> = zone
            .iter()
            .map(|(name, data)| Record::from_rdata(Name::from_utf8(name).unwrap(), 60, data.clone()))
            .collect();
        let thread = std::thread::spawn(move || serve(&socket, &zone));
        Self { address, thread: Some(thread) }
    }

    fn resolver(&self) -> Result<TokioResolver, NetError> {
        let mut connection = ConnectionConfig::udp();
        connection.port = self.address.port();
        let server = NameServerConfig::new(self.address.ip(), true, vec![connection]);
        let config = ResolverConfig::from_parts(None, Vec::new(), vec![server]);
        TokioResolver::builder_with_config(config, TokioRuntimeProvider::default()).build()
    }

    async fn discover(&self, arguments: &[&str]) -> Result<String, String> {
        let config = config(arguments);
        let srv = config.discovery_srv.clone().unwrap();
        let found = discover(&config, &srv, &self.resolver().unwrap()).await;
        found.map(|cluster| cluster.to_string()).map_err(|error| error.to_string())
    }
}

impl Drop for NameServer {
    fn drop(&mut self) {
        // What is no question ends it.
        UdpSocket::bind("127.0.0.1:0").unwrap().send_to(&[], self.address).unwrap();
        self.thread.take().unwrap().join().unwrap();
    }
}

fn serve(socket: &UdpSocket, zone: &[Record]) {
    let mut buffer = [0; 4096];
    loop {
        let (length, from) = socket.recv_from(&mut buffer).unwrap();
        let Ok(question) = Message::from_vec(&buffer[..length]) else { return };
        let query = &question.queries[0];
        let mut answer = Message::response(question.metadata.id, question.metadata.op_code);
        answer.add_query(query.clone());
        let of_name = || zone.iter().filter(|record| record.name == query.name);
        answer.add_answers(of_name().filter(|record| record.record_type() == query.query_type).cloned());
        answer.metadata.response_code = match of_name().next() {
            Some(_) => ResponseCode::NoError,
            None if query.name.to_ascii().ends_with("broken.test.") => ResponseCode::ServFail,
            None => ResponseCode::NXDomain,
        };
        socket.send_to(&answer.to_vec().unwrap(), from).unwrap();
    }
}

fn srv(target: &str, port: u16) -> RData {
    RData::SRV(SRV::new(0, 0, port, Name::from_utf8(target).unwrap()))
}

fn a(address: [u8; 4]) -> RData {
    RData::A(std::net::Ipv4Addr::from(address).into())
}

fn config(arguments: &[&str]) -> ServerConfig {
    let arguments: Vec<_> = arguments.iter().map(|argument| (*argument).to_owned()).collect();
    match load(&arguments, &[], |_| unreachable!("no file is named")) {
        Ok(Request::Serve(config, _)) => *config,
        other => panic!("{other:?}"),
    }
}

const DOMAIN: &str = "--discovery-srv=kv.test";
const SSL: &str = "_etcd-server-ssl._tcp.kv.test.";
const PLAIN: &str = "_etcd-server._tcp.kv.test.";

#[tokio::test]
async fn a_member_knows_its_record_by_address_and_port() {
    let server = NameServer::start(&[
        (PLAIN, srv("m1.kv.test.", 2380)),
        (PLAIN, srv("m2.kv.test.", 2380)),
        (PLAIN, srv("m2.kv.test.", 2480)),
        ("m1.kv.test.", a([127, 0, 0, 11])),
        ("m2.kv.test.", a([127, 0, 0, 12])),
    ]);
    let found = server.discover(&["--name=n", DOMAIN, "--initial-advertise-peer-urls=http://127.0.0.12:2380"]).await;
    let expected = "0=http://m1.kv.test:2380,1=http://m2.kv.test:2480,n=http://m2.kv.test:2380";
    assert_eq!(found.as_deref(), Ok(expected));
    // By a name of the same address; a number that is a name already is given to nobody else.
    let found = server.discover(&["--name=0", DOMAIN, "--initial-advertise-peer-urls=http://m1.kv.test:2380"]).await;
    let expected = "0=http://m1.kv.test:2380,1=http://m2.kv.test:2380,2=http://m2.kv.test:2480";
    assert_eq!(found.as_deref(), Ok(expected));
}

#[tokio::test]
async fn both_kinds_of_urls_of_a_member_come_together() {
    let hosts = ["m1.kv.test.", "m2.kv.test.", "m3.kv.test."];
    let mut zone = Vec::new();
    for (number, host) in (11..).zip(hosts) {
        zone.extend([(SSL, srv(host, 2381)), (PLAIN, srv(host, 2380)), (host, a([127, 0, 0, number]))]);
    }
    // The first of the plain ones is missing: the numbers still say who is who.
    zone.remove(1);
    let server = NameServer::start(&zone);
    let found = server
        .discover(&[
            "--name=n",
            DOMAIN,
            "--initial-advertise-peer-urls=https://127.0.0.12:2381,http://127.0.0.12:2380",
            "--peer-auto-tls",
        ])
        .await
        .unwrap();
    let expected: BTreeSet<_> = [
        "0=https://m1.kv.test:2381",
        "1=https://m3.kv.test:2381",
        "1=http://m3.kv.test:2380",
        "n=https://m2.kv.test:2381",
        "n=http://m2.kv.test:2380",
    ]
    .into();
    assert_eq!(found.split(',').collect::<BTreeSet<_>>(), expected);
}

#[tokio::test]
async fn the_service_may_have_a_name() {
    let server = NameServer::start(&[
        ("_etcd-server-blue._tcp.kv.test.", srv("m1.kv.test.", 1)),
        (PLAIN, srv("m2.kv.test.", 1)),
        ("m1.kv.test.", a([127, 0, 0, 11])),
        ("m2.kv.test.", a([127, 0, 0, 11])),
    ]);
    let told = "--initial-advertise-peer-urls=http://127.0.0.11:1";
    let found = server.discover(&["--name=n", DOMAIN, told, "--discovery-srv-name=blue"]).await;
    assert_eq!(found.as_deref(), Ok("n=http://m1.kv.test:1"));
}

#[tokio::test]
async fn what_is_wrong_with_the_records_is_said() {
    let server = NameServer::start(&[("m1.kv.test.", a([127, 0, 0, 11])), (SSL, srv("m1.kv.test.", 1))]);
    let told = "--initial-advertise-peer-urls=http://127.0.0.11:1";
    for (arguments, begins, says) in [
        (
            ["--discovery-srv=no.test", told],
            "error setting up initial cluster: error querying DNS SRV records for _etcd-server-ssl lookup _etcd-server-ssl._tcp.no.test: no such host; ",
            "; error querying DNS SRV records for _etcd-server lookup _etcd-server._tcp.no.test: no such host; check",
        ),
        (
            [DOMAIN, told],
            "error setting up initial cluster: cannot find local etcd member \"n\" in SRV records: ",
            "bootstrap at https://m1.kv.test:1 from DNS for etcd-server-ssl has scheme mismatch with expected peer http://127.0.0.11:1",
        ),
        (
            [DOMAIN, "--initial-advertise-peer-urls=http://127.0.0.99:1"],
            "error setting up initial cluster: cannot find local etcd member \"n\" in SRV records; one has to lead to",
            "--initial-advertise-peer-urls=http://127.0.0.99:1",
        ),
        (
            [DOMAIN, "--initial-advertise-peer-urls=http://m9.kv.test:1"],
            "error setting up initial cluster: cannot find the address of a member: lookup m9.kv.test: no such host",
            "let its domain have one",
        ),
    ] {
        let error = server.discover(&["--name=n", arguments[0], arguments[1]]).await.unwrap_err();
        assert!(error.starts_with(begins) && error.contains(says), "{error}");
    }
    // A member that some of the others would leave out.
    let server = NameServer::start(&[
        (PLAIN, srv("m1.kv.test.", 1)),
        (PLAIN, srv("gone.kv.test.", 1)),
        ("m1.kv.test.", a([127, 0, 0, 11])),
    ]);
    let error = server.discover(&["--name=n", DOMAIN, told]).await.unwrap_err();
    assert!(error.contains("lookup gone.kv.test: no such host; let its domain have one"), "{error}");
    // Records that nobody can be asked for are not records that there are not.
    let error = server.discover(&["--name=n", "--discovery-srv=broken.test", told]).await.unwrap_err();
    assert!(
        error.starts_with(
            "error setting up initial cluster: error querying DNS SRV records for _etcd-server-ssl lookup"
        ) && !error.contains("no such host"),
        "{error}"
    );
}

#[tokio::test]
async fn three_members_begin_by_srv_records_and_go_on_without_them() {
    // Held until the end, so that nobody else is given the ports.
    let held: Vec<Socket> = (0..3)
        .map(|_| {
            let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
            socket.set_reuse_port(true).unwrap();
            socket.bind(&SocketAddr::from(([127, 0, 0, 1], 0)).into()).unwrap();
            socket
        })
        .collect();
    let ports: Vec<u16> = held.iter().map(|s| s.local_addr().unwrap().as_socket().unwrap().port()).collect();
    let zone: Vec<_> = ports.iter().map(|port| (PLAIN, srv("localhost.", *port))).collect();
    let name_server = NameServer::start(&zone);
    let directory = tempfile::tempdir().unwrap();
    let configs: Vec<_> = (1..)
        .zip(&ports)
        .map(|(number, port)| {
            config(&[
                &format!("--name=m{number}"),
                &format!("--data-dir={}", directory.path().join(format!("m{number}")).display()),
                &format!("--listen-peer-urls=http://127.0.0.1:{port}"),
                &format!("--initial-advertise-peer-urls=http://127.0.0.1:{port}"),
                "--listen-client-urls=http://127.0.0.1:0",
                "--advertise-client-urls=http://127.0.0.1:0",
                "--socket-reuse-port",
                DOMAIN,
            ])
        })
        .collect();
    let mut before = None;
    for resolver in [Some(&name_server), None] {
        let starts = configs.iter().map(|config| {
            Server::start_with(config, || resolver.expect("a member that has its data asks nobody").resolver())
        });
        let servers: Vec<Server> = join_all(starts).await.into_iter().map(|server| server.unwrap()).collect();
        let mut names = BTreeSet::new();
        for server in &servers {
            assert!(server.ready().await);
        }
        for server in &servers {
            server.node().linearizable().await.unwrap();
            let members = server.node().state().members();
            assert_eq!(members.len(), 3, "{members:?}");
            names.extend(members.into_iter().map(|member| member.name));
        }
        assert_eq!(names, ["m1", "m2", "m3"].map(str::to_owned).into());
        let ids: Vec<_> =
            servers.iter().map(|s| (s.node().identity().cluster_id, s.node().identity().member_id)).collect();
        assert_eq!(before.get_or_insert_with(|| ids.clone()), &ids);
        join_all(servers.into_iter().map(Server::stop)).await;
    }
}
