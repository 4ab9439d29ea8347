//! Both doors behind certificates.

use std::fs;
use std::process::Command;
use std::sync::Arc;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::pki_types::ServerName;
use tokio_rustls::rustls::{ClientConfig, RootCertStore, crypto};
use tonic::transport::{Certificate, ClientTlsConfig, Endpoint};
use zenith_proto::v1;
use zenith_proto::v1::scheduler_service_client::SchedulerServiceClient;
use zenith_scheduler::api::auth::Role;

use crate::http;
use crate::process::{Process, arguments, program};
use crate::server::{State, by};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn certificates_are_shown_and_tokens_go_through_them() {
    let state = State::new();
    let made = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
    let (certificate, key) = (state.path().join("cert.pem"), state.path().join("key.pem"));
    fs::write(&certificate, made.cert.pem()).unwrap();
    fs::write(&key, made.signing_key.serialize_pem()).unwrap();
    let token = state.tokens().add("ann", Role::User).unwrap();
    let mut command = Command::new(program());
    command.args(arguments(state.path())).arg("--tls-cert").arg(&certificate).arg("--tls-key").arg(&key);
    let process = Process::spawn(command);

    let authority = Certificate::from_pem(made.cert.pem());
    let tls = ClientTlsConfig::new().ca_certificate(authority).domain_name("localhost");
    let endpoint =
        Endpoint::from_shared(format!("https://{}", process.grpc)).unwrap().tls_config(tls).unwrap();
    let mut client = SchedulerServiceClient::new(endpoint.connect().await.unwrap());
    let cluster = client.cluster(by(token.reveal(), v1::ClusterRequest {})).await.unwrap().into_inner();
    assert_eq!(cluster.queues[0].name, "default");

    let mut roots = RootCertStore::empty();
    roots.add(made.cert.der().clone()).unwrap();
    let config = ClientConfig::builder_with_provider(Arc::new(crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let plain = TcpStream::connect(process.rest).await.unwrap();
    let name = ServerName::try_from("localhost").unwrap();
    let mut stream = TlsConnector::from(Arc::new(config)).connect(name, plain).await.unwrap();
    let request = format!("GET /v1/nodes HTTP/1.0\r\nAuthorization: Bearer {}\r\n\r\n", token.reveal());
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await.unwrap();
    assert!(String::from_utf8(answer).unwrap().starts_with("HTTP/1.0 200"));

    let mut unencrypted = http::open(process.rest, "GET /v1/nodes", &[], "").await;
    let mut answer = Vec::new();
    // How the connection is ended is the server's.
    let _ = unencrypted.read_to_end(&mut answer).await;
    assert!(!String::from_utf8_lossy(&answer).contains("HTTP/1"), "nothing is said in the clear");
}
