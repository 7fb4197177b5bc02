//! Certificates, and who asks: for clusters that speak TLS and want to be told who asks them.
//!
//! One CA certifies one certificate for all members, which their peers have to show too. Clients show a token of the user
//! root. The tokens are signed, so that members that start anew go on taking them.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use anyhow::{Context, Result};
use keelkv_proto::etcdserverpb as pb;
use pb::auth_client::AuthClient;
use rcgen::{BasicConstraints, CertificateParams, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose};
use tonic::metadata::{Ascii, MetadataValue};
use tonic::service::Interceptor;
use tonic::transport::{Certificate, ClientTlsConfig};
use tonic::{Request, Status};

use crate::client::Channel;

const HOST: &str = "127.0.0.1";
const ROOT: &str = "root";
const PASSWORD: &str = "a password";

/// What a cluster with TLS is made of.
#[derive(Clone, Debug)]
pub(crate) struct Security {
    directory: PathBuf,
    authority: String,
    token: Token,
}

/// Goes with every request, once there is one.
#[derive(Clone, Debug, Default)]
pub(crate) struct Token(Arc<OnceLock<MetadataValue<Ascii>>>);

impl Interceptor for Token {
    fn call(&mut self, mut request: Request<()>) -> Result<Request<()>, Status> {
        if let Some(token) = self.0.get() {
            request.metadata_mut().insert("authorization", token.clone());
        }
        Ok(request)
    }
}

impl Security {
    /// Makes all keys and certificates, in files of a directory.
    pub(crate) fn new(directory: &Path) -> Result<Self> {
        let directory = directory.join("tls");
        fs::create_dir_all(&directory)?;
        let authority_key = KeyPair::generate()?;
        let mut authority = CertificateParams::default();
        authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        authority.key_usages = vec![KeyUsagePurpose::KeyCertSign];
        let authority_pem = authority.self_signed(&authority_key)?.pem();
        let key = KeyPair::generate()?;
        let mut member = CertificateParams::new(vec![HOST.to_owned()])?;
        member.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        let certificate = member.signed_by(&key, &Issuer::new(authority, authority_key))?.pem();
        let token_key = KeyPair::generate()?;
        for (name, text) in [
            ("ca.pem", &authority_pem),
            ("cert.pem", &certificate),
            ("key.pem", &key.serialize_pem()),
            ("token-public.pem", &token_key.public_key_pem()),
            ("token-private.pem", &token_key.serialize_pem()),
        ] {
            fs::write(directory.join(name), text)?;
        }
        Ok(Self { directory, authority: authority_pem, token: Token::default() })
    }

    /// Of every server. Clients need no certificate: a token says who they are.
    pub(crate) fn flags(&self) -> Vec<String> {
        let file = |name: &str| self.directory.join(name).display().to_string();
        let (ca, cert, key) = (file("ca.pem"), file("cert.pem"), file("key.pem"));
        let (public, private) = (file("token-public.pem"), file("token-private.pem"));
        vec![
            format!("--cert-file={cert}"),
            format!("--key-file={key}"),
            format!("--peer-cert-file={cert}"),
            format!("--peer-key-file={key}"),
            format!("--peer-trusted-ca-file={ca}"),
            "--peer-client-cert-auth".to_owned(),
            format!("--auth-token=jwt,pub-key={public},priv-key={private},sign-method=ES256,ttl=12h"),
        ]
    }

    /// Whom clients believe.
    pub(crate) fn of_clients(&self) -> ClientTlsConfig {
        ClientTlsConfig::new().ca_certificate(Certificate::from_pem(&self.authority)).domain_name(HOST)
    }

    /// What clients show.
    pub(crate) fn token(&self) -> Token {
        self.token.clone()
    }

    /// From now on everybody has to say who they are, and all clients here do.
    pub(crate) async fn enable(&self, channel: Channel) -> Result<()> {
        let mut auth = AuthClient::new(channel);
        let (name, password) = (ROOT.to_owned(), PASSWORD.to_owned());
        let user = pb::AuthUserAddRequest { name: name.clone(), password: password.clone(), ..Default::default() };
        auth.user_add(user).await?;
        auth.role_add(pb::AuthRoleAddRequest { name: name.clone() }).await?;
        auth.user_grant_role(pb::AuthUserGrantRoleRequest { user: name.clone(), role: name.clone() }).await?;
        auth.auth_enable(pb::AuthEnableRequest {}).await?;
        let login = auth.authenticate(pb::AuthenticateRequest { name, password }).await?.into_inner();
        let token = login.token.parse().context("a token that cannot be sent")?;
        // Nobody else sets it.
        let _ = self.token.0.set(token);
        Ok(())
    }
}
